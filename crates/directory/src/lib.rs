//! Who lives here: domains, accounts, aliases and passwords in vpopmail's own files and users/assign. Reading side: [`VpopmailDirectory`], behind
//! the port that daemons know; writing side: [`admin`], for the command line. Never opens a socket and never delivers a message.
#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "daemon"), allow(dead_code))]

pub mod admin;
pub mod copy;
#[cfg(feature = "daemon")]
mod directory;
mod dot_qmail;
mod files;
pub mod keepers;
mod kept;
#[cfg(feature = "daemon")]
mod last_login;
#[cfg(feature = "daemon")]
mod login;
pub mod names;
pub mod password;
mod resolve;
pub mod roaming;
#[cfg(feature = "daemon")]
mod scram;
mod trouble;
mod users;
#[cfg(feature = "daemon")]
mod verified;
mod vpopmail;

#[cfg(feature = "daemon")]
pub use directory::VpopmailDirectory;
pub use postino_types::account as vpasswd;

#[cfg(test)]
#[cfg(feature = "daemon")]
mod tests;
