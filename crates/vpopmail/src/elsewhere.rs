//! Accounts in a database: `postino`, which links the drivers, runs the program in our place, in the same process and with the same descriptors. Called by
//! [`crate::run`] only.

use crate::trouble;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `postino` is looked for when it is not beside us. Never in PATH: root runs this.
const PLACES: [&str; 2] = ["/usr/local/bin/postino", "/usr/bin/postino"];

/// Becomes `postino vpopmail NAME ARGS…`; comes back only when that cannot be.
pub(crate) fn run(name: &str, home: &Path, args: &[OsString]) -> i32 {
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(|folder| folder.join("postino")));
    let found = beside.into_iter().chain(PLACES.map(PathBuf::from)).find(|place| place.is_file());
    let mut err = std::io::stderr().lock();
    let Some(postino) = found else {
        let _ = writeln!(
            err,
            "{name}: fatal: accounts are in a database, and there is no postino beside this program or in /usr/local/bin, /usr/bin"
        );
        return trouble(name);
    };
    let called = std::env::args_os().next().unwrap_or_default();
    let error = Command::new(&postino).arg0(&called).env("POSTINO_HOME", home).args(["vpopmail", name]).args(args).exec();
    let _ = writeln!(err, "{name}: fatal: cannot run {}: {error}", postino.display());
    trouble(name)
}
