//! The historical programs. The name a binary is called by (or the first word) picks the program. `postino-compat` holds them all, small: no
//! tokio, no TLS, it is exec'ed for each message under small memory limits. `postino` takes from here what an injector needs.
#![forbid(unsafe_code)]

mod dns;
mod fatal;
mod getopt;
mod hand_over;
mod home;
mod inject;
mod maildir;
mod masquerade;
mod qmail;
mod qq;
mod remote;
mod serial;
mod session;
mod spool;
mod start;
mod ucspi;
mod users;
mod wait;

pub use postino_local::queue_program::Refused;

use postino_types::exit;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;

/// A program: the words after its name in, the exit code out.
type Program = fn(&[OsString]) -> i32;

/// The programs, by name: one table a room.
const ROOMS: &[&[(&str, Program)]] = &[
    qmail::PROGRAMS,
    inject::PROGRAMS,
    session::PROGRAMS,
    remote::PROGRAMS,
    masquerade::PROGRAMS,
    serial::PROGRAMS,
    start::PROGRAMS,
    ucspi::PROGRAMS,
    users::PROGRAMS,
];

/// What an administrator calls the qmail-queue that a scanner stands in for; no installer makes it.
const PUT_ASIDE: &str = "qmail-queue-real";

/// `postino-compat`'s whole life; returns the exit code.
#[must_use]
pub fn run() -> i32 {
    if let Some(code) = with_borrowed_rights() {
        return code;
    }
    // As the spawner's child it must not do anything else.
    if let Some(code) = postino_local::child_program() {
        return code;
    }
    let args: Vec<OsString> = std::env::args_os().collect();
    dispatch(&args)
}

/// For binaries with a set-id bit: the caller chose the name and the words, and most programs here run whatever their words say. Only two are
/// made to be run with another's rights, and the file's own name tells which it is. `None` without borrowed rights. Call it first in `main`.
#[must_use]
pub fn with_borrowed_rights() -> Option<i32> {
    if !home::has_borrowed_rights() {
        return None;
    }
    let file = std::fs::read_link("/proc/self/exe").unwrap_or_default();
    let name = if file.file_name() == Some(OsStr::new("checkpassword")) { "checkpassword" } else { "qmail-queue" };
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    Some(find(Some(name)).map_or(exit::SOFT, |program| program(&words)))
}

/// The program of this name that `postino` is too: whatever puts a message into the queue, and what a mail client expects beside it.
#[must_use]
pub fn injector(name: &str) -> Option<fn(&[OsString]) -> i32> {
    let known = ["qmail-inject", "qmail-queue", "qmail-queue-real", "sendmail", "mailq", "newaliases"].contains(&name);
    known.then(|| find(Some(name))).flatten().inspect(|_| qq::stand_alone())
}

/// Queues a message in the name of its caller, as `postino` does it. Ok: it is on stable storage; the number is that of its Received line.
///
/// # Errors
/// The refusal, in the words of qmail's programs; or the message cannot be read.
pub fn queue(home: &Path, sender: &[u8], recipients: &[&[u8]], message: &mut dyn std::io::Read) -> std::io::Result<Result<u32, Refused>> {
    qq::stand_alone();
    let mut qq = qq::Qq::open(home)?;
    let mut buffer = vec![0u8; 65_536];
    loop {
        match message.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => qq.put(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    qq.from(sender);
    recipients.iter().for_each(|recipient| qq.to(recipient));
    Ok(qq.close())
}

fn dispatch(args: &[OsString]) -> i32 {
    let Some((called, rest)) = args.split_first() else { return usage() };
    let called = Path::new(called).file_name().unwrap_or_default();
    if let Some(code) = run_program(called.to_str(), rest) {
        return code;
    }
    match rest.split_first() {
        Some((word, [])) if word == "--list" => list(),
        Some((word, rest)) => run_program(word.to_str(), rest).unwrap_or_else(usage),
        None => usage(),
    }
}

/// A program of ours, or one of vpopmail's.
fn run_program(name: Option<&str>, args: &[OsString]) -> Option<i32> {
    find(name).map(|program| program(args)).or_else(|| postino_vpopmail::run(name?, &home::choose(), args))
}

fn names() -> impl Iterator<Item = &'static str> {
    programs().map(|(name, _)| *name).chain(postino_vpopmail::PROGRAMS.iter().map(|(name, _)| *name))
}

fn programs() -> impl Iterator<Item = &'static (&'static str, Program)> {
    ROOMS.iter().flat_map(|room| room.iter())
}

fn find(name: Option<&str>) -> Option<Program> {
    programs().find(|(known, _)| Some(*known) == name).map(|(_, program)| *program)
}

/// The names, one a line: what an installer makes files for.
fn list() -> i32 {
    let names: String = names().filter(|name| *name != PUT_ASIDE && !ucspi::HELPERS.contains(name)).flat_map(|name| [name, "\n"]).collect();
    match std::io::stdout().lock().write_all(names.as_bytes()) {
        Ok(()) => exit::OK,
        Err(_) => exit::SOFT,
    }
}

fn usage() -> i32 {
    let names: Vec<&str> = names().collect();
    let mut err = std::io::stderr().lock();
    let _ = writeln!(err, "postino-compat: usage: postino-compat PROGRAM [argument ...]\nprograms: {}", names.join(" "));
    exit::USAGE
}
