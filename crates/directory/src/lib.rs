//! Who lives here: domains, accounts, aliases and passwords in vpopmail's own files and users/assign. Reading side: [`VpopmailDirectory`], behind
//! the port that daemons know; writing side: [`admin`], for the command line. Never opens a socket and never delivers a message.
#![forbid(unsafe_code)]

pub mod admin;
mod directory;
mod dot_qmail;
mod files;
pub mod keepers;
mod last_login;
mod login;
pub mod names;
pub mod password;
mod resolve;
pub mod roaming;
mod trouble;
mod users;
mod verified;
mod vpopmail;

pub use directory::VpopmailDirectory;
pub use postino_types::account as vpasswd;

#[cfg(test)]
mod tests;
