//! Small tools for users and mailboxes: Maildir makers, notices, mail from the command line. Called by `main`.

mod maildir2mbox;
mod maildirmake;
mod mailsubj;
mod setlock;

use crate::{Program, fatal, home};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("maildir2mbox", |_| fatal::main("maildir2mbox", maildir2mbox::run())),
    ("maildirmake", |args| fatal::main("maildirmake", maildirmake::run(args))),
    ("mailsubj", |args| fatal::ended("mailsubj", mailsubj::run(args, &home::choose()))),
    ("setlock", |args| fatal::main("setlock", setlock::run(args))),
];
