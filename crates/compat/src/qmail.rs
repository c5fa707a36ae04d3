//! qmail's programs around queue, control and users. Called by `main` by their names; sessions and injection are rooms of their own.

pub(crate) mod newmrh;
pub(crate) mod newu;
pub(crate) mod queue;

use crate::{Program, fatal, home};
use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("qmail-getpw", getpw),
    ("qmail-local", |args| postino_local::qmail_local::historical::main(args, &home::choose())),
    ("qmail-newmrh", |_| fatal::main("qmail-newmrh", newmrh::run(&home::choose()))),
    ("qmail-newu", |_| fatal::main("qmail-newu", newu::run(&home::choose()))),
    ("qmail-queue", |_| queue::run(&home::choose())),
];

/// `qmail-getpw(8)`.
fn getpw(args: &[OsString]) -> i32 {
    match args {
        [local] => postino_local::getpw::run(local.as_bytes(), &mut std::io::stdout().lock()),
        _ => exit::HARD,
    }
}
