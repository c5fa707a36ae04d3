//! Accounts, aliases, last logins, opened relays and limits in a database with vpopmail's own tables, behind the traits of `postino_ports::accounts`.
//! Made by the server and the command line from the configuration; knows nothing of mail. Every call blocks, at most as long as the settings say; a
//! database that is down is `Unavailable`, never "no such user".
#![forbid(unsafe_code)]

pub mod connection_file;
#[cfg(feature = "ldap")]
pub mod ldap;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "odbc")]
mod odbc;
#[cfg(any(feature = "postgresql", feature = "mysql"))]
mod own_runtime;
#[cfg(feature = "postgresql")]
mod postgresql;
mod settings;
mod sql;
mod sqlite;

#[cfg(feature = "mysql")]
pub use settings::MysqlSettings;
#[cfg(feature = "odbc")]
pub use settings::OdbcSettings;
#[cfg(feature = "postgresql")]
pub use settings::PostgresqlSettings;
pub use settings::{Layout, Limits, SqliteSettings};
pub use sql::dialect::Dialect;

use postino_ports::accounts::Keepers;
use sql::keeper::SqlKeeper;
use std::sync::Arc;

/// Keepers over an SQLite file. Opens nothing yet: the first question does.
#[must_use]
pub fn sqlite(settings: &SqliteSettings) -> Keepers {
    keepers(Arc::new(SqlKeeper::new(Arc::new(sqlite::SqliteOpener::new(settings)), settings.layout, settings.limits.clone())))
}

/// Keepers over PostgreSQL. Connects at the first question.
#[cfg(feature = "postgresql")]
#[must_use]
pub fn postgresql(settings: &PostgresqlSettings) -> Keepers {
    keepers(Arc::new(SqlKeeper::new(Arc::new(postgresql::PostgresqlOpener::new(settings)), settings.layout, settings.limits.clone())))
}

/// Keepers over MySQL or MariaDB. Connects at the first question.
#[cfg(feature = "mysql")]
#[must_use]
pub fn mysql(settings: &MysqlSettings) -> Keepers {
    keepers(Arc::new(SqlKeeper::new(Arc::new(mysql::MysqlOpener::new(settings)), settings.layout, settings.limits.clone())))
}

/// Keepers over a database behind ODBC. Connects at the first question.
#[cfg(feature = "odbc")]
#[must_use]
pub fn odbc(settings: &OdbcSettings) -> Keepers {
    keepers(Arc::new(SqlKeeper::new(Arc::new(odbc::OdbcOpener::new(settings)), settings.layout, settings.limits.clone())))
}

/// One keeper for everything.
fn keepers(keeper: Arc<SqlKeeper>) -> Keepers {
    Keepers {
        accounts: Arc::clone(&keeper) as _,
        aliases: Some(Arc::clone(&keeper) as _),
        logins: Arc::clone(&keeper) as _,
        relays: Arc::clone(&keeper) as _,
        domains: keeper,
    }
}
