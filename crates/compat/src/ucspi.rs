//! ucspi-tcp: listening, rules, block lists and small filters. Called by `main`; never speaks a mail protocol but a refusal.

mod cdb;
mod connection;
mod filters;
mod ident;
mod rblsmtpd;
mod server_options;
mod tcprules;
mod tcprulescheck;
mod tcpserver;

use crate::{Program, fatal};
pub(crate) use tcpserver::HELPER;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("tcpserver", tcpserver::run),
    (HELPER, tcpserver::run_helper),
    ("rblsmtpd", rblsmtpd::run),
    ("addcr", |_| filters::run("addcr", filters::addcr)),
    ("delcr", |_| filters::run("delcr", filters::delcr)),
    ("fixcrlf", |_| filters::run("fixcrlf", filters::fixcrlf)),
    ("argv0", |args| fatal::main("argv0", filters::argv0(args))),
    ("tcprules", |args| fatal::main("tcprules", tcprules::run(args))),
    ("tcprulescheck", |args| fatal::main("tcprulescheck", tcprulescheck::run(args))),
    ("cdb", cdb::run),
    ("cdbmake", |args| fatal::main("cdbmake", cdb::make(args))),
    ("cdbget", cdb::get),
    ("cdbdump", |args| fatal::main("cdbdump", cdb::dump(args))),
    ("cdbstats", |args| fatal::main("cdbstats", cdb::stats(args))),
];
