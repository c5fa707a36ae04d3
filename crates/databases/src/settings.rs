//! What a database needs to be told: where it is, how the tables lie, and how long anything may take. Filled by the server from `server.toml` and from
//! vpopmail's connection files. No `Debug` here shows a password.

use std::path::PathBuf;
use std::time::Duration;

/// How the account tables lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// One table `vpopmail` for all domains (vpopmail's default).
    #[default]
    OneTable,
    /// A table for each domain, named by it with `_` for `.` and `-`.
    TableForEachDomain,
}

/// Bounds of time and number.
#[derive(Debug, Clone)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// For one question, with its answer.
    pub query: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// The key under which the hashing of the domains' own directories is kept in `dir_control` (vpopmail: `dom_` and its uid).
    pub domains_key: String,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), query: Duration::from_secs(5), connections_max: 4, domains_key: "dom_89".into() }
    }
}

/// An SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteSettings {
    /// The file; made, for the owner of its directory alone, when it is missing.
    pub path: PathBuf,
    /// How the tables lie.
    pub layout: Layout,
    /// Bounds.
    pub limits: Limits,
}

/// A PostgreSQL server, or one for questions and one for changes.
#[cfg(feature = "postgresql")]
#[derive(Debug, Clone)]
pub struct PostgresqlSettings {
    /// Who answers questions.
    pub read: crate::connection_file::PostgresqlServer,
    /// Who takes changes, if that is another.
    pub write: Option<crate::connection_file::PostgresqlServer>,
    /// How the tables lie.
    pub layout: Layout,
    /// Bounds.
    pub limits: Limits,
}

/// A MySQL or MariaDB server, or one for questions and one for changes.
#[cfg(feature = "mysql")]
#[derive(Debug, Clone)]
pub struct MysqlSettings {
    /// Who answers questions.
    pub read: crate::connection_file::MysqlServer,
    /// Who takes changes, if that is another.
    pub write: Option<crate::connection_file::MysqlServer>,
    /// Authorities (PEM) that a server's certificate must come from; `None`: no TLS.
    pub authorities: Option<PathBuf>,
    /// How the tables lie.
    pub layout: Layout,
    /// Bounds.
    pub limits: Limits,
}

/// A database behind ODBC, or one for questions and one for changes.
#[cfg(feature = "odbc")]
#[derive(Debug, Clone)]
pub struct OdbcSettings {
    /// Who answers questions.
    pub read: crate::connection_file::OdbcServer,
    /// Who takes changes, if that is another.
    pub write: Option<crate::connection_file::OdbcServer>,
    /// Which SQL it understands.
    pub dialect: crate::Dialect,
    /// How the tables lie.
    pub layout: Layout,
    /// Bounds.
    pub limits: Limits,
}
