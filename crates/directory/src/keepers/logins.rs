//! Times of last logins: `lastauth` in the user's directory holds the address, its time stamp is the time. Called through the port. Written in
//! place, as vpopmail does: a torn `lastauth` hurts nobody. Never follows a link.

use super::accounts::FileAccounts;
use super::io;
use crate::admin::ActingAs;
use crate::files::is_absent;
use postino_ports::accounts::{Accounts, AccountsError, LastLogin, Logins};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Longest address that is read, in bytes.
const ADDRESS_BYTES_MAX: u64 = 64;
/// What a new account's file holds.
const NEVER: &[u8] = b"0.0.0.0";

#[derive(Debug)]
pub(super) struct FileLogins {
    accounts: Arc<FileAccounts>,
}

impl FileLogins {
    pub(super) fn new(accounts: Arc<FileAccounts>) -> Self {
        Self { accounts }
    }

    fn path(&self, domain: &str, name: &str) -> Result<Option<PathBuf>, AccountsError> {
        Ok(self.accounts.find(domain, name)?.map(|record| Path::new(&record.directory).join("lastauth")))
    }

    fn write(&self, domain: &str, path: &Path, address: &[u8], at: Option<i64>) -> Result<(), AccountsError> {
        let Some(place) = self.accounts.place(domain)? else { return Err(AccountsError::NoDomain(domain.to_owned())) };
        let _acting = ActingAs::begin(place.owner)?;
        let mut file = match no_follow().write(true).create(true).truncate(true).mode(0o600).open(path) {
            Ok(file) => file,
            Err(error) => return Err(io(path)(error)),
        };
        file.write_all(address).map_err(io(path))?;
        let Some(at) = at else { return Ok(()) };
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(at).unwrap_or_default());
        file.set_modified(time).map_err(io(path))
    }
}

/// Follows no link, and does not wait at a pipe that somebody put there.
fn no_follow() -> std::fs::OpenOptions {
    let mut options = File::options();
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    options
}

impl Logins for FileLogins {
    fn last(&self, domain: &str, name: &str) -> Result<Option<LastLogin>, AccountsError> {
        let Some(path) = self.path(domain, name)? else { return Ok(None) };
        let mut file = match no_follow().read(true).open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let mut text = String::new();
        (&mut file).take(ADDRESS_BYTES_MAX).read_to_string(&mut text).map_err(io(&path))?;
        let at = file.metadata().map_err(io(&path))?.mtime();
        Ok(Some(LastLogin { address: text.trim().to_owned(), at }))
    }

    fn note(&self, domain: &str, name: &str, login: &LastLogin) -> Result<(), AccountsError> {
        let path = self.path(domain, name)?.ok_or_else(|| AccountsError::Missing(format!("{name}@{domain}")))?;
        self.write(domain, &path, login.address.as_bytes(), Some(login.at))
    }

    fn forget(&self, domain: &str, name: Option<&str>) -> Result<(), AccountsError> {
        if let Some(name) = name {
            return match self.path(domain, name)? {
                Some(path) if path.try_exists().map_err(io(&path))? => self.write(domain, &path, NEVER, None),
                _ => Ok(()),
            };
        }
        if self.accounts.place(domain)?.is_none() {
            return Ok(());
        }
        self.accounts.page(domain, None, usize::MAX)?.iter().try_for_each(|record| self.forget(domain, Some(&record.name)))
    }
}
