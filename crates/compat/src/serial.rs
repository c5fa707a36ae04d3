//! serialmail: a Maildir over one connection. Called by `main`; never touches the queue's own files.

mod bounce;
mod client;
mod maildirserial;
mod scan;
mod smtp;

use crate::{Program, fatal};
use std::ffi::OsString;
use std::io::{self, Write};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("maildirserial", maildirserial::run),
    ("maildirsmtp", maildirsmtp),
    ("serialsmtp", |args| fatal::main("serialsmtp", smtp::run(args))),
];

/// How long a message is tried before it goes back, seconds: two weeks.
const LIFETIME: &str = "1209600";

/// `maildirsmtp DIR PREFIX HOST HELO`: maildirserial with the client that speaks SMTP.
fn maildirsmtp(args: &[OsString]) -> i32 {
    let [dir, prefix, host, helo] = args else {
        return fatal::main("maildirsmtp", Err(fatal::Fatal::usage("maildirsmtp dir prefix host helo")));
    };
    let words = ["-b", "-t", LIFETIME, "--"].into_iter().map(OsString::from).chain([dir.clone(), prefix.clone()]);
    let client = ["tcpclient", "-RHl0", "--"].into_iter().map(OsString::from).chain([host.clone()]);
    let speaker = ["25", "serialsmtp"].into_iter().map(OsString::from).chain([prefix.clone(), helo.clone()]);
    let words: Vec<OsString> = words.chain(client).chain(speaker).collect();
    maildirserial::run(&words)
}

/// A line of maildirserial's log.
fn log(line: &[u8]) {
    let line = [b"maildirserial: ", line, b"\n"].concat();
    // Standard error is gone: nobody reads it, the mail goes on.
    let _ = io::stderr().lock().write_all(&line);
}
