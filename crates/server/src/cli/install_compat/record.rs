//! What was installed: path, size and time of each file, so that another run knows ours from what somebody changed. Used by all parts of the installation.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// In the home.
pub(super) const NAME: &str = "install-compat.json";

/// One file of ours.
#[derive(Clone, Default)]
pub(super) struct Entry {
    bytes: u64,
    modified_s: i64,
    /// Where the file went that was there before (as seen from inside).
    pub(super) saved: Option<PathBuf>,
    /// By dpkg-divert.
    pub(super) diverted: bool,
}

/// All of them, by path as seen from inside.
pub(super) struct Record {
    pub(super) files: BTreeMap<PathBuf, Entry>,
}

impl Record {
    /// None yet is an empty one.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { files: BTreeMap::new() }),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let value: Value = serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))?;
        let files = value.get("files").and_then(Value::as_object).into_iter().flatten();
        // A package's root may be somebody else's work: its record names nothing outside.
        let is_plain = |path: &Path| path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir);
        let files = files.map(|(path, entry)| {
            let field = |name: &str| entry.get(name).unwrap_or(&Value::Null);
            let entry = Entry {
                bytes: field("bytes").as_u64().unwrap_or_default(),
                modified_s: field("modified_s").as_i64().unwrap_or_default(),
                saved: field("saved").as_str().map(PathBuf::from),
                diverted: field("diverted").as_bool().unwrap_or_default(),
            };
            (PathBuf::from(path), entry)
        });
        let files: BTreeMap<PathBuf, Entry> = files.collect();
        if let Some((odd, _)) =
            files.iter().find(|(path, entry)| !is_plain(path) || entry.saved.as_deref().is_some_and(|saved| !is_plain(saved)))
        {
            bail!("{} names {}, which is no file that install-compat made", path.display(), odd.display());
        }
        Ok(Self { files })
    }

    pub(super) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if self.files.is_empty() {
            let gone = std::fs::remove_file(path);
            return gone.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }).map_err(Into::into);
        }
        let files: serde_json::Map<String, Value> = self
            .files
            .iter()
            .map(|(path, entry)| {
                let value = json!({"bytes": entry.bytes, "modified_s": entry.modified_s, "saved": entry.saved, "diverted": entry.diverted});
                (path.to_string_lossy().into_owned(), value)
            })
            .collect();
        let text = format!("{:#}\n", json!({"about": "written by postino install-compat", "files": files}));
        postino_disk::replace_file(path, text.as_bytes(), 0o644).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether what lies at `inside` is what we put there.
    pub(super) fn is_ours(&self, inside: &Path, found: &Metadata) -> bool {
        self.files.get(inside).is_some_and(|entry| entry.bytes == found.len() && entry.modified_s == found.mtime())
    }

    /// It is ours from now on; `before` is kept from the first time on.
    pub(super) fn note(&mut self, inside: &Path, found: &Metadata, before: Option<PathBuf>) {
        let entry = self.files.entry(inside.to_path_buf()).or_default();
        entry.bytes = found.len();
        entry.modified_s = found.mtime();
        entry.saved = entry.saved.take().or(before);
    }
}
