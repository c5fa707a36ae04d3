//! serialmail: a Maildir over one connection. Called by `main`; never touches the queue's own files.

mod bounce;
mod client;
mod maildirserial;
mod qmtp;
mod scan;
mod smtp;
mod wire;

use crate::{Program, fatal};
use std::ffi::OsString;
use std::io::{self, Write};

/// The programs of this room.
pub(crate) const PROGRAMS: &[(&str, Program)] = &[
    ("maildirqmtp", maildirqmtp),
    ("maildirserial", maildirserial::run),
    ("maildirsmtp", maildirsmtp),
    ("serialqmtp", |args| fatal::main("serialqmtp", qmtp::run(args))),
    ("serialsmtp", |args| fatal::main("serialsmtp", smtp::run(args))),
];

/// How long a message is tried before it goes back, seconds: two weeks.
const LIFETIME: &str = "1209600";

/// `maildirsmtp DIR PREFIX HOST HELO`: maildirserial with the client that speaks SMTP.
fn maildirsmtp(args: &[OsString]) -> i32 {
    match args {
        [dir, prefix, host, helo] => over_tcp([dir, prefix, host], ["25", "serialsmtp"], &[prefix.clone(), helo.clone()]),
        _ => fatal::main("maildirsmtp", Err(fatal::Fatal::usage("maildirsmtp dir prefix host helo"))),
    }
}

/// `maildirqmtp DIR PREFIX HOST`: the same with QMTP.
fn maildirqmtp(args: &[OsString]) -> i32 {
    match args {
        [dir, prefix, host] => over_tcp([dir, prefix, host], ["209", "serialqmtp"], std::slice::from_ref(prefix)),
        _ => fatal::main("maildirqmtp", Err(fatal::Fatal::usage("maildirqmtp dir prefix host"))),
    }
}

fn over_tcp([dir, prefix, host]: [&OsString; 3], port_and_speaker: [&str; 2], args: &[OsString]) -> i32 {
    let words = ["-b", "-t", LIFETIME, "--"].into_iter().map(OsString::from).chain([dir.clone(), prefix.clone()]);
    let client = ["tcpclient", "-RHl0", "--"].into_iter().map(OsString::from).chain([host.clone()]);
    let speaker = port_and_speaker.into_iter().map(OsString::from).chain(args.iter().cloned());
    let words: Vec<OsString> = words.chain(client).chain(speaker).collect();
    maildirserial::run(&words)
}

/// A line of maildirserial's log.
fn log(line: &[u8]) {
    let line = [b"maildirserial: ", line, b"\n"].concat();
    // Standard error is gone: nobody reads it, the mail goes on.
    let _ = io::stderr().lock().write_all(&line);
}
