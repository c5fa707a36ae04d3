//! `vpasswd` and `vpasswd.cdb` of one domain, read and written together under `.vpasswd.lock`. Called by user changes.
//! Lines that a change does not touch keep their bytes.

use super::journal::{Journal, Lock, lock};
use super::{AdminError, Owner};
use crate::vpasswd::Record;
use postino_control::cdb::CdbWriter;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The accounts of a domain; the lock is held as long as it lives.
#[derive(Debug)]
pub(super) struct AccountFile {
    path: PathBuf,
    /// Name → the rest of the line after the colon.
    lines: BTreeMap<Vec<u8>, Vec<u8>>,
    owner: Owner,
    _lock: Option<Lock>,
}

/// Reads without locking: the file is replaced as a whole, so it is consistent.
pub(super) fn read(domain: &Path, owner: Owner) -> Result<AccountFile, AdminError> {
    let path = domain.join("vpasswd");
    let text = std::fs::read(&path).map_err(AdminError::io(&path))?;
    let mut lines = BTreeMap::new();
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&b| b == b':').ok_or_else(|| AdminError::DamagedRecord(path.clone()))?;
        let (name, rest) = line.split_at(colon);
        lines.entry(name.to_vec()).or_insert_with(|| rest.get(1..).unwrap_or_default().to_vec());
    }
    Ok(AccountFile { path, lines, owner, _lock: None })
}

/// Reads for a change.
pub(super) fn open(domain: &Path, owner: Owner) -> Result<AccountFile, AdminError> {
    let held = lock(&domain.join(".vpasswd.lock"), Some(owner))?;
    let mut file = read(domain, owner)?;
    file._lock = Some(held);
    Ok(file)
}

impl AccountFile {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.lines.contains_key(name.as_bytes())
    }

    pub(super) fn get(&self, name: &str) -> Result<Option<Record>, AdminError> {
        self.lines.get(name.as_bytes()).map(|rest| self.record(name.as_bytes(), rest)).transpose()
    }

    pub(super) fn records(&self) -> Result<Vec<Record>, AdminError> {
        self.lines.iter().map(|(name, rest)| self.record(name, rest)).collect()
    }

    fn record(&self, name: &[u8], rest: &[u8]) -> Result<Record, AdminError> {
        Record::from_parts(name, rest).ok_or_else(|| AdminError::DamagedRecord(self.path.clone()))
    }

    pub(super) fn set(&mut self, record: &Record) {
        self.lines.insert(record.name.clone().into_bytes(), record.rest());
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.lines.remove(name.as_bytes());
    }

    /// Text first, data base second: in between (or after a crash there) readers see that the data base is older and take the text.
    pub(super) fn write(&self, journal: &mut Journal) -> Result<(), AdminError> {
        journal.replace(&self.path, &self.text(), 0o600, Some(self.owner))?;
        journal.replace(&self.path.with_extension("cdb"), &self.data()?, 0o600, Some(self.owner))
    }

    fn text(&self) -> Vec<u8> {
        self.lines.iter().flat_map(|(name, rest)| [name.as_slice(), b":", rest, b"\n"].concat()).collect()
    }

    fn data(&self) -> Result<Vec<u8>, AdminError> {
        let mut writer = CdbWriter::new();
        for (name, rest) in &self.lines {
            writer.add(name, rest)?;
        }
        Ok(writer.finish()?)
    }
}

/// The two files of a domain that has only these accounts: name and bytes.
pub(super) fn fresh(records: &[Record], owner: Owner) -> Result<[(&'static str, Vec<u8>); 2], AdminError> {
    let lines = records.iter().map(|record| (record.name.clone().into_bytes(), record.rest())).collect();
    let file = AccountFile { path: PathBuf::new(), lines, owner, _lock: None };
    Ok([("vpasswd", file.text()), ("vpasswd.cdb", file.data()?)])
}
