//! Where the data of virtual domains is kept: in vpopmail's files or in a database with vpopmail's tables. Called by the directory, by the
//! administration and by vpopmail's programs; each trait may have another keeper. Every call blocks (at most as long as the keeper's time-out), so
//! daemons call on blocking threads. "Not there" and "cannot tell" are different results; the second is always temporary.
//!
//! Names of domains and users come in lower case and checked; a keeper quotes or binds them all the same, and never cuts a value that is too long.

use postino_types::account::{DomainLimits, HashState, Record};
use std::fmt::Debug;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// Why a keeper did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountsError {
    /// It cannot be reached, answered too late, or has no room: always temporary. The text is for the log: no password in it.
    #[error("{what}")]
    Unavailable {
        /// What failed, and where.
        what: String,
    },
    /// The domain is unknown to the keeper.
    #[error("domain {0} does not exist")]
    NoDomain(String),
    /// An account of this name is there already.
    #[error("user {0} exists already")]
    Exists(String),
    /// There is no such account.
    #[error("user {0} does not exist")]
    Missing(String),
    /// A value does not fit its column: nothing was written.
    #[error("{column}: at most {bytes_max} bytes fit")]
    TooLong {
        /// The column's name.
        column: &'static str,
        /// How many bytes it takes.
        bytes_max: usize,
    },
    /// What is stored breaks the format: the operator must look.
    #[error("{what}: damaged")]
    Damaged {
        /// Which file, or which table and key.
        what: String,
    },
    /// This keeper is read-only, or has no such table.
    #[error("{what} is not kept here")]
    NotKept {
        /// What.
        what: &'static str,
    },
}

/// Account records (table `vpopmail`, or the `vpasswd` of each domain).
pub trait Accounts: Send + Sync + Debug {
    /// One account.
    fn find(&self, domain: &str, name: &str) -> Result<Option<Record>, AccountsError>;
    /// Accounts in the order of their names (bytes compared), after `after`, at most `count_max`.
    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<Record>, AccountsError>;
    /// How many accounts the domain has.
    fn count(&self, domain: &str) -> Result<u64, AccountsError>;
    /// Makes room for a new domain (a table of its own, the files); nothing where none is needed. Again is no error.
    fn add_domain(&self, domain: &str) -> Result<(), AccountsError>;
    /// Forgets the domain with all its accounts. Again is no error.
    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError>;
    /// Adds an account: durable when it returns.
    fn insert(&self, domain: &str, record: &Record) -> Result<(), AccountsError>;
    /// A new domain with its first accounts, whose files will lie in `directory` (which nothing names yet): all or none.
    fn found_domain(&self, domain: &str, directory: &Path, first: &[Record]) -> Result<(), AccountsError> {
        let _ = directory;
        self.add_domain(domain)?;
        self.insert_all(domain, first)
    }
    /// Adds accounts, all or none: durable when it returns.
    fn insert_all(&self, domain: &str, records: &[Record]) -> Result<(), AccountsError> {
        for (done, record) in records.iter().enumerate() {
            if let Err(error) = self.insert(domain, record) {
                for undone in records.iter().take(done) {
                    self.remove(domain, &undone.name)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }
    /// Makes anew what is derived from the records (`vpasswd.cdb`); nothing where nothing is.
    fn rebuild(&self, domain: &str) -> Result<(), AccountsError> {
        let _ = domain;
        Ok(())
    }
    /// Replaces an account's record as a whole.
    fn update(&self, domain: &str, record: &Record) -> Result<(), AccountsError>;
    /// Removes an account.
    fn remove(&self, domain: &str, name: &str) -> Result<(), AccountsError>;
    /// Does the keeper itself say whether a password is right (LDAP by bind)? `None`: it does not; the record's hash is compared.
    fn check_password(&self, _domain: &str, _name: &str, _password: &[u8]) -> Result<Option<bool>, AccountsError> {
        Ok(None)
    }
}

/// Alias lines (table `valias`, or `.qmail-NAME` in the domain's directory). A line is a dot-qmail line: `&user@domain`, `/dir/`, `|program`.
pub trait Aliases: Send + Sync + Debug {
    /// The lines of one alias in the order in which they came; empty: no such alias. `default` and `NAME-default` are names like others.
    fn lines(&self, domain: &str, alias: &str) -> Result<Vec<String>, AccountsError>;
    /// All aliases of a domain with their lines, one pair a line, by name, after `after` (a name), at most `count_max` names.
    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<(String, String)>, AccountsError>;
    /// Adds a line.
    fn add_line(&self, domain: &str, alias: &str, line: &str) -> Result<(), AccountsError>;
    /// Removes one line, or with `None` the whole alias. Says whether something went.
    fn remove(&self, domain: &str, alias: &str, line: Option<&str>) -> Result<bool, AccountsError>;
    /// Forgets all aliases of a domain.
    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError>;
}

/// A login of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLogin {
    /// From where, as it was written (`0.0.0.0`: never).
    pub address: String,
    /// Unix time in seconds.
    pub at: i64,
}

/// Times of last logins (table `lastauth`, or the file `lastauth` of each user).
pub trait Logins: Send + Sync + Debug {
    /// When somebody last logged in; `None`: never.
    fn last(&self, domain: &str, name: &str) -> Result<Option<LastLogin>, AccountsError>;
    /// Notes a login.
    fn note(&self, domain: &str, name: &str, login: &LastLogin) -> Result<(), AccountsError>;
    /// Forgets a user's (`None`: a whole domain's).
    fn forget(&self, domain: &str, name: Option<&str>) -> Result<(), AccountsError>;
}

/// Addresses that may relay since somebody logged in from there (table `relay`, or vpopmail's `etc/open-smtp`).
pub trait Relays: Send + Sync + Debug {
    /// Opens for `address` at `at` (Unix seconds), or moves its time on. `true`: the address was not there before.
    fn open(&self, address: IpAddr, at: i64) -> Result<bool, AccountsError>;
    /// All open addresses with their times.
    fn list(&self) -> Result<Vec<(IpAddr, i64)>, AccountsError>;
    /// Forgets those of `until` and before; says how many.
    fn clear(&self, until: i64) -> Result<u64, AccountsError>;
    /// Forgets one; says whether it was there.
    fn close(&self, address: IpAddr) -> Result<bool, AccountsError>;
}

/// An empty domain stands for the site: its default limits (`etc/vlimits.default`) and the hashing of the domains themselves.
///
/// Limits of domains (table `limits`, or `.qmailadmin-limits`), which domain an address of ours stands for (table `ip_alias_map`, or
/// `etc/ip_alias_map`), and how far directories are hashed (table `dir_control`, or `.dir-control`).
pub trait DomainData: Send + Sync + Debug {
    /// The domain's own limits; `None`: it has none, the defaults count.
    fn limits(&self, domain: &str) -> Result<Option<DomainLimits>, AccountsError>;
    /// Sets them, or with `None` removes them.
    fn set_limits(&self, domain: &str, limits: Option<&DomainLimits>) -> Result<(), AccountsError>;
    /// The domain that this address of ours stands for.
    fn domain_of(&self, address: IpAddr) -> Result<Option<String>, AccountsError>;
    /// All pairs.
    fn addresses(&self) -> Result<Vec<(IpAddr, String)>, AccountsError>;
    /// Sets the domain of an address, or with `None` removes it.
    fn set_domain_of(&self, address: IpAddr, domain: Option<&str>) -> Result<(), AccountsError>;
    /// State of the directory hashing below a domain (of the domains themselves: an empty name).
    fn hash_state(&self, domain: &str) -> Result<Option<HashState>, AccountsError>;
    /// Sets it, or with `None` removes it.
    fn set_hash_state(&self, domain: &str, state: Option<&HashState>) -> Result<(), AccountsError>;
}

/// Who keeps what.
#[derive(Debug, Clone)]
pub struct Keepers {
    /// Account records.
    pub accounts: Arc<dyn Accounts>,
    /// Alias lines; `None`: only the domains' `.qmail-NAME` files, which count in any case.
    pub aliases: Option<Arc<dyn Aliases>>,
    /// Last logins.
    pub logins: Arc<dyn Logins>,
    /// Opened relays.
    pub relays: Arc<dyn Relays>,
    /// Limits, addresses, hashing.
    pub domains: Arc<dyn DomainData>,
}
