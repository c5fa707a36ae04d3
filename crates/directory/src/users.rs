//! From a local part to an account: users/cdb first, then the system's accounts as qmail-getpw finds them, at last `alias`.
//! Called by the directory. Never opens a mailbox, never answers "no such user" by itself: `alias` takes what nobody else has.

use crate::files::{Bytes, FileCache, Form, Loaded, is_absent, stamp};
use crate::trouble::{Depth, Trouble};
use postino_control::Config;
use postino_control::assign::{self, AssignError, Assignment};
use postino_control::cdb::Cdb;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Names of 32 bytes and more are no account names for qmail-getpw.
const NAME_BYTES_MAX: usize = 31;
/// How long an answer of the system's account data base is believed.
const PASSWD_TTL: Duration = Duration::from_secs(10);
/// Answers kept.
const PASSWD_ENTRIES_MAX: usize = 1024;

/// Where an account was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In users/cdb.
    Assigned,
    /// Among the system's accounts.
    System,
    /// Nobody's: the `alias` account.
    Alias,
}

/// An account that a local part leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) user: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) home: PathBuf,
    pub(crate) dash: Vec<u8>,
    pub(crate) ext: Vec<u8>,
    pub(crate) origin: Origin,
}

/// users/cdb, exact entries first, then the longest wildcard. `None` also when the file does not exist.
pub(crate) fn assigned(files: &FileCache, config: &Config, local: &[u8], depth: Depth) -> Result<Option<Account>, Trouble> {
    ask(files, config, depth, |data| assign::lookup(data, local))
}

/// The wildcard entry of exactly this prefix (`example.org-`, lower case): how vpopmail finds a domain.
pub(crate) fn assigned_prefix(files: &FileCache, config: &Config, prefix: &[u8], depth: Depth) -> Result<Option<Account>, Trouble> {
    let key = [b"!", prefix].concat();
    ask(files, config, depth, |data| if data.contains(&key)? { assign::lookup(data, prefix) } else { Ok(None) })
}

fn ask(
    files: &FileCache,
    config: &Config,
    depth: Depth,
    question: impl FnOnce(&Cdb<Bytes>) -> Result<Option<Assignment>, AssignError>,
) -> Result<Option<Account>, Trouble> {
    let path = config.home.join("users/cdb");
    let Some(stamp) = stamp(&path)? else { return Ok(None) };
    let loaded = files.get(&path, stamp, Form::Data, depth)?;
    let Loaded::Data(data) = &*loaded else { return Err(Trouble::text("cache holds another form")) };
    let Some(found) = question(data).map_err(|error| Trouble::because(&path, &error))? else { return Ok(None) };
    let home = PathBuf::from(OsString::from_vec(found.home));
    if !home.is_absolute() {
        return Err(Trouble::because(&path, &"a home that is not absolute"));
    }
    let user = String::from_utf8_lossy(&found.user).into_owned();
    Ok(Some(Account { user, uid: found.uid, gid: found.gid, home, dash: found.dash, ext: found.ext, origin: Origin::Assigned }))
}

#[derive(Debug, Clone)]
struct SystemUser {
    uid: u32,
    gid: u32,
    home: PathBuf,
}

/// The system's accounts with a short memory; NSS may be slow (LDAP), so it is asked at [`Depth::Load`] only.
#[derive(Debug, Default)]
pub(crate) struct SystemUsers {
    kept: Mutex<HashMap<String, (Option<SystemUser>, Duration)>>,
}

impl SystemUsers {
    /// The account by qmail-getpw's rules: the whole local part, then each split at `-`, longest name first.
    pub(crate) fn find(&self, local: &[u8], minuid: u32, depth: Depth, now: Duration) -> Result<Option<Account>, Trouble> {
        let ends = (0..=local.len()).rev().filter(|&end| end == local.len() || local.get(end) == Some(&b'-'));
        for end in ends {
            let Some(name) = local.get(..end).filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX) else { continue };
            let Ok(name) = String::from_utf8(name.to_ascii_lowercase()) else { continue };
            let Some(found) = self.by_name(&name, minuid, depth, now)? else { continue };
            let (dash, ext) = match local.get(end + 1..) {
                None => (Vec::new(), Vec::new()),
                Some(ext) => (b"-".to_vec(), ext.to_vec()),
            };
            return Ok(Some(Account { user: name, uid: found.uid, gid: found.gid, home: found.home, dash, ext, origin: Origin::System }));
        }
        Ok(None)
    }

    fn by_name(&self, name: &str, minuid: u32, depth: Depth, now: Duration) -> Result<Option<SystemUser>, Trouble> {
        if let Some((found, until)) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(name)
            && *until > now
        {
            return Ok(found.clone());
        }
        if depth == Depth::Warm {
            return Err(Trouble::NeedsLoad);
        }
        let found = ask_system(name, minuid)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= PASSWD_ENTRIES_MAX {
            kept.clear();
        }
        kept.insert(name.to_owned(), (found.clone(), now.saturating_add(PASSWD_TTL)));
        Ok(found)
    }
}

fn ask_system(name: &str, minuid: u32) -> Result<Option<SystemUser>, Trouble> {
    use nix::errno::Errno;
    let user = match nix::unistd::User::from_name(name) {
        Ok(user) => user,
        // getpwnam(3): these say "not found" in some libraries
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => None,
        Err(error) => return Err(Trouble::text(format!("account data base: {error}"))),
    };
    let Some(user) = user else { return Ok(None) };
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    if uid == 0 || uid < minuid {
        return Ok(None);
    }
    match std::fs::metadata(&user.dir) {
        Ok(home) if home.uid() == uid && home.is_dir() => Ok(Some(SystemUser { uid, gid, home: user.dir })),
        Ok(_) => Ok(None),
        // qmail-getpw: only an error that may heal defers; the rest is "not his home", and alias gets the mail
        Err(error) if is_absent(&error) || error.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(Trouble::io(&user.dir, &error)),
    }
}

/// The `alias` account: `HOME/alias`, owned by whoever owns it. `None` when there is no such directory.
pub(crate) fn alias(config: &Config, local: &[u8]) -> Result<Option<Account>, Trouble> {
    let home = config.home.join("alias");
    match std::fs::metadata(&home) {
        Ok(metadata) => Ok(Some(Account {
            user: "alias".into(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            home,
            dash: b"-".to_vec(),
            ext: local.to_vec(),
            origin: Origin::Alias,
        })),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Trouble::io(&home, &error)),
    }
}
