//! Where a domain's files lie: the entry of users/cdb, for accounts without a domain `users/` of vpopmail's tree. Called by the keepers of files
//! and by vpopmail's programs. Never computes a path from a domain's name.

use super::io;
use crate::admin::Owner;
use crate::files::is_absent;
use postino_control::Config;
use postino_control::assign;
use postino_control::cdb::Cdb;
use postino_ports::accounts::AccountsError;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A domain's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPlace {
    /// The real domain; empty for accounts without one.
    pub real: String,
    /// Its directory.
    pub directory: PathBuf,
    /// Owner of its files.
    pub owner: Owner,
}

/// Finds domains.
#[derive(Debug, Clone)]
pub struct Places {
    home: PathBuf,
    pub(super) vpopmail_home: PathBuf,
}

impl Places {
    /// With the paths of `config`.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self::at(&config.home, &config.vpopmail_home)
    }

    /// With explicit paths.
    #[must_use]
    pub fn at(home: &Path, vpopmail_home: &Path) -> Self {
        Self { home: home.to_path_buf(), vpopmail_home: vpopmail_home.to_path_buf() }
    }

    /// The place of a domain, or of the real domain behind an alias domain; `None`: no such domain.
    pub fn find(&self, domain: &str) -> Result<Option<DomainPlace>, AccountsError> {
        if domain.is_empty() {
            return self.without_domain();
        }
        let path = self.home.join("users/cdb");
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let unavailable = |error: &dyn std::fmt::Display| AccountsError::Unavailable { what: format!("{}: {error}", path.display()) };
        let data = Cdb::new(&file).map_err(|error| unavailable(&error))?;
        let prefix = format!("{domain}-");
        if !data.contains(format!("!{prefix}").as_bytes()).map_err(|error| unavailable(&error))? {
            return Ok(None);
        }
        let Some(found) = assign::lookup(&data, prefix.as_bytes()).map_err(|error| unavailable(&error))? else { return Ok(None) };
        let directory = PathBuf::from(OsString::from_vec(found.home));
        if !directory.is_absolute() {
            return Err(unavailable(&"a home that is not absolute"));
        }
        let real = String::from_utf8_lossy(&found.user).into_owned();
        Ok(Some(DomainPlace { real, directory, owner: Owner { uid: found.uid, gid: found.gid } }))
    }

    /// The same, when a domain that is not there is an error.
    pub fn get(&self, domain: &str) -> Result<DomainPlace, AccountsError> {
        self.find(domain)?.ok_or_else(|| AccountsError::NoDomain(domain.to_owned()))
    }

    fn without_domain(&self) -> Result<Option<DomainPlace>, AccountsError> {
        let directory = self.vpopmail_home.join("users");
        match std::fs::metadata(&directory) {
            Ok(found) => Ok(Some(DomainPlace { real: String::new(), directory, owner: Owner { uid: found.uid(), gid: found.gid() } })),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(io(&directory)(error)),
        }
    }
}
