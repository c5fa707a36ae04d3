//! serialmail: a Maildir over one connection. Called by `main`; never touches the queue's own files.

use crate::Program;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[];
