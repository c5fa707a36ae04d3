//! Programs that put mail into the queue for users and scripts: qmail-inject, sendmail, forward and their like. Called by `main`; never write
//! to the queue themselves.

mod addresses;
mod environment;
mod fields;
mod finish;
mod forward;
mod message;
mod options;
mod qreceipt;
mod sendmail;
mod settings;
mod tokens;

use crate::{Program, fatal, home};
pub(crate) use forward::feed;

use environment::Environment;
use options::Options;
use std::ffi::OsString;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("bouncesaying", |args| fatal::ended("bouncesaying", forward::bouncesaying(args))),
    ("condredirect", |args| fatal::ended("condredirect", forward::condredirect(args, &home::choose()))),
    ("except", |args| fatal::ended("except", forward::except(args))),
    ("forward", |args| fatal::ended("forward", forward::forward(args, &home::choose()))),
    ("mailq", |_| fatal::main("mailq", sendmail::list(&home::choose()))),
    ("newaliases", |_| fatal::main("sendmail", sendmail::newaliases())),
    ("preline", |args| fatal::ended("preline", forward::preline(args))),
    ("qmail-inject", qmail_inject),
    ("qreceipt", |args| fatal::ended("qreceipt", qreceipt::run(args, &home::choose()))),
    ("sendmail", |args| sendmail::run(args, &home::choose())),
];

fn qmail_inject(args: &[OsString]) -> i32 {
    let injected = Options::parse(args).and_then(|options| message::run(&options, &Environment::default(), &home::choose()));
    fatal::main("qmail-inject", injected)
}
