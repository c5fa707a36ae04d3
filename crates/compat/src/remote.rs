//! `qmail-remote`: one message to one host. Called by `main`; never reads the queue.

use crate::Program;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[];
