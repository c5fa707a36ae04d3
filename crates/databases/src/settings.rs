//! What a database needs to be told: where it is, how the tables lie, and how long anything may take. Filled by the server from `server.toml` or from
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
