//! Changes to domains, users and aliases, written as vpopmail writes them: files, modes, locks and order. Called by the command line (and later
//! by the historical programs). Each change is whole or undone, and durable when it returns; never used by a daemon, blocks freely.

mod acting;
pub use acting::ActingAs;
mod aliases;
mod assignments;
mod control_lists;
mod domains;
mod hashing;
mod intent;
pub(crate) mod journal;
mod limits;
mod quota;
mod recovery;
mod tree;
mod users;

#[cfg(test)]
#[cfg(feature = "daemon")]
mod tests;

pub use aliases::Alias;
pub use domains::{AbuseAlias, AliasDomains, CatchAll, DomainEntry, NewDomain};
pub use hashing::Hashing;
pub use limits::Actor;
pub use quota::quota_text;
pub use users::{NewSecret, NewUser, UserInfo};

use crate::names::NameError;
use crate::password::{HashError, NewHash};
use postino_control::Config;
use postino_control::cdb::CdbError;
use postino_ports::accounts::{AccountsError, Keepers};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who owns the files of virtual domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Is the clear password stored beside the hash? APOP and CRAM-MD5 work only where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClearPassword {
    /// No.
    #[default]
    LeaveOut,
    /// Yes, in the last column of `vpasswd`.
    Store,
}

/// What the administration must know.
#[derive(Debug, Clone)]
pub struct AdminSettings {
    /// Home: `control/`, `users/`.
    pub home: PathBuf,
    /// vpopmail's tree: `domains/`.
    pub vpopmail_home: PathBuf,
    /// Host name (`me`): it is local when `locals` is missing.
    pub me: String,
    /// Owner of new files and the uid and gid in users/assign.
    pub owner: Owner,
    /// How new passwords are hashed.
    pub new_hash: NewHash,
    /// Store clear passwords?
    pub clear: ClearPassword,
    /// Hash directories?
    pub hashing: Hashing,
    /// For whom changes are made.
    pub actor: Actor,
    /// Quota of a new account whose domain has no default.
    pub default_quota: String,
}

/// What a change means for a running server, and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Change {
    /// Control files changed: the server must be told to reread them (SIGHUP). Accounts, passwords and aliases are noticed without.
    pub reload_needed: bool,
    /// Lists whose lines were out of order and have been sorted as a whole, as vpopmail does, with a notice.
    pub sorted: Vec<PathBuf>,
}

impl Change {
    const fn noticed() -> Self {
        Self { reload_needed: false, sorted: Vec::new() }
    }

    fn reload(sorted: Vec<PathBuf>) -> Self {
        Self { reload_needed: true, sorted }
    }
}

/// Why a change was not made. Nothing is left half-done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A name breaks the rules.
    #[error("{name}: {reason}")]
    Name {
        /// As given, printable.
        name: String,
        /// The rule.
        reason: NameError,
    },
    /// No such domain.
    #[error("domain {0} does not exist")]
    NoDomain(String),
    /// The domain is there already.
    #[error("domain {0} exists already")]
    DomainExists(String),
    /// The domain has alias domains, named here.
    #[error("domain {domain} has alias domains: {aliases}; remove them first, or with it")]
    HasAliases {
        /// The domain.
        domain: String,
        /// Its aliases, separated by blanks.
        aliases: String,
    },
    /// No such user.
    #[error("user {0} does not exist")]
    NoUser(String),
    /// The user is there already.
    #[error("user {0} exists already")]
    UserExists(String),
    /// No such alias.
    #[error("alias {0} does not exist")]
    NoAlias(String),
    /// An alias has this name, and would take the user's mail.
    #[error("{0} is an alias already, and an alias gets the mail before a user of the same name")]
    AliasExists(String),
    /// RFC 5321 4.5.1: every domain has a postmaster.
    #[error("{0} stays: every domain must have a postmaster (make it an alias first)")]
    Postmaster(String),
    /// Empty, too long, or with control characters.
    #[error("a password is 1 to 128 bytes without control characters")]
    Password,
    /// Not a quota.
    #[error("{0}: a quota is NOQUOTA, or a size such as 50M and a count such as 1000C, separated by a comma")]
    Quota(String),
    /// Not a target of an alias.
    #[error("{0}: an alias leads to addresses, user@domain")]
    Target(String),
    /// The directory of a new user or domain exists and holds something.
    #[error("{0} exists and is not empty: move it away first")]
    DirectoryTaken(PathBuf),
    /// users/assign is not what qmail-newu would take.
    #[error("users/assign: bad format at line {0}")]
    BadAssign(usize),
    /// A record of vpasswd is damaged.
    #[error("{0}: damaged record")]
    DamagedRecord(PathBuf),
    /// Somebody else works on the same files.
    #[error("{0}: locked by another program")]
    Locked(PathBuf),
    /// Root must name an owner that is not root.
    #[error("no owner for mailboxes: the account {0} does not exist, and root may not own them")]
    NoOwner(String),
    /// The path of the home cannot be written into users/assign and .qmail-default.
    #[error(
        "{0}: the path of a home is letters, digits and the signs / . _ + @ - (it stands in users/assign and in lines of .qmail files)"
    )]
    HomePath(PathBuf),
    /// Root could not take the owner's rights.
    #[error("cannot act as uid {0}")]
    Rights(u32),
    /// A limit of the domain is reached.
    #[error("the domain may have {max} {what}, and has them")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// The domain's limits do not let its administrators do this.
    #[error("the domain's limits do not let its administrators change these {0}")]
    Forbidden(&'static str),
    /// Whoever keeps the accounts did not do it.
    #[error(transparent)]
    Keeper(AccountsError),
    /// No hash.
    #[error("password not hashed: {0}")]
    Hash(#[from] HashError),
    /// A data base could not be made.
    #[error("cdb not made: {0}")]
    Cdb(#[from] CdbError),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<AccountsError> for AdminError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::NoDomain(domain) => Self::NoDomain(domain),
            AccountsError::Exists(address) => Self::UserExists(address),
            AccountsError::Missing(address) => Self::NoUser(address),
            AccountsError::Damaged { what } => Self::DamagedRecord(PathBuf::from(what)),
            other => Self::Keeper(other),
        }
    }
}

impl AdminError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }
}

/// A path that can be a field of users/assign and a word of a shell line, as vpopmail writes both without quotes.
pub fn plain_path(path: &Path) -> Result<(), AdminError> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'+' | b'@' | b'-');
    let is_plain = path.as_os_str().as_encoded_bytes().iter().all(plain);
    if is_plain { Ok(()) } else { Err(AdminError::HomePath(path.to_path_buf())) }
}

/// The administration of domains, users and aliases.
#[derive(Debug, Clone)]
pub struct Admin {
    settings: AdminSettings,
    keepers: Keepers,
}

impl Admin {
    /// With explicit settings; accounts are kept in vpopmail's files.
    #[must_use]
    pub fn new(settings: AdminSettings) -> Self {
        let keepers = crate::keepers::keepers_at(&settings.home, &settings.vpopmail_home);
        Self { settings, keepers }
    }

    /// The same administration of accounts that others keep.
    #[must_use]
    pub fn with_keepers(mut self, keepers: Keepers) -> Self {
        self.keepers = keepers;
        self
    }

    /// The same administration, hashing directories or not.
    #[must_use]
    pub fn with_hashing(mut self, hashing: Hashing) -> Self {
        self.settings.hashing = hashing;
        self
    }

    /// The same administration for somebody else.
    #[must_use]
    pub fn for_actor(mut self, actor: Actor) -> Self {
        self.settings.actor = actor;
        self
    }

    /// Who keeps what.
    #[must_use]
    pub fn keepers(&self) -> &Keepers {
        &self.keepers
    }

    /// With the paths of `config`; see [`Admin::owner_for`] for the owner.
    pub fn for_config(config: &Config) -> Result<Self, AdminError> {
        Ok(Self::new(AdminSettings {
            home: config.home.clone(),
            vpopmail_home: config.vpopmail_home.clone(),
            me: config.me.to_ascii_lowercase(),
            owner: Self::owner_for(config)?,
            new_hash: NewHash::default(),
            clear: ClearPassword::default(),
            hashing: Hashing::default(),
            actor: Actor::default(),
            default_quota: config.vpopmail.default_quota.clone(),
        }))
    }

    /// Who owns mailboxes: an unprivileged caller himself; for root the owner of an existing `domains/`, else the account the server runs as.
    pub fn owner_for(config: &Config) -> Result<Owner, AdminError> {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if !uid.is_root() {
            return Ok(Owner { uid: uid.as_raw(), gid: gid.as_raw() });
        }
        match std::fs::metadata(config.vpopmail_home.join("domains")) {
            Ok(found) if found.uid() != 0 => return Ok(Owner { uid: found.uid(), gid: found.gid() }),
            _ => {}
        }
        match nix::unistd::User::from_name(&config.server.user) {
            Ok(Some(user)) if !user.uid.is_root() => Ok(Owner { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            _ => Err(AdminError::NoOwner(config.server.user.clone())),
        }
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &AdminSettings {
        &self.settings
    }

    /// The same administration with another way of hashing.
    #[must_use]
    pub fn with_new_hash(mut self, new_hash: NewHash) -> Self {
        self.settings.new_hash = new_hash;
        self
    }

    /// The same administration, storing clear passwords or not.
    #[must_use]
    pub fn with_clear_passwords(mut self, clear: ClearPassword) -> Self {
        self.settings.clear = clear;
        self
    }

    fn control(&self, name: &str) -> PathBuf {
        self.settings.home.join("control").join(name)
    }
}

/// This thread reaches files as the owner of `folder` does, while the value lives.
pub(crate) fn acting_for(folder: &Path) -> Result<acting::ActingAs, AdminError> {
    let found = std::fs::metadata(folder).map_err(AdminError::io(folder))?;
    acting::ActingAs::begin(Owner { uid: found.uid(), gid: found.gid() })
}

/// Takes a lock against ourselves and against vpopmail's programs. The caller acts as the owner already.
pub(crate) fn lock_file(path: &Path) -> Result<journal::Lock, AdminError> {
    journal::lock(path, None)
}

fn checked<T>(name: &str, result: Result<T, NameError>) -> Result<T, AdminError> {
    result.map_err(|reason| AdminError::Name { name: postino_types::printable::printable(name.as_bytes()), reason })
}
