//! The settings as people see them: rows for `config list` and the administrator's pages, qmail-showctl(8)'s text, the reference page,
//! and what a reload changed. Pure; secrets were hidden by the loader.

use crate::load::{Loaded, Origin, Value};
use crate::table::{self, Home, Reload, Setting};
use std::fmt::Write;

/// One setting with its value.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is.
    pub setting: &'static Setting,
    /// Value and where it comes from.
    pub value: Value,
}

/// All settings in the table's order.
#[must_use]
pub fn rows(loaded: &Loaded) -> Vec<Row> {
    table::settings().filter_map(|setting| row(loaded, setting)).collect()
}

/// One setting.
#[must_use]
pub fn row(loaded: &Loaded, setting: &'static Setting) -> Option<Row> {
    loaded.values.get(setting.name).map(|value| Row { setting, value: value.clone() })
}

impl Row {
    /// `control/me:1`, `default`, `default: me`.
    #[must_use]
    pub fn origin(&self) -> String {
        match &self.value.origin {
            Origin::Default => "default".into(),
            Origin::Me => "default: me".into(),
            Origin::Set { file, line } => format!("{}:{line}", file.display()),
        }
    }
}

/// The text of `config doc NAME`.
#[must_use]
pub fn doc(setting: &Setting) -> String {
    let mut out = format!("{}\n  {}\n", setting.name, setting.help);
    let home = match setting.home {
        Home::File => format!("the file {}", setting.file().display()),
        Home::Toml => format!("the key {} of {}", setting.name, table::SERVER_TOML),
    };
    let _ = writeln!(out, "  home:    {home}");
    let _ = writeln!(out, "  kind:    {}", setting.kind.name());
    let _ = writeln!(out, "  default: {}", default_text(setting));
    let _ = writeln!(out, "  counts:  {}", counts(setting.reload));
    out
}

const fn counts(reload: Reload) -> &'static str {
    match reload {
        Reload::Live => "at once",
        Reload::Hup => "after SIGHUP",
        Reload::Restart => "after a restart",
    }
}

fn default_text(setting: &Setting) -> String {
    match (setting.default, setting.unit) {
        ("", _) if setting.name == "me" => "none: must be there".into(),
        ("", _) => "none".into(),
        ("me", _) => "the content of me".into(),
        (text, "") => text.to_owned(),
        (text, unit) => format!("{text} {unit}"),
    }
}

/// qmail-showctl(8): every setting, its value, where it comes from, when a change counts.
#[must_use]
pub fn showctl(loaded: &Loaded) -> String {
    let mut out = format!("home directory: {}.\n", loaded.config.home.display());
    for row in rows(loaded) {
        let origin = match &row.value.origin {
            Origin::Default => "(Default.)".to_owned(),
            Origin::Me => "(Default: me.)".to_owned(),
            Origin::Set { .. } => format!("({})", row.origin()),
        };
        let _ = write!(out, "\n{}: {origin} [{}] {}\n", row.setting.name, row.setting.reload.name(), row.setting.help);
        for line in row.value.text.lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

/// The reference page of the documentation.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = String::from(
        "# Settings\n\nMade from the table in `crates/control/src/table`; do not edit by hand (`cargo run -p xtask -- reference`).\n\n\
         Each setting has one home. What qmail has keeps its file and its syntax in `control/`; what qmail never had is a key of\n\
         `control/server.toml`. \"Counts\" says when a change is seen: at once, after SIGHUP, or after a restart. The historical programs\n\
         read their files at each run.\n",
    );
    section(&mut out, "Files in `control/`", "file", |s| s.home == Home::File);
    section(&mut out, "`control/server.toml`, top level", "key", |s| s.home == Home::Toml && !s.name.contains('.'));
    for name in ["access", "listen", "limits", "remote", "rbl", "programs", "log", "vpopmail", "directory"] {
        section(&mut out, &format!("`[{name}]`"), "key", |s| {
            s.home == Home::Toml && s.name.split_once('.').is_some_and(|(section, _)| section == name)
        });
    }
    out
}

fn section(out: &mut String, title: &str, first: &str, choose: impl Fn(&Setting) -> bool) {
    let _ = write!(out, "\n## {title}\n\n| {first} | kind | default | counts | meaning |\n|---|---|---|---|---|\n");
    for setting in table::settings().filter(|s| choose(s)) {
        let name = setting.name.rsplit_once('.').filter(|_| setting.home == Home::Toml).map_or(setting.name, |(_, key)| key);
        let escape = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{name}` | {} | {} | {} | {} |",
            setting.kind.name(),
            escape(&default_text(setting)),
            counts(setting.reload),
            escape(setting.help)
        );
    }
}

/// The settings whose values differ, for the log line of a reload. Those of class [`Reload::Restart`] do not count before a restart.
#[must_use]
pub fn changes(before: &Loaded, after: &Loaded) -> Vec<&'static Setting> {
    let text = |loaded: &Loaded, name| loaded.values.get(name).map(|v| v.text.clone());
    table::settings().filter(|s| text(before, s.name) != text(after, s.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    fn loaded(me: &str, toml: &str) -> Loaded {
        let mut raw = Raw { server_toml: Some(toml.into()), ..Raw::default() };
        raw.files.insert("me", me.into());
        raw.files.insert("smtproutes.auth", b"relay.test joe Geheim\n".to_vec());
        crate::load::resolve(&raw).unwrap_or_else(|p| panic!("{p:?}"))
    }

    #[test]
    fn every_setting_is_shown_and_no_password() {
        let loaded = loaded("h.test\n", "minuid = 5\n");
        let rows = rows(&loaded);
        assert_eq!(rows.len(), table::settings().count());
        let text = showctl(&loaded);
        assert!(text.contains("\nhelohost: (Default: me.) [HUP]") && text.contains("\nminuid: (control/server.toml:1) [HUP]"), "{text}");
        assert!(!text.contains("Geheim") && !format!("{loaded:?}").contains("Geheim"));
    }

    #[test]
    fn the_reference_names_every_setting_once() {
        let page = reference_markdown();
        assert_eq!(page.lines().filter(|l| l.starts_with("| `")).count(), table::settings().count());
    }

    #[test]
    fn changes_name_their_class() {
        let before = loaded("h.test\n", "");
        let after = loaded("h.test\n", "user = \"mail\"\nminuid = 5\n");
        let names: Vec<_> = changes(&before, &after).iter().map(|s| (s.name, s.reload)).collect();
        assert_eq!(names, [("minuid", Reload::Hup), ("user", Reload::Restart)]);
    }

    #[test]
    fn doc_says_where_and_when() {
        let text = doc(table::find("queuelifetime").unwrap());
        assert!(text.contains("control/queuelifetime") && text.contains("604800 seconds") && text.contains("SIGHUP"), "{text}");
    }
}
