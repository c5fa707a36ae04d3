//! Small tools for users and mailboxes: Maildir makers, notices, mail from the command line. Called by `main`.

mod maildirmake;

use crate::{Program, fatal};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[("maildirmake", |args| fatal::main("maildirmake", maildirmake::run(args)))];
