//! Every keeper of accounts under one contract, and each database's own ways.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod contract;
#[cfg(feature = "ldap")]
mod ldap;
#[cfg(feature = "odbc")]
mod odbc;
#[cfg(all(feature = "postgresql", feature = "mysql"))]
mod servers;
#[cfg(feature = "ldap")]
mod slapd;
mod sqlite;
