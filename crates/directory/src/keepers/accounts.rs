//! Account records in `vpasswd` and `vpasswd.cdb` of each domain. Called through the port. Changes under `.vpasswd.lock`, text first, data base
//! second: between the two (or after a crash there) readers see that the data base is older and take the text.

use super::account_text::AccountText;
use super::place::{DomainPlace, Places};
use super::{damaged, io, read_if_there};
use crate::admin::ActingAs;
use crate::admin::journal::{lock, lock_within, own};
use crate::admin::{AdminError, Owner};
use crate::files::is_absent;
use crate::vpasswd::Record;
use postino_control::cdb::{Cdb, CdbError};
use postino_disk::Replacement;
use postino_ports::accounts::{Accounts, AccountsError};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A reader that finds the data base missing makes it, unless somebody else is at work.
const REBUILD_LOCK_TIMEOUT: Duration = Duration::ZERO;

/// `vpasswd` of each domain.
#[derive(Debug)]
pub(super) struct FileAccounts {
    places: Places,
}

impl FileAccounts {
    pub(super) fn new(places: Places) -> Self {
        Self { places }
    }

    pub(super) fn place(&self, domain: &str) -> Result<Option<DomainPlace>, AccountsError> {
        self.places.find(domain)
    }

    fn change<T>(&self, domain: &str, change: impl FnOnce(&mut AccountText) -> Result<T, AccountsError>) -> Result<T, AccountsError> {
        let place = self.places.get(domain)?;
        let _acting = ActingAs::begin(place.owner)?;
        let _lock = lock(&place.directory.join(".vpasswd.lock"), Some(place.owner))?;
        let mut text = read(&place.directory)?;
        let done = change(&mut text)?;
        write_accounts(&place.directory, &text, place.owner)?;
        Ok(done)
    }
}

/// Puts both files in their places.
pub(super) fn write_accounts(directory: &Path, text: &AccountText, owner: Owner) -> Result<(), AccountsError> {
    let data = text.data().map_err(AdminError::from)?;
    let files = [("vpasswd", text.bytes()), ("vpasswd.cdb", data.as_slice())];
    let files = files.map(|(name, bytes)| Replacement { name, bytes, mode: 0o600 });
    let is_new = !directory.join("vpasswd").try_exists().map_err(io(directory))?;
    postino_disk::replace_files(directory, &files).map_err(io(&directory.join("vpasswd")))?;
    if is_new {
        own(&directory.join("vpasswd"), owner)?;
        own(&directory.join("vpasswd.cdb"), owner)?;
    }
    Ok(())
}

fn read(directory: &Path) -> Result<AccountText, AccountsError> {
    let path = directory.join("vpasswd");
    // A text that is missing is one that nobody has written yet, not a domain without accounts, unless there is no data base either.
    let text = match read_if_there(&path)? {
        Some(text) => text,
        None if directory.join("vpasswd.cdb").try_exists().map_err(io(&path))? => return Err(damaged(&path)),
        None if directory.try_exists().map_err(io(directory))? => Vec::new(),
        None => return Err(AccountsError::Unavailable { what: format!("{}: no such directory", directory.display()) }),
    };
    AccountText::new(text).ok_or_else(|| damaged(&path))
}

/// Asks the data base; `None`: it is missing, older than the text, or damaged.
fn from_data(directory: &Path, name: &[u8]) -> Result<Option<Option<Vec<u8>>>, AccountsError> {
    let path = directory.join("vpasswd.cdb");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(io(&path)(error)),
    };
    let changed = |metadata: std::io::Result<std::fs::Metadata>| metadata.and_then(|found| found.modified());
    let text_changed: SystemTime = match changed(std::fs::metadata(directory.join("vpasswd"))) {
        Ok(at) => at,
        Err(error) if is_absent(&error) => SystemTime::UNIX_EPOCH,
        Err(error) => return Err(io(&path)(error)),
    };
    if changed(file.metadata()).map_err(io(&path))? < text_changed {
        return Ok(None);
    }
    match Cdb::new(&file).and_then(|data| data.get(name)) {
        Ok(found) => Ok(Some(found)),
        Err(CdbError::Io(error)) => Err(io(&path)(error)),
        Err(_) => Ok(None),
    }
}

/// Best effort: a reader without the right to write goes on with the text.
fn mend(place: &DomainPlace) {
    let mended = || -> Result<(), AccountsError> {
        let _acting = ActingAs::begin(place.owner)?;
        let _lock = lock_within(&place.directory.join(".vpasswd.lock"), Some(place.owner), REBUILD_LOCK_TIMEOUT)?;
        write_accounts(&place.directory, &read(&place.directory)?, place.owner)
    };
    if let Err(error) = mended() {
        tracing::debug!(%error, directory = %place.directory.display(), "vpasswd.cdb not made anew");
    }
}

fn record(directory: &Path, name: &[u8], rest: &[u8]) -> Result<Record, AccountsError> {
    Record::from_parts(name, rest).ok_or_else(|| damaged(&directory.join("vpasswd")))
}

fn fits(record: &Record) -> Result<(), AccountsError> {
    let texts = [record.name.as_bytes(), record.password.as_bytes(), &record.gecos, record.directory.as_bytes(), record.quota.as_bytes()];
    let bad = texts.iter().any(|text| text.iter().any(|b| matches!(b, b':' | b'\n' | 0)))
        || record.clear.as_ref().is_some_and(|clear| clear.bytes().any(|b| matches!(b, b'\n' | 0)))
        || record.name.is_empty();
    if bad { Err(AccountsError::Damaged { what: format!("new record of {}", record.name.escape_default()) }) } else { Ok(()) }
}

impl Accounts for FileAccounts {
    fn find(&self, domain: &str, name: &str) -> Result<Option<Record>, AccountsError> {
        let Some(place) = self.places.find(domain)? else { return Ok(None) };
        let directory = &place.directory;
        let _acting = ActingAs::begin(place.owner)?;
        if let Some(found) = from_data(directory, name.as_bytes())? {
            return found.map(|rest| record(directory, name.as_bytes(), rest.strip_suffix(b"\n").unwrap_or(&rest))).transpose();
        }
        mend(&place);
        read(directory)?.get(name.as_bytes()).map(|rest| record(directory, name.as_bytes(), rest)).transpose()
    }

    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<Record>, AccountsError> {
        let place = self.places.get(domain)?;
        let _acting = ActingAs::begin(place.owner)?;
        let text = read(&place.directory)?;
        let lines = text.lines_after(after.map(str::as_bytes)).take(count_max);
        lines.map(|(name, rest)| record(&place.directory, name, rest)).collect()
    }

    fn count(&self, domain: &str) -> Result<u64, AccountsError> {
        let place = self.places.get(domain)?;
        let _acting = ActingAs::begin(place.owner)?;
        let text = read(&place.directory)?;
        Ok(u64::try_from(text.count()).unwrap_or(u64::MAX))
    }

    fn add_domain(&self, domain: &str) -> Result<(), AccountsError> {
        let place = self.places.get(domain)?;
        if place.directory.join("vpasswd").try_exists().map_err(io(&place.directory))? {
            return Ok(());
        }
        self.change(domain, |_| Ok(()))
    }

    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError> {
        match self.places.find(domain)? {
            Some(place) if place.directory.try_exists().map_err(io(&place.directory))? => self.change(domain, |text| {
                *text = AccountText::default();
                Ok(())
            }),
            _ => Ok(()),
        }
    }

    fn insert(&self, domain: &str, record: &Record) -> Result<(), AccountsError> {
        self.insert_all(domain, std::slice::from_ref(record))
    }

    fn found_domain(&self, _domain: &str, directory: &Path, first: &[Record]) -> Result<(), AccountsError> {
        let mut text = AccountText::default();
        for record in first {
            fits(record)?;
            text.put(record.name.as_bytes(), &record.rest());
        }
        let parent = std::fs::metadata(directory).map_err(io(directory))?;
        let owner = Owner { uid: std::os::unix::fs::MetadataExt::uid(&parent), gid: std::os::unix::fs::MetadataExt::gid(&parent) };
        let _acting = ActingAs::begin(owner)?;
        let _lock = lock(&directory.join(".vpasswd.lock"), Some(owner))?;
        write_accounts(directory, &text, owner)
    }

    fn insert_all(&self, domain: &str, records: &[Record]) -> Result<(), AccountsError> {
        records.iter().try_for_each(fits)?;
        self.change(domain, |text| {
            for record in records {
                if text.get(record.name.as_bytes()).is_some() {
                    return Err(AccountsError::Exists(format!("{}@{domain}", record.name)));
                }
                text.put(record.name.as_bytes(), &record.rest());
            }
            Ok(())
        })
    }

    fn rebuild(&self, domain: &str) -> Result<(), AccountsError> {
        self.change(domain, |_| Ok(()))
    }

    fn update(&self, domain: &str, record: &Record) -> Result<(), AccountsError> {
        fits(record)?;
        self.change(domain, |text| {
            text.get(record.name.as_bytes()).ok_or_else(|| AccountsError::Missing(format!("{}@{domain}", record.name)))?;
            text.put(record.name.as_bytes(), &record.rest());
            Ok(())
        })
    }

    fn remove(&self, domain: &str, name: &str) -> Result<(), AccountsError> {
        self.change(
            domain,
            |text| {
                if text.remove(name.as_bytes()) { Ok(()) } else { Err(AccountsError::Missing(format!("{name}@{domain}"))) }
            },
        )
    }
}
