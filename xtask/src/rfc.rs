//! Every RFC that the source or the pages name stands in `rfc/index.tsv` (number, title, state, tests), and the tests named there exist.

use crate::{Faults, tree};
use std::collections::BTreeSet;
use std::path::Path;

const INDEX: &str = "rfc/index.tsv";

pub(crate) fn check(root: &Path) -> Faults {
    let text = match std::fs::read_to_string(root.join(INDEX)) {
        Ok(text) => text,
        Err(e) => return vec![format!("{INDEX}: {e}")],
    };
    let (known, mut faults) = read_index(root, &text);
    for file in tree::text_files(root) {
        if !tree::is_rust(&file.path) && !is_page(&file.path) {
            continue;
        }
        for (i, line) in file.text.lines().enumerate() {
            for number in numbers(line).filter(|n| !known.contains(n)) {
                faults.push(format!("{}:{}: RFC {number} is not in {INDEX}", file.path, i + 1));
            }
        }
    }
    faults
}

fn is_page(path: &str) -> bool {
    path.ends_with(".md") && !path.starts_with("tools/")
}

fn read_index(root: &Path, text: &str) -> (BTreeSet<u32>, Faults) {
    let mut known = BTreeSet::new();
    let mut faults = Faults::new();
    for (line, cells) in tree::rows(text) {
        let [number, title, state, tests] = cells.as_slice() else {
            faults.push(format!("{INDEX}:{line}: not number TAB title TAB state TAB tests"));
            continue;
        };
        match number.parse::<u32>() {
            Ok(number) if !known.insert(number) => faults.push(format!("{INDEX}:{line}: RFC {number} twice")),
            Ok(_) => {}
            Err(_) => faults.push(format!("{INDEX}:{line}: \"{number}\" is no number")),
        }
        if title.is_empty() || !matches!(*state, "done" | "part" | "read") {
            faults.push(format!("{INDEX}:{line}: state is one of done, part, read"));
        }
        let missing = tests.split([' ', ',']).filter(|t| !t.is_empty() && *t != "none" && !root.join(t).try_exists().unwrap_or(false));
        faults.extend(missing.map(|t| format!("{INDEX}:{line}: there is no {t}")));
    }
    (known, faults)
}

/// The numbers after `RFC ` in a line.
fn numbers(line: &str) -> impl Iterator<Item = u32> {
    line.match_indices("RFC ").filter_map(|(i, word)| {
        let digits: String = line.get(i + word.len()..)?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found() {
        assert_eq!(numbers("see RFC 5321 4.5.3.1.8 and RFC 3464, RFC x").collect::<Vec<_>>(), [5321, 3464]);
    }

    #[test]
    fn index_rows_are_judged() {
        let (known, faults) =
            read_index(Path::new("/nonexistent"), "# n\n5321\tSMTP\tdone\tnone\n5321\tSMTP\tdone\tnone\n1\tx\tmaybe\ta/b\nbad row\n");
        assert!(known.contains(&5321));
        assert_eq!(faults.len(), 4, "{faults:?}");
    }
}
