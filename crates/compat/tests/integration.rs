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

use std::path::Path;
use std::process::Command;

/// One of the programs, on `home`.
fn program(name: &str, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postino-compat"));
    command.arg(name).env_clear().env("POSTINO_HOME", home).env("PATH", "/usr/bin:/bin");
    command
}
