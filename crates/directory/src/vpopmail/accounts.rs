//! The accounts of one domain: `vpasswd.cdb`, or `vpasswd` itself where the data base is missing, older or damaged. Called by delivery and login.
//! Never rebuilds the data base: a reader needs no right to write.

use super::deliver::Domain;
use crate::files::{FileCache, Form, Loaded, stamp};
use crate::kept::Kept;
use crate::trouble::{Depth, Trouble};
use crate::vpasswd::Record;
use std::path::Path;

/// Where accounts are looked up: with whoever keeps them, else in the files of their domain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts<'a> {
    pub(crate) files: &'a FileCache,
    pub(crate) kept: Option<&'a Kept>,
}

impl Accounts<'_> {
    /// Looks `name` (lower case) up. `None`: no such account.
    pub(crate) fn find(self, domain: &Domain<'_>, name: &[u8], depth: Depth) -> Result<Option<Record>, Trouble> {
        match self.kept {
            Some(kept) => kept.account(&domain.name, name, depth),
            None => find(self.files, &domain.account.home, name, depth),
        }
    }
}

/// Looks `name` (lower case) up in the domain whose directory is `domain`. `None`: no such account.
fn find(files: &FileCache, domain: &Path, name: &[u8], depth: Depth) -> Result<Option<Record>, Trouble> {
    let data_path = domain.join("vpasswd.cdb");
    let text_path = domain.join("vpasswd");
    let data_stamp = stamp(&data_path)?;
    let text_stamp = stamp(&text_path)?;
    if let Some(data_stamp) = data_stamp.filter(|data| text_stamp.is_none_or(|text| !data.is_older_than(&text))) {
        match from_data(files, &data_path, name, depth, data_stamp) {
            Err(Trouble::Failed(error)) if text_stamp.is_some() => tracing::warn!(%error, "vpasswd.cdb unusable, reading vpasswd"),
            answer => return answer,
        }
    }
    let Some(text_stamp) = text_stamp else {
        return Err(Trouble::text(format!("{}: neither vpasswd nor vpasswd.cdb", domain.display())));
    };
    let loaded = files.get(&text_path, text_stamp, Form::Lines, depth)?;
    let Loaded::Lines(lines) = &*loaded else { return Err(Trouble::text("cache holds another form")) };
    lines.get(name).map(|rest| record(&text_path, name, rest)).transpose()
}

fn from_data(files: &FileCache, path: &Path, name: &[u8], depth: Depth, stamp: crate::files::Stamp) -> Result<Option<Record>, Trouble> {
    let loaded = files.get(path, stamp, Form::Data, depth)?;
    let Loaded::Data(data) = &*loaded else { return Err(Trouble::text("cache holds another form")) };
    let found = data.get(name).map_err(|error| Trouble::because(path, &error))?;
    found.map(|rest| record(path, name, rest.strip_suffix(b"\n").unwrap_or(&rest))).transpose()
}

fn record(path: &Path, name: &[u8], rest: &[u8]) -> Result<Record, Trouble> {
    Record::from_parts(name, rest).ok_or_else(|| Trouble::because(path, &"damaged record"))
}
