//! `qmail-start` and the names of the daemons behind it. Called by `main`; the engine itself is `postino`.

use crate::Program;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[];
