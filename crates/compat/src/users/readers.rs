//! `elq`, `pinq`, `qail`: mail readers that know only mbox files, each after maildir2mbox. Called by `main`; never reads mail itself.

use super::maildir2mbox;
use crate::fatal::{self, Fatal};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Moves the mail, then becomes `reader`.
pub(super) fn run(name: &str, reader: &str, args: &[OsString]) -> i32 {
    if let Err(fatal) = maildir2mbox::run() {
        return fatal::main("maildir2mbox", Err(fatal));
    }
    let error = Command::new(reader).args(args).exec();
    fatal::main(name, Err(Fatal::unable(&format!("run {reader}"), &error)))
}
