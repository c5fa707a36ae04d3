//! ucspi-tcp: listening, rules, block lists and small filters. Called by `main`; never speaks a mail protocol but a refusal.

mod cdb;
mod clients;
mod connection;
mod filters;
mod ident;
mod local_names;
mod places;
mod rblsmtpd;
mod recordio;
mod server_options;
mod starter;
mod tcp_env;
mod tcpclient;
mod tcprules;
mod tcprulescheck;
mod tcpserver;

use crate::{Program, fatal};

/// Names under which programs of this room run their second half; nobody else calls them.
pub(crate) const HELPERS: [&str; 3] = [tcpserver::HELPER, local_names::HELPER, recordio::HELPER];

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("tcpserver", tcpserver::run),
    (tcpserver::HELPER, tcpserver::run_helper),
    (local_names::HELPER, local_names::run),
    ("tcpclient", |args| fatal::main("tcpclient", tcpclient::run(args))),
    ("tcp-env", |args| fatal::main("tcp-env", tcp_env::run(args))),
    ("recordio", |args| fatal::main("recordio", recordio::run(args))),
    (recordio::HELPER, recordio::run_helper),
    ("mconnect", |args| fatal::main("mconnect", clients::mconnect(args))),
    ("tcpcat", |args| fatal::main("tcpcat", clients::tcpcat(args))),
    ("who@", |args| fatal::main("who@", clients::who(args))),
    ("date@", |args| fatal::main("date@", clients::date(args))),
    ("finger@", |args| fatal::main("finger@", clients::finger(args))),
    ("http@", |args| fatal::main("http@", clients::http(args))),
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
