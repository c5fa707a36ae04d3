//! `sendmail`, `mailq`, `newaliases`: the old names, for programs that know nothing else. Called by `main`; the message goes through
//! qmail-inject's code in the same process.

use super::environment::Environment;
use super::message;
use super::options::{Choice, Options, Which};
use crate::fatal::{self, Fatal};
use crate::getopt::{Getopt, Opt};
use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const USAGE: &str = "sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]";
/// Options with a value; but for the first four they mean nothing here.
const WITH_VALUE: &[u8] = b"frFbeopBNORVXhC";
/// Options without one; but for the first they mean nothing here.
const ALONE: &[u8] = b"tvimxEJnUGs";
/// What a session on standard input and output says of its client, unless somebody said it before.
const SESSION: &[(&str, &str)] = &[
    ("RELAYCLIENT", ""),
    ("DATABYTES", "0"),
    ("PROTO", "TCP"),
    ("TCPREMOTEIP", "127.0.0.1"),
    ("TCPREMOTEHOST", "localhost"),
    ("TCPREMOTEINFO", "sendmail-bs"),
    ("TCPLOCALIP", "127.0.0.1"),
    ("TCPLOCALHOST", "localhost"),
    ("TCPLOCALPORT", "25"),
];

/// What the options ask for.
#[derive(Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Message,
    Session,
    Queue,
}

#[derive(Debug, Default)]
struct Wanted {
    mode: Mode,
    from_header: bool,
    sender: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    recipients: Vec<Vec<u8>>,
}

pub(crate) fn run(args: &[OsString], home: &Path) -> i32 {
    let ended = parse(args).and_then(|wanted| match wanted.mode {
        Mode::Session => session(home).map(|()| exit::OK),
        Mode::Queue => list(home).map(|()| exit::OK),
        // What is wrong with a message is told in qmail-inject's name, which scripts know.
        Mode::Message => Ok(fatal::main("qmail-inject", send(wanted, home))),
    });
    match ended {
        Ok(code) => code,
        Err(fatal) => fatal::main("sendmail", Err(fatal)),
    }
}

/// `mailq`.
pub(crate) fn list(home: &Path) -> Result<(), Fatal> {
    let error = Command::new(home.join("bin/qmail-qread")).current_dir(home).exec();
    Err(Fatal::unable("run qmail-qread", &error))
}

/// `newaliases`.
pub(crate) fn newaliases() -> Result<(), Fatal> {
    Err(Fatal::hard("please use fastforward/newaliases instead"))
}

fn parse(args: &[OsString]) -> Result<Wanted, Fatal> {
    let mut wanted = Wanted::default();
    let mut options = Getopt::new(args, ALONE, WITH_VALUE);
    for option in options.by_ref() {
        match option {
            Opt::Plain(b't') => wanted.from_header = true,
            Opt::With(b'f' | b'r', value) => wanted.sender = Some(value.as_bytes().to_vec()),
            Opt::With(b'F', value) => wanted.name = Some(value.as_bytes().to_vec()),
            Opt::With(b'b', value) => wanted.mode = mode(value.as_bytes())?,
            Opt::Plain(_) | Opt::With(..) => {}
            Opt::Bad => return Err(Fatal::usage(USAGE)),
        }
    }
    wanted.recipients = options.rest().iter().map(|word| word.as_bytes().to_vec()).collect();
    Ok(wanted)
}

fn mode(value: &[u8]) -> Result<Mode, Fatal> {
    match value {
        b"s" => Ok(Mode::Session),
        b"p" => Ok(Mode::Queue),
        b"m" => Ok(Mode::Message),
        _ => Err(Fatal::usage(USAGE)),
    }
}

fn send(wanted: Wanted, home: &Path) -> Result<(), Fatal> {
    let mut environment = Environment::default();
    if let Some(name) = &wanted.name {
        environment.set("MAILNAME", name);
    }
    if let Some(sender) = &wanted.sender {
        let at = sender.iter().rposition(|&b| b == b'@');
        let (user, host) = sender.split_at(at.unwrap_or(sender.len()));
        environment.set("QMAILUSER", user);
        if let Some(host) = host.strip_prefix(b"@") {
            environment.set("QMAILHOST", host);
        }
        for name in ["QMAILNAME", "MAILNAME", "NAME"] {
            environment.remove(name);
        }
    }
    let which = if wanted.from_header { Which::Both } else { Which::Arguments };
    let options = Options { which, choice: Choice::Queue, sender: wanted.sender, recipients: wanted.recipients };
    message::run(&options, &environment, home)
}

/// `-bs`: an SMTP session on standard input and output.
fn session(home: &Path) -> Result<(), Fatal> {
    let mut command = Command::new(home.join("bin/qmail-smtpd"));
    command.current_dir(home);
    if std::env::var_os("PROTO").is_none() {
        command.envs(SESSION.iter().copied());
    }
    Err(Fatal::unable("run qmail-smtpd", &command.exec()))
}
