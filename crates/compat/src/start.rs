//! `qmail-start [defaultdelivery [logprogram argument ...]]`: starts the log program on a pipe and becomes `qmail-send`, the engine (a file of its
//! own: `postino` under that name). Called by `main`; holds no part of the engine, and the daemons behind it only explain themselves.

use crate::fatal::{self, Fatal};
use crate::{Program, home};
use nix::unistd::User;
use postino_types::exit;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("qmail-clean", |_| explain("qmail-clean")),
    ("qmail-lspawn", |_| explain("qmail-lspawn")),
    ("qmail-rspawn", |_| explain("qmail-rspawn")),
    ("qmail-start", |args| fatal::main("qmail-start", start(args, &home::choose()))),
];

/// qmail's own default.
const DELIVERY: &str = "./Mailbox";

/// Started by hand these had nobody to talk to in qmail either.
fn explain(name: &str) -> i32 {
    let _ = writeln!(std::io::stderr().lock(), "{name}: fatal: a part of the engine; it is started by qmail-start, not by hand");
    exit::SOFT
}

fn start(args: &[OsString], home: &Path) -> Result<(), Fatal> {
    let delivery = args.first().map_or(OsStr::new(DELIVERY), OsString::as_os_str);
    let mut engine = Command::new(engine_file(home)?);
    engine.arg0("qmail-send").arg(delivery).env("POSTINO_HOME", home).stdin(Stdio::null()).current_dir("/");
    if let Some((program, words)) = args.get(1..).and_then(<[OsString]>::split_first) {
        engine.stdout(log_program(program, words)?);
    }
    Err(Fatal::unable("run qmail-send", &engine.exec()))
}

/// `bin/qmail-send`; where nobody made that copy, the `postino` that lies next to this program.
fn engine_file(home: &Path) -> Result<PathBuf, Fatal> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("postino"));
    let known = [Some(home.join("bin/qmail-send")), beside];
    known.into_iter().flatten().find(|path| path.is_file()).ok_or_else(|| Fatal::soft("unable to find bin/qmail-send"))
}

/// Starts the log program, as `qmaill` when we are root; returns the end of the pipe that leads to it.
fn log_program(program: &OsStr, words: &[OsString]) -> Result<OwnedFd, Fatal> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| Fatal::unable("make a pipe", &e.into()))?;
    let mut command = Command::new(program);
    command.args(words).stdin(read);
    if rustix::process::geteuid().is_root() {
        let user =
            User::from_name("qmaill").ok().flatten().ok_or_else(|| Fatal::soft("unable to find the account qmaill for the log program"))?;
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    let what = format!("run {}", program.to_string_lossy());
    command.spawn().map_err(|e| Fatal::unable(&what, &e))?;
    Ok(write)
}
