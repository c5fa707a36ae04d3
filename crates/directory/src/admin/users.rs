//! Users of a domain: add (one or many at once), remove, password, quota, flags, list. Called by the command line.
//! A user's tree is durable before vpasswd names it, and out of the way before vpasswd forgets it.

use super::acting::ActingAs;
use super::domains::make_below;
use super::hashing::Scope;
use super::intent::Intent;
use super::journal::Journal;
use super::limits::Act;
use super::quota::quota_text;
use super::recovery::{aside, remove_own_tree};
use super::tree::{clear_leftover, make_user, sync_users};
use super::{Admin, AdminError, Change, ClearPassword, DomainEntry, checked};
use crate::names;
use crate::password::hash_password;
use crate::vpasswd::Record;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Longest new password, in bytes (vpopmail's field).
const PASSWORD_BYTES_MAX: usize = 128;

/// Accounts read at once from their keeper.
const PAGE: usize = 1000;

/// What lets a new user in.
#[derive(Clone, PartialEq, Eq)]
pub enum NewSecret {
    /// A clear password, which is hashed.
    Password(Vec<u8>),
    /// A hash made elsewhere.
    Hash(String),
    /// Nothing: no login.
    None,
}

/// A user to be added.
#[derive(Clone)]
pub struct NewUser {
    /// Name without domain.
    pub name: String,
    /// Password.
    pub secret: NewSecret,
    /// Quota as typed; `None`: the domain's default, else the site's.
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
        Self { name: name.to_owned(), secret: NewSecret::Password(password.to_vec()), quota: None, comment: None }
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
        self.allow_accounts(domain, Act::Create, users.len())?;
        let mut records = self.hash_all(&entry, users)?;
        let _lock = self.lock_domain(&entry)?;
        self.refuse_taken(&entry, &records)?;
        let (counted, below) = self.count_up(Scope::Domain(&entry), records.len())?;
        let mut directories = Vec::with_capacity(records.len());
        for (record, below) in records.iter_mut().zip(&below) {
            let directory = entry.directory.join(below).join(&record.name);
            record.directory = directory.to_string_lossy().into_owned();
            directories.push(directory);
        }
        let _acting = ActingAs::begin(entry.owner())?;
        for directory in &directories {
            clear_leftover(directory)?;
        }
        let named = records.iter().map(|record| record.name.clone()).zip(directories.iter().cloned()).collect();
        let _intent = Intent::AddUsers { users: named, counted: counted.before.clone() }.write(&entry.directory)?;
        let mut journal = Journal::default();
        let made = make_users(&mut journal, &entry, &directories).and_then(|()| {
            self.count(Scope::Domain(&entry), &counted)?;
            Ok(self.keepers.accounts.insert_all(entry.real(), &records)?)
        });
        if let Err(error) = made {
            drop(journal);
            self.uncount(Scope::Domain(&entry), &counted);
            return Err(error);
        }
        let _ = journal.commit();
        Ok(Change::noticed())
    }

    fn refuse_taken(&self, entry: &DomainEntry, records: &[Record]) -> Result<(), AdminError> {
        for record in records {
            let address = || format!("{}@{}", record.name, entry.name);
            if self.keepers.accounts.find(entry.real(), &record.name)?.is_some() {
                return Err(AdminError::UserExists(address()));
            }
            let kept = self.keepers.aliases.as_ref().map_or(Ok(Vec::new()), |kept| kept.lines(entry.real(), &record.name))?;
            let file = alias_path(&entry.directory, &record.name);
            if !kept.is_empty() || file.try_exists().map_err(AdminError::io(&entry.directory))? {
                return Err(AdminError::AliasExists(address()));
            }
        }
        Ok(())
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
        let quota = self.quota_of_new(entry)?;
        let hash_share =
            |part: &[NewUser]| part.iter().map(|user| self.hashed(&entry.directory, user, &quota)).collect::<Result<Vec<_>, _>>();
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

    /// The record of a domain's first user, when the domain is not there yet.
    pub(super) fn record_of(&self, user: &NewUser, directory: &Path) -> Result<Record, AdminError> {
        let site = self.keepers.domains.limits("")?.unwrap_or_default().default_quota();
        let quota = if site == "NOQUOTA" { self.settings.default_quota.clone() } else { site };
        let user = NewUser { name: "postmaster".into(), ..user.clone() };
        self.hashed(directory, &user, &quota)
    }

    fn quota_of_new(&self, entry: &DomainEntry) -> Result<String, AdminError> {
        let own = self.limits(&entry.name)?.default_quota();
        Ok(if own == "NOQUOTA" { self.settings.default_quota.clone() } else { own })
    }

    /// The record of a new user, straight below `domain`.
    fn hashed(&self, domain: &Path, user: &NewUser, default_quota: &str) -> Result<Record, AdminError> {
        let name = checked(&user.name, names::user(&user.name))?;
        let no_clear = || (self.settings.clear == ClearPassword::Store).then(String::new);
        let (password, clear) = match &user.secret {
            NewSecret::Password(password) => self.secrets(password)?,
            NewSecret::Hash(hash) => (good_hash(hash)?.to_owned(), no_clear()),
            NewSecret::None => (String::new(), no_clear()),
        };
        let comment = user.comment.as_deref().unwrap_or(&name);
        Ok(Record {
            password,
            kind: 1,
            flags: 0,
            gecos: gecos(comment),
            directory: domain.join(&name).to_string_lossy().into_owned(),
            quota: match user.quota.as_deref().unwrap_or(default_quota) {
                "" => "NOQUOTA".into(),
                quota => quota_text(quota)?,
            },
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

    /// Removes a user and all mail: the record first, then the tree.
    pub fn remove_user(&self, address: &str) -> Result<Change, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        let is_alias = alias_path(&entry.directory, &user).try_exists().map_err(AdminError::io(&entry.directory))?;
        if user == "postmaster" && !is_alias {
            return Err(AdminError::Postmaster(format!("{user}@{domain}")));
        }
        self.remove_account(address)
    }

    /// The same, when even the postmaster may go (as vpopmail's program lets it).
    pub fn remove_account(&self, address: &str) -> Result<Change, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        self.allow_accounts(&domain, Act::Delete, 0)?;
        let _lock = self.lock_domain(&entry)?;
        let _acting = ActingAs::begin(entry.owner())?;
        let record = self.keepers.accounts.find(entry.real(), &user)?.ok_or_else(|| AdminError::NoUser(format!("{user}@{domain}")))?;
        let directory = PathBuf::from(&record.directory);
        refuse_foreign(&directory, &user)?;
        let counted = self.count_down(Scope::Domain(&entry))?;
        let intent = Intent::RemoveUser { name: user.clone(), directory: directory.clone(), counted: counted.after.clone() };
        let _intent = intent.write(&entry.directory)?;
        self.keepers.accounts.remove(entry.real(), &user)?;
        self.keepers.logins.forget(entry.real(), Some(&user))?;
        self.count(Scope::Domain(&entry), &counted)?;
        if std::fs::symlink_metadata(&directory).is_ok() {
            // One rename first: nobody delivers into a tree that is half gone.
            let aside = aside(&directory);
            super::recovery::remove_tree(&aside)?;
            std::fs::rename(&directory, &aside).map_err(AdminError::io(&directory))?;
            super::recovery::remove_tree(&aside)?;
        }
        remove_own_tree(&entry, &directory)?;
        Ok(Change::noticed())
    }

    /// Gives a user a new password.
    pub fn set_password(&self, address: &str, password: &[u8]) -> Result<Change, AdminError> {
        let (hash, clear) = self.secrets(password)?;
        self.edit(address, |record| (record.password, record.clear) = (hash, clear))
    }

    /// Puts a ready-made hash in place (an import); empty = no login.
    pub fn set_password_hash(&self, address: &str, hash: &str) -> Result<Change, AdminError> {
        let hash = good_hash(hash)?.to_owned();
        self.edit(address, |record| (record.password, record.clear) = (hash, None))
    }

    /// Sets the quota (`50M`, `5000000S,1000C`, `NOQUOTA`); the sum kept in `maildirsize` is counted anew by its next reader.
    pub fn set_quota(&self, address: &str, quota: &str) -> Result<Change, AdminError> {
        let quota = quota_text(quota)?;
        self.allow_quota(&self.locate(address)?.1)?;
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

    /// Sets the comment.
    pub fn set_comment(&self, address: &str, comment: &str) -> Result<Change, AdminError> {
        let gecos = gecos(comment);
        self.edit(address, |record| record.gecos = gecos)
    }

    /// All users of a domain, sorted by name.
    pub fn users(&self, domain: &str) -> Result<Vec<UserInfo>, AdminError> {
        let entry = self.domain(domain)?;
        let (mut users, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.keepers.accounts.page(entry.real(), after.as_deref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(users) };
            after = Some(last.name.clone());
            users.extend(page.into_iter().map(|record| shown(entry.real(), record)));
        }
    }

    /// One user.
    pub fn user(&self, address: &str) -> Result<UserInfo, AdminError> {
        let (_, _, entry) = self.locate(address)?;
        Ok(shown(entry.real(), self.record(address)?))
    }

    /// Makes `vpasswd.cdb` of a domain anew from `vpasswd`.
    pub fn rebuild(&self, domain: &str) -> Result<Change, AdminError> {
        let entry = self.domain(domain)?;
        let _lock = self.lock_domain(&entry)?;
        self.keepers.accounts.rebuild(entry.real())?;
        Ok(Change::noticed())
    }

    /// The record of a user, with hash and password: for programs that show them to their administrator.
    pub fn record(&self, address: &str) -> Result<Record, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        self.keepers.accounts.find(entry.real(), &user)?.ok_or_else(|| AdminError::NoUser(format!("{user}@{domain}")))
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

    /// Changes a user's record as `change` wants it; the name stays.
    pub fn edit(&self, address: &str, change: impl FnOnce(&mut Record)) -> Result<Change, AdminError> {
        let (user, domain, entry) = self.locate(address)?;
        self.allow_accounts(&domain, Act::Modify, 0)?;
        let _lock = self.lock_domain(&entry)?;
        let old = self.keepers.accounts.find(entry.real(), &user)?.ok_or_else(|| AdminError::NoUser(format!("{user}@{domain}")))?;
        let mut new = old.clone();
        change(&mut new);
        new.name.clone_from(&old.name);
        if new != old {
            self.keepers.accounts.update(entry.real(), &new)?;
        }
        Ok(Change::noticed())
    }
}

fn make_users(journal: &mut Journal, entry: &DomainEntry, directories: &[PathBuf]) -> Result<(), AdminError> {
    for directory in directories {
        let parent = directory.parent().unwrap_or(&entry.directory);
        make_below(parent, entry.owner())?;
        journal.making_tree(directory);
        make_user(directory, entry.owner())?;
    }
    let mut parents: Vec<&Path> = directories.iter().filter_map(|path| path.parent()).filter(|path| *path != entry.directory).collect();
    parents.dedup();
    for parent in parents {
        postino_disk::sync_dir(parent).map_err(AdminError::io(parent))?;
    }
    sync_users(&entry.directory, directories)
}

fn good_hash(hash: &str) -> Result<&str, AdminError> {
    if hash.contains(':') || hash.bytes().any(|b| b.is_ascii_control()) { Err(AdminError::Password) } else { Ok(hash) }
}

/// A comment as the field takes it.
fn gecos(comment: &str) -> Vec<u8> {
    comment.bytes().filter(|b| !b.is_ascii_control() && *b != b':').take(48).collect()
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

/// Refuses a directory that is not the user's own by name.
fn refuse_foreign(directory: &Path, user: &str) -> Result<(), AdminError> {
    let own_name = directory.is_absolute() && directory.file_name().is_some_and(|name| name == user);
    if own_name { Ok(()) } else { Err(AdminError::DamagedRecord(directory.to_path_buf())) }
}
