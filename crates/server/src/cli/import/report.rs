//! What an import did, or would do, and what it could not map. Filled by all of its parts, printed at the end.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Lines of one kind that are printed; all of them are counted, and `--json` has them all.
const SHOWN: usize = 50;

/// Counts and findings.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Control files, aliases, lines of users/assign.
    pub(super) settings: Vec<String>,
    pub(super) domains: Vec<String>,
    pub(super) accounts: u64,
    pub(super) files: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    /// Files that were there already.
    pub(super) known: u64,
    /// Waiting messages taken into the queue, and those that an earlier run had taken.
    pub(super) queued: u64,
    pub(super) queued_before: u64,
    left: Vec<(String, String)>,
    notes: Vec<String>,
}

impl Report {
    /// Something has no place here: the administrator must look at it.
    pub(super) fn left(&mut self, what: &Path, why: &str) {
        self.left.push((what.display().to_string(), why.to_owned()));
    }

    /// Something worth knowing that needs no hand.
    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// True when everything has its place.
    pub(super) fn is_whole(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn to_json(&self, dry_run: bool) -> Value {
        let left: Vec<Value> = self.left.iter().map(|(what, why)| json!({"what": what, "why": why})).collect();
        json!({
            "dry_run": dry_run, "settings": self.settings, "domains": self.domains, "accounts": self.accounts, "files": self.files,
            "messages": self.messages, "bytes": self.bytes, "already_there": self.known, "queued": self.queued,
            "queued_before": self.queued_before, "not_mapped": left, "notes": self.notes,
        })
    }

    pub(super) fn text(&self, dry_run: bool) -> String {
        let mut text = String::new();
        let verb = if dry_run { "would import" } else { "imported" };
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{verb}:");
        let _ = writeln!(text, "  settings    {}", list(&self.settings));
        let _ = writeln!(text, "  domains     {} with {} accounts", list(&self.domains), self.accounts);
        let _ = writeln!(text, "  mail        {} messages; {} files and {} bytes in all", self.messages, self.files, self.bytes);
        let _ = writeln!(text, "  queue       {} waiting messages", self.queued);
        if self.known + self.queued_before > 0 {
            let _ = writeln!(text, "already here: {} files, {} waiting messages", self.known, self.queued_before);
        }
        for note in self.notes.iter().take(SHOWN) {
            let _ = writeln!(text, "note: {note}");
        }
        if !self.left.is_empty() {
            let _ = writeln!(text, "not mapped, look at these by hand:");
        }
        for (what, why) in self.left.iter().take(SHOWN) {
            let _ = writeln!(text, "  {what}: {why}");
        }
        if self.left.len() > SHOWN {
            let _ = writeln!(text, "  and {} more (--json has them all)", self.left.len() - SHOWN);
        }
        text.trim_end().to_owned()
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        few if few.len() <= 12 => few.join(" "),
        many => format!("{} ({} …)", many.len(), many.iter().take(8).cloned().collect::<Vec<_>>().join(" ")),
    }
}
