//! `qmail-masq`: mail that leaves for other hosts gets the addresses of control/masquerade. Called by `main` by its name, and by
//! `qmail-remote` for the reader. Never changes mail that stays here, never writes to the queue itself.

mod program;
mod reader;

pub(crate) use reader::Masked;

use crate::Program;
use crate::home::read_if_there;
use postino_control::masquerade::Masquerade;
use std::io;
use std::path::Path;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[("qmail-masq", program::run)];

/// The table of this home; empty without the file.
pub(crate) fn read(home: &Path) -> io::Result<Masquerade> {
    let Some(bytes) = read_if_there(&home.join("control/masquerade"))? else { return Ok(Masquerade::default()) };
    Masquerade::parse(&bytes).map_err(|problems| {
        let told = problems.first().map(|(line, reason)| format!("line {line} {reason}"));
        io::Error::new(io::ErrorKind::InvalidData, told.unwrap_or_default())
    })
}
