//! How vpopmail's programs complain: `Error: TEXT` on standard output, and an exit code that is vpopmail's negative error number modulo 256. Used by
//! every program here; knows none of them.

use crate::World;
use postino_directory::admin::AdminError;
use postino_directory::names::NameError;
use std::io::Write;

/// Any error of a program that has no number for it.
pub(crate) const PLAIN: i32 = 255;

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Exit code.
    pub(crate) code: i32,
    /// What is printed, with its line's end; nothing when empty.
    pub(crate) text: String,
}

impl Complaint {
    /// `Error: TEXT` and vpopmail's number (`-10`: no such user).
    pub(crate) fn numbered(number: i32, text: &str) -> Self {
        Self { code: number & 0xff, text: format!("Error: {text}\n") }
    }

    /// Words of its own, as they are.
    pub(crate) fn words(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<AdminError> for Complaint {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Name { reason: NameError::Domain, .. } => Self::numbered(-12, "Invalid domain name"),
            AdminError::Name { .. } => Self::numbered(-1, "Illegal username"),
            AdminError::NoDomain(_) => Self::numbered(-11, "Domain does not exist"),
            AdminError::DomainExists(_) => Self::numbered(-13, "Domain already exists"),
            AdminError::NoUser(_) => Self::numbered(-10, "User does not exist"),
            AdminError::UserExists(_) => Self::numbered(-2, "User already exists"),
            other => Self::words(PLAIN, format!("Error: {other}\n")),
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

/// Only root and the owner of the tree may change it.
pub(crate) fn need_rights(world: &World) -> Result<(), Complaint> {
    if world.may_administer() { Ok(()) } else { Err(Complaint::words(PLAIN, "Error: must be run as root or as vpopmail\n")) }
}
