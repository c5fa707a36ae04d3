//! ucspi-tcp: listening, rules, block lists and small filters. Called by `main`; never speaks a mail protocol but a refusal.

use crate::Program;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[];
