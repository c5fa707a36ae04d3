//! Who may import whom: every crate's Cargo.toml against `xtask/layers.tsv`. An edge that the table does not list is a fault, so a new one is
//! a reviewed decision. Never builds anything.

use crate::{Faults, tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TABLE: &str = "xtask/layers.tsv";

/// One row: what a crate may use of ours, and which outside crates it must not.
struct Row {
    ours: BTreeSet<String>,
    never: BTreeSet<String>,
}

pub(crate) fn check(root: &Path) -> Faults {
    let text = match std::fs::read_to_string(root.join(TABLE)) {
        Ok(text) => text,
        Err(e) => return vec![format!("{TABLE}: {e}")],
    };
    let table = parse_table(&text);
    let mut faults = Faults::new();
    let mut seen = BTreeSet::new();
    for path in manifests(root) {
        let Ok(manifest) = std::fs::read_to_string(root.join(&path)) else { continue };
        let Some(name) = package_name(&manifest) else { continue };
        faults.extend(judge(&table, &path, short(&name), &manifest));
        seen.insert(short(&name).to_owned());
    }
    for name in table.keys().filter(|name| !seen.contains(*name)) {
        faults.push(format!("{TABLE}: {name} is no crate of the workspace"));
    }
    faults
}

fn manifests(root: &Path) -> Vec<String> {
    let crates = std::fs::read_dir(root.join("crates"))
        .map(|d| d.flatten().map(|e| format!("crates/{}/Cargo.toml", e.file_name().to_string_lossy())).collect());
    let mut paths: Vec<String> = crates.unwrap_or_default();
    paths.extend(["testkit/Cargo.toml".to_owned(), "xtask/Cargo.toml".to_owned()]);
    paths.sort();
    paths
}

fn parse_table(text: &str) -> BTreeMap<String, Row> {
    let words = |cell: Option<&&str>| {
        cell.map(|c| c.split([' ', ',']).filter(|w| !w.is_empty() && *w != "-").map(str::to_owned).collect()).unwrap_or_default()
    };
    let row =
        |cells: &[&str]| cells.first().map(|name| ((*name).to_owned(), Row { ours: words(cells.get(1)), never: words(cells.get(2)) }));
    tree::rows(text).iter().filter_map(|(_, cells)| row(cells)).collect()
}

fn judge(table: &BTreeMap<String, Row>, path: &str, name: &str, manifest: &str) -> Faults {
    let Some(row) = table.get(name) else { return vec![format!("{path}: crate {name} has no line in {TABLE}")] };
    let mut faults = Faults::new();
    for (section, dependency) in dependencies(manifest) {
        let ours = dependency.starts_with("postino-");
        let used = short(&dependency);
        let tests_only = section == Section::Dev;
        if ours && used == "testkit" && !tests_only {
            faults.push(format!("{path}: testkit may be a dev-dependency only"));
        } else if ours && !tests_only && used != "testkit" && !row.ours.contains(used) && !row.ours.contains("*") {
            faults.push(format!("{path}: {name} must not use {used} (a new edge is a line in {TABLE} with a reason in the commit)"));
        } else if !ours && !tests_only && row.never.contains(&dependency) {
            faults.push(format!("{path}: {name} must never use {dependency}"));
        }
    }
    faults
}

fn short(name: &str) -> &str {
    name.strip_prefix("postino-").unwrap_or(name)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Normal,
    Dev,
}

/// The dependency names of a manifest. Knows the forms that cargo knows for tables: `name.workspace = true`, `name = …`, `[dependencies.name]`.
fn dependencies(manifest: &str) -> Vec<(Section, String)> {
    let mut section = None;
    let mut found = Vec::new();
    for line in manifest.lines().map(|l| l.split('#').next().unwrap_or_default().trim()) {
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let (kind, name) = header_kind(header);
            section = kind.filter(|_| name.is_none());
            found.extend(kind.zip(name.map(str::to_owned)));
        } else if let Some(kind) = section {
            let key = line.split(['=', '.']).next().unwrap_or_default().trim().trim_matches('"');
            if !key.is_empty() && line.contains('=') {
                found.push((kind, key.to_owned()));
            }
        }
    }
    found
}

fn header_kind(header: &str) -> (Option<Section>, Option<&str>) {
    let header = header.rsplit_once("'.").map_or(header, |(_, rest)| rest); // [target.'cfg(…)'.dependencies]
    let (head, name) = header.split_once('.').map_or((header, None), |(head, name)| (head, Some(name)));
    match head {
        "dependencies" | "build-dependencies" => (Some(Section::Normal), name),
        "dev-dependencies" => (Some(Section::Dev), name),
        _ => (None, None),
    }
}

fn package_name(manifest: &str) -> Option<String> {
    let after = manifest.split_once("[package]")?.1;
    let line = after.lines().find(|l| l.trim_start().starts_with("name"))?;
    Some(line.split('"').nth(1)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# crate\tmay use\tnever\ntypes\t-\ttokio\nports\ttypes\ttokio\nserver\t*\t-\n";

    fn faults(name: &str, manifest: &str) -> Faults {
        judge(&parse_table(TABLE), "x/Cargo.toml", name, manifest)
    }

    #[test]
    fn listed_edges_pass_and_others_fail() {
        assert!(faults("ports", "[dependencies]\npostino-types.workspace = true\nbytes = \"1\"\n").is_empty());
        assert_eq!(faults("types", "[dependencies]\npostino-ports.workspace = true\n").len(), 1);
        assert_eq!(faults("ports", "[dependencies.postino-server]\nworkspace = true\n").len(), 1);
        assert_eq!(faults("ports", "[target.'cfg(unix)'.dependencies]\npostino-server = { path = \"a\" }\n").len(), 1);
        assert!(faults("server", "[dependencies]\npostino-anything.workspace = true\n").is_empty());
        assert_eq!(faults("new", "[dependencies]\n").len(), 1);
    }

    #[test]
    fn testkit_and_forbidden_outside_crates() {
        assert_eq!(faults("server", "[dependencies]\npostino-testkit.workspace = true\n").len(), 1);
        assert!(faults("types", "[dev-dependencies]\npostino-testkit.workspace = true\ntokio = \"1\"\n").is_empty());
        assert_eq!(faults("types", "[dependencies]\ntokio = { version = \"1\" }\n").len(), 1);
    }
}
