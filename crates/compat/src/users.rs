//! Small tools for users and mailboxes: Maildir makers, notices, mail from the command line. Called by `main`.

mod maildir2mbox;
mod maildirmake;
mod maildirwatch;
mod mailsubj;
mod notice;
mod predate;
mod qbiff;
mod readers;
mod setlock;

use crate::{Program, fatal, home};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("datemail", |args| fatal::ended("predate", predate::datemail(args, &home::choose()))),
    ("elq", |args| readers::run("elq", "elm", args)),
    ("maildir2mbox", |_| fatal::main("maildir2mbox", maildir2mbox::run())),
    ("maildirmake", |args| fatal::main("maildirmake", maildirmake::run(args))),
    ("maildirwatch", |_| fatal::main("maildirwatch", maildirwatch::run())),
    ("mailsubj", |args| fatal::ended("mailsubj", mailsubj::run(args, &home::choose()))),
    ("pinq", |args| readers::run("pinq", "pine", args)),
    ("predate", |args| fatal::ended("predate", predate::predate(args))),
    ("qail", |args| readers::run("qail", "Mail", args)),
    ("qbiff", |_| fatal::main("qbiff", qbiff::run())),
    ("setlock", |args| fatal::main("setlock", setlock::run(args))),
];
