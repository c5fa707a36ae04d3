//! The domains of this machine, from users/cdb: one domain's directory and owner, and the real domain behind an alias. Called by most programs here. Reads
//! a few blocks of the data base, never the whole list.

use postino_control::Config;
use postino_control::assign::{self, Assignment};
use postino_control::cdb::Cdb;
use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A domain of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Domain {
    /// Its real name: that of an alias is the domain it stands for.
    pub(crate) name: String,
    /// Owner of its files.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
    /// Its directory.
    pub(crate) directory: PathBuf,
}

/// Finds `domain` (lower case). `None`: it is not one of ours.
///
/// # Errors
/// users/cdb cannot be read, or is damaged.
pub(crate) fn find(config: &Config, domain: &str) -> Result<Option<Domain>, String> {
    let path = config.home.join("users/cdb");
    let trouble = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(trouble(&error)),
    };
    let cdb = Cdb::new(file).map_err(|error| trouble(&error))?;
    let prefix = format!("{domain}-");
    // A wildcard of another domain must not stand in: the entry is that of exactly this name.
    if domain.is_empty() || !cdb.contains(format!("!{prefix}").as_bytes()).map_err(|error| trouble(&error))? {
        return Ok(None);
    }
    let found = assign::lookup(&cdb, prefix.as_bytes()).map_err(|error| trouble(&error))?;
    Ok(found.map(domain_of))
}

fn domain_of(assignment: Assignment) -> Domain {
    Domain {
        name: String::from_utf8_lossy(&assignment.user).into_owned(),
        uid: assignment.uid,
        gid: assignment.gid,
        directory: PathBuf::from(OsString::from_vec(assignment.home)),
    }
}
