//! Programs that put mail into the queue for users and scripts: qmail-inject, sendmail, forward and their like. Called by `main`; never write
//! to the queue themselves.

mod addresses;
mod environment;
mod fields;
mod finish;
mod forward;
mod message;
mod options;
mod sendmail;
mod settings;
mod tokens;

use crate::{Program, fatal, home};
use environment::Environment;
use options::Options;
use std::ffi::OsString;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("bouncesaying", |args| ended("bouncesaying", forward::bouncesaying(args))),
    ("condredirect", |args| ended("condredirect", forward::condredirect(args, &home::choose()))),
    ("except", |args| ended("except", forward::except(args))),
    ("forward", |args| ended("forward", forward::forward(args, &home::choose()))),
    ("mailq", |_| fatal::main("mailq", sendmail::list(&home::choose()))),
    ("newaliases", |_| fatal::main("sendmail", sendmail::newaliases())),
    ("preline", |args| ended("preline", forward::preline(args))),
    ("qmail-inject", qmail_inject),
    ("sendmail", |args| sendmail::run(args, &home::choose())),
];

fn qmail_inject(args: &[OsString]) -> i32 {
    let injected = Options::parse(args).and_then(|options| message::run(&options, &Environment::default(), &home::choose()));
    fatal::main("qmail-inject", injected)
}

/// The end of a program with an exit code of its own.
fn ended(name: &str, result: Result<i32, fatal::Fatal>) -> i32 {
    match result {
        Ok(code) => code,
        Err(fatal) => fatal::main(name, Err(fatal)),
    }
}
