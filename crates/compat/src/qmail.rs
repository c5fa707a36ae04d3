//! qmail's programs around queue, control and users. Called by `main` by their names; sessions and injection are rooms of their own.

pub(crate) mod config;
pub(crate) mod newmrh;
pub(crate) mod newu;
pub(crate) mod pw2u;
pub(crate) mod queue;
pub(crate) mod queue_tools;
pub(crate) mod splogger;

use crate::fatal::Fatal;
use crate::{Program, fatal, home};
use postino_types::exit;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("config", |_| fatal::main("config", config::found(&home::choose()))),
    ("config-fast", |args| fatal::main("config-fast", config::fast(args, &home::choose()))),
    ("qmail-getpw", getpw),
    ("qmail-local", |args| postino_local::qmail_local::historical::main(args, &home::choose())),
    ("qmail-newmrh", |_| fatal::main("qmail-newmrh", newmrh::run(&home::choose()))),
    ("qmail-newu", |_| fatal::main("qmail-newu", newu::run(&home::choose()))),
    ("qmail-pw2u", |args| fatal::main("qmail-pw2u", pw2u::run(args, &home::choose()))),
    ("qmail-qread", |_| fatal::main("qmail-qread", queue_tools::ask_postino("list", &home::choose()))),
    ("qmail-qstat", |_| fatal::main("qmail-qstat", queue_tools::ask_postino("stat", &home::choose()))),
    ("qmail-queue", |_| queue::run(&home::choose())),
    ("qmail-queue-real", |_| queue::run(&home::choose())),
    ("qmail-showctl", |_| fatal::main("qmail-showctl", showctl(&home::choose()))),
    ("qmail-tcpok", |_| fatal::main("qmail-tcpok", queue_tools::tcpok(&home::choose()))),
    ("qmail-tcpto", |_| fatal::main("qmail-tcpto", queue_tools::tcpto(&home::choose()))),
    ("splogger", |args| fatal::main("splogger", splogger::run(args))),
];

/// `qmail-getpw(8)`.
fn getpw(args: &[OsString]) -> i32 {
    match args {
        [local] => postino_local::getpw::run(local.as_bytes(), &mut std::io::stdout().lock()),
        _ => exit::HARD,
    }
}

/// `qmail-showctl(8)`.
fn showctl(home: &Path) -> Result<(), Fatal> {
    let loaded = postino_control::load_as_qmail(home).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Fatal::soft(format!("unable to read controls: {}", problems.join("; ")))
    })?;
    let text = postino_control::show::showctl(&loaded);
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(|e| Fatal::unable("write", &e))
}
