//! Who keeps accounts: `[directory]` in server.toml. Read by the server, the command line and vpopmail's programs. Holds values only; where a database is and
//! its password stand in vpopmail's own connection file.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// What keeps the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Store {
    /// vpopmail's files.
    #[default]
    Files,
    /// An SQLite file.
    Sqlite,
    /// PostgreSQL.
    Postgresql,
    /// MySQL or MariaDB.
    Mysql,
    /// A database behind ODBC.
    Odbc,
    /// An LDAP directory.
    Ldap,
}

impl Store {
    /// All, by name.
    pub const ALL: [Self; 6] = [Self::Files, Self::Sqlite, Self::Postgresql, Self::Mysql, Self::Odbc, Self::Ldap];
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 6] = ["files", "sqlite", "postgresql", "mysql", "odbc", "ldap"];

    /// The store of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().zip(Self::ALL).find(|(known, _)| **known == name).map(|(_, store)| store)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Sqlite => "sqlite",
            Self::Postgresql => "postgresql",
            Self::Mysql => "mysql",
            Self::Odbc => "odbc",
            Self::Ldap => "ldap",
        }
    }

    /// Its connection file below vpopmail's `etc`: for SQLite the database itself.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Files => "",
            Self::Sqlite => "vpopmail.sqlite",
            Self::Postgresql => "vpopmail.pgsql",
            Self::Mysql => "vpopmail.mysql",
            Self::Odbc => "vpopmail.odbc",
            Self::Ldap => "vpopmail.ldap",
        }
    }
}

/// The SQL of a database behind ODBC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OdbcDialect {
    /// Oracle Database.
    #[default]
    Oracle,
    /// Informix.
    Informix,
    /// PostgreSQL.
    Postgresql,
    /// MySQL or MariaDB.
    Mysql,
    /// SQLite.
    Sqlite,
}

impl OdbcDialect {
    /// Their names.
    pub const NAMES: [&'static str; 5] = ["oracle", "informix", "postgresql", "mysql", "sqlite"];

    /// The dialect of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Oracle, Self::Informix, Self::Postgresql, Self::Mysql, Self::Sqlite];
        Self::NAMES.iter().zip(all).find(|(known, _)| **known == name).map(|(_, dialect)| dialect)
    }
}

/// The settings.
#[derive(Debug, Clone)]
pub struct DirectorySettings {
    /// `store`.
    pub store: Store,
    /// `layout = "many-tables"`: a table for each domain.
    pub many_tables: bool,
    /// `connection_file`; `None`: the store's own name in `etc` of vpopmail's home.
    pub connection_file: Option<PathBuf>,
    /// `odbc_dialect`: the SQL of the database behind ODBC.
    pub odbc_dialect: OdbcDialect,
    /// `tls_authorities`, for MySQL.
    pub tls_authorities: Option<PathBuf>,
    /// `connect_timeout_s`.
    pub connect_timeout: Duration,
    /// `query_timeout_s`.
    pub query_timeout: Duration,
    /// `connections_max`.
    pub connections_max: usize,
    /// `cache_s`.
    pub cache: Duration,
    /// `cache_absent_s`.
    pub cache_absent: Duration,
    /// `aliases`: alias lines are kept there.
    pub aliases: bool,
    /// `logins`: last logins are kept there.
    pub logins: bool,
    /// `relays`: opened relays are kept there.
    pub relays: bool,
    /// `limits`: limits, addresses and hashing are kept there.
    pub limits: bool,
}

impl Default for DirectorySettings {
    fn default() -> Self {
        Self {
            store: Store::Files,
            many_tables: false,
            connection_file: None,
            odbc_dialect: OdbcDialect::Oracle,
            tls_authorities: None,
            connect_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(5),
            connections_max: 4,
            cache: Duration::from_secs(5),
            cache_absent: Duration::from_secs(1),
            aliases: true,
            logins: true,
            relays: true,
            limits: true,
        }
    }
}

impl DirectorySettings {
    /// The connection file in use for a store.
    #[must_use]
    pub fn connection_file(&self, store: Store, vpopmail_home: &Path) -> PathBuf {
        match &self.connection_file {
            Some(file) if store == self.store => file.clone(),
            _ => vpopmail_home.join("etc").join(store.file_name()),
        }
    }
}
