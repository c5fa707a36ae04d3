//! The domains in users/assign: read, added, removed; users/cdb is made anew with each change. Called by domain changes.
//! Keeps every other line where and as it is.

use super::journal::Journal;
use super::{AdminError, DomainEntry};
use crate::names;
use postino_control::assign::{self, Line, Match};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// users/assign as it is now.
#[derive(Debug)]
pub(super) struct Assignments {
    directory: PathBuf,
    lines: Vec<Line>,
}

impl Assignments {
    /// A missing file is an empty one.
    pub(super) fn read(home: &Path) -> Result<Self, AdminError> {
        let directory = home.join("users");
        let path = directory.join("assign");
        let lines = match std::fs::read(&path) {
            Ok(text) => assign::parse(&text).map_err(|bad| AdminError::BadAssign(bad.line))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(AdminError::io(&path)(error)),
        };
        Ok(Self { directory, lines })
    }

    /// All entries that look like vpopmail's: `+NAME-:REAL:uid:gid:DIR:-::`.
    pub(super) fn domains(&self) -> Vec<DomainEntry> {
        let mut domains: Vec<DomainEntry> = self.lines.iter().filter_map(domain_of).collect();
        domains.sort_by(|a, b| a.name.cmp(&b.name));
        domains
    }

    pub(super) fn find(&self, name: &str) -> Option<DomainEntry> {
        self.lines.iter().filter_map(domain_of).find(|domain| domain.name == name)
    }

    /// Names of alias domains of `real`.
    pub(super) fn aliases_of(&self, real: &str) -> Vec<String> {
        self.domains().into_iter().filter(|d| d.alias_of.as_deref() == Some(real)).map(|d| d.name).collect()
    }

    /// Puts an entry before the first that is greater.
    pub(super) fn insert(&mut self, domain: &DomainEntry) {
        let real = domain.alias_of.as_ref().unwrap_or(&domain.name);
        let line = Line {
            matches: Match::Prefix(format!("{}-", domain.name).into_bytes()),
            fields: [
                real.clone().into_bytes(),
                domain.uid.to_string().into_bytes(),
                domain.gid.to_string().into_bytes(),
                domain.directory.clone().into_os_string().into_vec(),
                b"-".to_vec(),
                Vec::new(),
            ],
        };
        let at = self.lines.iter().position(|other| key(other) > key(&line)).unwrap_or(self.lines.len());
        self.lines.insert(at, line);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.lines.retain(|line| domain_of(line).is_none_or(|domain| domain.name != name));
    }

    pub(super) fn write(&self, journal: &mut Journal) -> Result<(), AdminError> {
        postino_disk::create_dir_durable(&self.directory, 0o755).map_err(AdminError::io(&self.directory))?;
        journal.replace(&self.directory.join("assign"), &assign::print(&self.lines), 0o644, None)?;
        journal.replace(&self.directory.join("cdb"), &assign::to_cdb(&self.lines)?, 0o644, None)
    }
}

fn key(line: &Line) -> (&[u8], &[u8]) {
    match &line.matches {
        Match::Prefix(prefix) => (b"+", prefix),
        Match::Exact(local) => (b"=", local),
    }
}

fn domain_of(line: &Line) -> Option<DomainEntry> {
    let Match::Prefix(prefix) = &line.matches else { return None };
    let [user, uid, gid, home, dash, ext] = &line.fields;
    if dash != b"-" || !ext.is_empty() {
        return None;
    }
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let name = names::domain(&text(prefix.strip_suffix(b"-")?)?).ok()?;
    let real = names::domain(&text(user)?).ok()?;
    Some(DomainEntry {
        alias_of: (real != name).then_some(real),
        name,
        uid: text(uid)?.parse().ok()?,
        gid: text(gid)?.parse().ok()?,
        directory: PathBuf::from(OsString::from_vec(home.clone())),
    })
}
