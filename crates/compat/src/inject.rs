//! Programs that put mail into the queue for users and scripts: qmail-inject, sendmail, forward and their like. Called by `main`; never write
//! to the queue themselves.

use crate::Program;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[];
