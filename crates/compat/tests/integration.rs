//! The crate's integration tests: the programs as others run them, and the spawner with its real child.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)] // a test that meets the unexpected should stop

mod clients;
mod inject;
mod masquerade;
mod memory;
mod names;
mod programs;
mod qmail_queue;
mod remote;
mod serial;
mod session;
mod sink;
mod small;
mod spawner;
mod start;
mod tools;
mod ucspi;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// One of the programs, on `home`.
fn program(name: &str, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postino-compat"));
    command.arg(name).env_clear().env("POSTINO_HOME", home).env("PATH", "/usr/bin:/bin");
    command
}

/// Makes an executable file. A child writes it: what this process has open for writing, a program that another test starts at that moment has open
/// too, and the file could not be run.
fn script(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path);
    let mut writer = writer.stdin(Stdio::piped()).spawn().unwrap();
    writer.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
}

/// Copies the programs under another name, in a child for the same reason.
fn copy_program(to: &Path) {
    assert!(Command::new("cp").arg(env!("CARGO_BIN_EXE_postino-compat")).arg(to).status().unwrap().success());
}
