//! How vpopmail's programs complain: `Error: TEXT` on standard output, and an exit code that is vpopmail's negative error number modulo 256. Used by
//! every program here; knows none of them.

use crate::World;
use postino_directory::admin::{AdminError, Change};
use postino_directory::names::NameError;
use postino_ports::accounts::AccountsError;
use std::io::Write;

/// Any error of a program that has no number for it.
pub(crate) const PLAIN: i32 = 255;

/// vpopmail's error numbers with their texts.
pub(crate) mod number {
    /// A number and what is said.
    pub(crate) type Numbered = (i32, &'static str);

    pub(crate) const ILLEGAL_USERNAME: Numbered = (-1, "Illegal username");
    pub(crate) const USER_EXISTS: Numbered = (-2, "User already exists");
    pub(crate) const NO_USER: Numbered = (-10, "User does not exist");
    pub(crate) const NO_DOMAIN: Numbered = (-11, "Domain does not exist");
    pub(crate) const INVALID_DOMAIN: Numbered = (-12, "Invalid domain name");
    pub(crate) const DOMAIN_EXISTS: Numbered = (-13, "Domain already exists");
    pub(crate) const NO_DATABASE: Numbered = (-23, "no authentication database connection");
    pub(crate) const USER_NAME_TOO_LONG: Numbered = (-25, "user name too long");
    pub(crate) const DOMAIN_NAME_TOO_LONG: Numbered = (-26, "domain name too long");
    pub(crate) const PASSWORD_TOO_LONG: Numbered = (-27, "password too long");
    pub(crate) const GECOS_TOO_LONG: Numbered = (-28, "gecos too long");
    pub(crate) const ALIAS_LINE_TOO_LONG: Numbered = (-32, "alias line too long");
    pub(crate) const CATCH_ALL: Numbered = (-55, "can't delete catchall account");
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Exit code.
    pub(crate) code: i32,
    /// What is printed, with its line's end; nothing when empty.
    pub(crate) text: String,
}

impl Complaint {
    /// `Error: TEXT`, by vpopmail's number.
    pub(crate) fn numbered((number, text): number::Numbered) -> Self {
        Self { code: number & 0xff, text: format!("Error: {text}\n") }
    }

    /// The same text with exit code 255, as many programs have it.
    pub(crate) fn plain(self) -> Self {
        Self { code: PLAIN, ..self }
    }

    /// Words of its own, as they are.
    pub(crate) fn words(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// `Error: TEXT` without a number.
    pub(crate) fn error(text: impl std::fmt::Display) -> Self {
        Self::words(PLAIN, format!("Error: {text}\n"))
    }
}

impl From<AdminError> for Complaint {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Name { reason: NameError::Domain, .. } => Self::numbered(number::INVALID_DOMAIN),
            AdminError::Name { .. } => Self::numbered(number::ILLEGAL_USERNAME),
            AdminError::NoDomain(_) => Self::numbered(number::NO_DOMAIN),
            AdminError::DomainExists(_) => Self::numbered(number::DOMAIN_EXISTS),
            AdminError::NoUser(_) => Self::numbered(number::NO_USER),
            AdminError::UserExists(_) => Self::numbered(number::USER_EXISTS),
            other => Self::error(other),
        }
    }
}

impl From<AccountsError> for Complaint {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Unavailable { what } => {
                let _ = writeln!(std::io::stderr().lock(), "{what}");
                Self::numbered(number::NO_DATABASE)
            }
            AccountsError::NoDomain(_) => Self::numbered(number::NO_DOMAIN),
            AccountsError::Exists(_) => Self::numbered(number::USER_EXISTS),
            AccountsError::Missing(_) => Self::numbered(number::NO_USER),
            other => Self::error(other),
        }
    }
}

/// Turns a program's result into its exit code.
pub(crate) fn ended(result: Result<i32, Complaint>) -> i32 {
    match result {
        Ok(code) => code,
        Err(complaint) => {
            say(&complaint.text);
            complaint.code
        }
    }
}

/// Prints; a reader that closed its end is no error of ours.
pub(crate) fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// Tells which lists were out of order.
pub(crate) fn notice(change: &Change) {
    for path in &change.sorted {
        let _ = write!(std::io::stderr().lock(), "NOTICE: Out of order entries found in {}\n   Sorting...\n\n", path.display());
    }
}

/// Only root and the owner of the tree may change it.
pub(crate) fn need_rights(world: &World) -> Result<(), Complaint> {
    if world.may_administer() { Ok(()) } else { Err(Complaint::error("must be run as root or as vpopmail")) }
}
