//! `sendmail`, `mailq`, `newaliases`: the old names, for programs that know nothing else. Called by `main`; the message goes through
//! qmail-inject's code in the same process.

use super::environment::Environment;
use super::message;
use super::options::{Choice, Options, Which};
use crate::fatal::{self, Fatal};
use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

const USAGE: &str = "sendmail [ -t ] [ -fsender ] [ -Fname ] [ -bp ] [ -bs ] [ arg ... ]";
/// Options with a value that mean nothing here.
const WITH_VALUE: &[u8] = b"eopBNORVXhC";
/// Options without one that mean nothing here.
const ALONE: &[u8] = b"vimxEJnUGs";
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
    let mut args = args.iter().map(|arg| arg.as_bytes());
    while let Some(arg) = args.next() {
        match arg.strip_prefix(b"-") {
            Some(b"-") => break,
            Some(letters) if !letters.is_empty() => options(&mut wanted, letters, &mut args)?,
            _ => wanted.recipients.push(arg.to_vec()),
        }
    }
    wanted.recipients.extend(args.map(<[u8]>::to_vec));
    Ok(wanted)
}

fn options<'a>(wanted: &mut Wanted, letters: &'a [u8], args: &mut impl Iterator<Item = &'a [u8]>) -> Result<(), Fatal> {
    for (i, letter) in letters.iter().enumerate() {
        if ALONE.contains(letter) {
            continue;
        }
        if *letter == b't' {
            wanted.from_header = true;
            continue;
        }
        let rest = letters.get(i + 1..).unwrap_or_default();
        let value = if rest.is_empty() { args.next().ok_or_else(|| Fatal::usage(USAGE))? } else { rest };
        match letter {
            b'f' | b'r' => wanted.sender = Some(value.to_vec()),
            b'F' => wanted.name = Some(value.to_vec()),
            b'b' => wanted.mode = mode(value)?,
            other if WITH_VALUE.contains(other) => {}
            _ => return Err(Fatal::usage(USAGE)),
        }
        return Ok(());
    }
    Ok(())
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
