//! Users of a domain: add (one or many at once), remove, password, quota, flags, list. Called by the command line.
//! A user's tree is durable before vpasswd names it, and out of the way before vpasswd forgets it.

use super::account_file::{self, AccountFile};
use super::acting::ActingAs;
use super::journal::Journal;
use super::quota::quota_text;
use super::tree::{clear_leftover, make_user, sync_users};
use super::{Admin, AdminError, Change, ClearPassword, DomainEntry, checked};
use crate::names;
use crate::password::hash_password;
use crate::vpasswd::Record;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Longest new password, in bytes (vpopmail's field).
const PASSWORD_BYTES_MAX: usize = 128;

/// A user to be added.
#[derive(Clone)]
pub struct NewUser {
    /// Name without domain.
    pub name: String,
    /// Clear password.
    pub password: Vec<u8>,
    /// Quota as typed; `None` = no quota.
    pub quota: Option<String>,
    /// Comment; the name when `None`.
    pub comment: Option<String>,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewUser({}, ..)", self.name)
    }
}

impl NewUser {
    /// Without quota and comment.
    #[must_use]
    pub fn new(name: &str, password: &[u8]) -> Self {
        Self { name: name.to_owned(), password: password.to_vec(), quota: None, comment: None }
    }
}

/// A user as shown to people: no hash, no password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// `user@domain`.
    pub address: String,
    /// Comment, printable.
    pub comment: String,
    /// Directory.
    pub directory: PathBuf,
    /// `NOQUOTA` or a quota text.
    pub quota: String,
    /// Flag bits ([`crate::vpasswd`]).
    pub flags: u32,
    /// Has a password, so can log in.
    pub has_password: bool,
    /// Has a clear password, so APOP works.
    pub has_clear: bool,
}

impl Admin {
    /// Adds one user.
    pub fn add_user(&self, address: &str, password: &[u8]) -> Result<Change, AdminError> {
        let (user, domain) = checked(address, names::address(address))?;
        self.add_users(&domain, &[NewUser::new(&user, password)])
    }

    /// Adds many users of one domain: all or none, one rewrite of vpasswd, one sync of the trees, hashes on all cores.
    pub fn add_users(&self, domain: &str, users: &[NewUser]) -> Result<Change, AdminError> {
        let entry = self.domain(domain)?;
        let records = self.hash_all(&entry, users)?;
        let _acting = ActingAs::begin(entry.owner())?;
        let mut accounts = account_file::open(&entry.directory, entry.owner())?;
        for record in &records {
            let address = || format!("{}@{}", record.name, entry.name);
            if accounts.contains(&record.name) {
                return Err(AdminError::UserExists(address()));
            }
            if alias_path(&entry.directory, &record.name).try_exists().map_err(AdminError::io(&entry.directory))? {
                return Err(AdminError::AliasExists(address()));
            }
        }
        let mut journal = Journal::default();
        let directories: Vec<PathBuf> = records.iter().map(|record| PathBuf::from(&record.directory)).collect();
        for directory in &directories {
            clear_leftover(directory)?;
            journal.making_tree(directory);
            make_user(directory, entry.owner())?;
        }
        sync_users(&entry.directory, &directories)?;
        for record in &records {
            accounts.set(record);
        }
        accounts.write(&mut journal)?;
        journal.commit();
        Ok(Change::NOTICED)
    }

    fn hash_all(&self, entry: &DomainEntry, users: &[NewUser]) -> Result<Vec<Record>, AdminError> {
        let mut seen = HashSet::new();
        for user in users {
            let name = checked(&user.name, names::user(&user.name))?;
            if !seen.insert(name.clone()) {
                return Err(AdminError::UserExists(format!("{name}@{}", entry.name)));
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let share = users.len().div_ceil(cores).max(1);
        let hash_share = |part: &[NewUser]| part.iter().map(|user| self.hashed(&entry.directory, user)).collect::<Result<Vec<_>, _>>();
        if users.len() == 1 {
            return hash_share(users);
        }
        std::thread::scope(|scope| {
            let parts: Vec<_> = users.chunks(share).map(|part| scope.spawn(move || hash_share(part))).collect();
            let mut records = Vec::with_capacity(users.len());
            for part in parts {
                records.extend(part.join().unwrap_or(Err(AdminError::Hash(crate::password::HashError::NoRandom)))?);
            }
            Ok(records)
        })
    }

    /// The record of a new user.
    pub(super) fn hashed(&self, domain: &Path, user: &NewUser) -> Result<Record, AdminError> {
        let name = checked(&user.name, names::user(&user.name))?;
        let (password, clear) = self.secrets(&user.password)?;
        let comment = user.comment.as_deref().unwrap_or(&name);
        Ok(Record {
            password,
            kind: 1,
            flags: 0,
            gecos: comment.bytes().filter(|b| !b.is_ascii_control() && *b != b':').take(48).collect(),
            directory: domain.join(&name).to_string_lossy().into_owned(),
            quota: user.quota.as_deref().map_or_else(|| Ok("NOQUOTA".into()), quota_text)?,
            clear,
            name,
        })
    }

    fn secrets(&self, password: &[u8]) -> Result<(String, Option<String>), AdminError> {
        let good = (1..=PASSWORD_BYTES_MAX).contains(&password.len()) && !password.iter().any(u8::is_ascii_control);
        if !good {
            return Err(AdminError::Password);
        }
        let clear = match self.settings.clear {
            ClearPassword::LeaveOut => None,
            ClearPassword::Store => Some(std::str::from_utf8(password).map_err(|_| AdminError::Password)?.to_owned()),
        };
        Ok((hash_password(password, self.settings.new_hash)?, clear))
    }

    /// Removes a user and all mail; postmaster stays unless an alias takes the place (RFC 5321 4.5.1).
    pub fn remove_user(&self, address: &str) -> Result<Change, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        let is_needed =
            user == "postmaster" && !alias_path(&entry.directory, &user).try_exists().map_err(AdminError::io(&entry.directory))?;
        if is_needed {
            return Err(AdminError::Postmaster(format!("{user}@{domain}")));
        }
        self.remove_any_user(address)
    }

    /// As [`Admin::remove_user`], postmaster too: what vdeluser does.
    pub fn remove_any_user(&self, address: &str) -> Result<Change, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        let address = format!("{user}@{domain}");
        let _acting = ActingAs::begin(entry.owner())?;
        let mut accounts = account_file::open(&entry.directory, entry.owner())?;
        let record = accounts.get(&user)?.ok_or_else(|| AdminError::NoUser(address.clone()))?;
        let directory = PathBuf::from(&record.directory);
        let mut journal = Journal::default();
        let aside = set_aside(&mut journal, &directory, &user)?;
        accounts.remove(&user);
        accounts.write(&mut journal)?;
        journal.commit();
        if let Some(aside) = aside {
            std::fs::remove_dir_all(&aside).map_err(AdminError::io(&aside))?;
        }
        Ok(Change::NOTICED)
    }

    /// Gives a user a new password.
    pub fn set_password(&self, address: &str, password: &[u8]) -> Result<Change, AdminError> {
        let (hash, clear) = self.secrets(password)?;
        self.edit(address, |record| (record.password, record.clear) = (hash, clear))
    }

    /// Puts a ready-made hash in place (an import); empty = no login.
    pub fn set_password_hash(&self, address: &str, hash: &str) -> Result<Change, AdminError> {
        if hash.contains(':') || hash.bytes().any(|b| b.is_ascii_control()) {
            return Err(AdminError::Password);
        }
        self.edit(address, |record| (record.password, record.clear) = (hash.to_owned(), None))
    }

    /// Sets the quota (`50M`, `5000000S,1000C`, `NOQUOTA`); the sum kept in `maildirsize` is counted anew by its next reader.
    pub fn set_quota(&self, address: &str, quota: &str) -> Result<Change, AdminError> {
        let quota = quota_text(quota)?;
        let change = self.edit(address, |record| record.quota = quota)?;
        let _acting = ActingAs::begin(self.locate(address)?.2.owner())?;
        let sum = PathBuf::from(self.record(address)?.directory).join("Maildir/maildirsize");
        match std::fs::remove_file(&sum) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(AdminError::io(&sum)(error)),
            _ => Ok(change),
        }
    }

    /// Sets the flag word ([`crate::vpasswd`] has the bits).
    pub fn set_flags(&self, address: &str, flags: u32) -> Result<Change, AdminError> {
        self.edit(address, |record| record.flags = flags)
    }

    /// All users of a domain, sorted by name.
    pub fn users(&self, domain: &str) -> Result<Vec<UserInfo>, AdminError> {
        let entry = self.domain(domain)?;
        let name = entry.alias_of.as_ref().unwrap_or(&entry.name);
        Ok(account_file::read(&entry.directory, entry.owner())?.records()?.into_iter().map(|record| shown(name, record)).collect())
    }

    /// One user.
    pub fn user(&self, address: &str) -> Result<UserInfo, AdminError> {
        let (_, _, entry) = self.locate(address)?;
        let name = entry.alias_of.as_ref().unwrap_or(&entry.name);
        Ok(shown(name, self.record(address)?))
    }

    /// Makes `vpasswd.cdb` of a domain anew from `vpasswd`.
    pub fn rebuild(&self, domain: &str) -> Result<Change, AdminError> {
        let entry = self.domain(domain)?;
        let _acting = ActingAs::begin(entry.owner())?;
        let accounts = account_file::open(&entry.directory, entry.owner())?;
        let mut journal = Journal::default();
        accounts.write(&mut journal)?;
        journal.commit();
        Ok(Change::NOTICED)
    }

    fn record(&self, address: &str) -> Result<Record, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        let accounts: AccountFile = account_file::read(&entry.directory, entry.owner())?;
        accounts.get(&user)?.ok_or_else(|| AdminError::NoUser(format!("{user}@{domain}")))
    }

    /// For existing users the looser rule of look-ups is enough, but no path may come of it: none is made from the name here.
    fn locate(&self, address: &str) -> Result<(String, String, DomainEntry), AdminError> {
        let (user, domain) = address
            .rsplit_once('@')
            .ok_or(names::NameError::Address)
            .map_err(|reason| AdminError::Name { name: postino_types::printable::printable(address.as_bytes()), reason })?;
        let entry = self.domain(domain)?;
        Ok((user.to_ascii_lowercase(), entry.name.clone(), entry))
    }

    /// Changes a user's record under the lock of its domain.
    pub fn edit(&self, address: &str, change: impl FnOnce(&mut Record)) -> Result<Change, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        let _acting = ActingAs::begin(entry.owner())?;
        let mut accounts = account_file::open(&entry.directory, entry.owner())?;
        let mut record = accounts.get(&user)?.ok_or_else(|| AdminError::NoUser(format!("{user}@{domain}")))?;
        change(&mut record);
        accounts.set(&record);
        let mut journal = Journal::default();
        accounts.write(&mut journal)?;
        journal.commit();
        Ok(Change::NOTICED)
    }
}

/// `.qmail-NAME` of a domain, dots as colons.
pub(super) fn alias_path(domain: &Path, name: &str) -> PathBuf {
    domain.join(format!(".qmail-{}", name.replace('.', ":")))
}

fn shown(domain: &str, record: Record) -> UserInfo {
    UserInfo {
        address: format!("{}@{domain}", record.name),
        comment: String::from_utf8_lossy(&record.gecos).chars().filter(|c| !c.is_control()).collect(),
        directory: PathBuf::from(&record.directory),
        quota: record.quota_or_none().to_owned(),
        flags: record.flags,
        has_password: !record.password.is_empty(),
        has_clear: record.clear.is_some_and(|clear| !clear.is_empty()),
    }
}

/// Moves the user's directory away; refuses a directory that is not the user's own by name.
fn set_aside(journal: &mut Journal, directory: &Path, user: &str) -> Result<Option<PathBuf>, AdminError> {
    let own_name = directory.is_absolute() && directory.file_name().is_some_and(|name| name == user);
    if !own_name {
        return Err(AdminError::DamagedRecord(directory.to_path_buf()));
    }
    let aside = directory.with_file_name(format!(".removed-{user}"));
    if std::fs::symlink_metadata(&aside).is_ok() {
        std::fs::remove_dir_all(&aside).map_err(AdminError::io(&aside))?;
    }
    match std::fs::symlink_metadata(directory) {
        Ok(_) => journal.rename(directory, &aside).map(|()| Some(aside)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AdminError::io(directory)(error)),
    }
}
