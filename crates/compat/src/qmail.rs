//! qmail's own programs.

pub(crate) mod newmrh;
pub(crate) mod newu;
pub(crate) mod queue;

use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// `qmail-getpw(8)`.
pub(crate) fn getpw(args: &[OsString]) -> i32 {
    match args {
        [local] => postino_local::getpw::run(local.as_bytes(), &mut std::io::stdout().lock()),
        _ => exit::HARD,
    }
}
