//! `tcp-env [-rR] [-t timeout] program`: gives a program that inetd or xinetd starts the variables that tcpserver would give it. Called by `main`;
//! becomes the program.

use super::connection::{self, Lookup};
use super::server_options::number;
use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

const USAGE: &str = "tcp-env [ -rR ] [ -t timeout ] program [ arg ... ]";
/// What only a connection has.
const VARIABLES: [&str; 7] =
    ["TCPLOCALIP", "TCPLOCALPORT", "TCPLOCALHOST", "TCPREMOTEIP", "TCPREMOTEPORT", "TCPREMOTEHOST", "TCPREMOTEINFO"];

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let mut lookup = Lookup::default();
    let mut options = Getopt::new(args, b"rR", b"t");
    for option in options.by_ref() {
        match option {
            Opt::Plain(letter) => lookup.ident = letter == b'r',
            Opt::With(_, value) => lookup.ident_timeout = Duration::from_secs(number("-t", value)?),
            Opt::Bad => return Err(Fatal::usage(USAGE)),
        }
    }
    let program = options.rest();
    let [first, rest @ ..] = program else { return Err(Fatal::usage(USAGE)) };
    let mut command = match connection::ends_of_stdin() {
        Some(ends) => connection::command(program, ends, &connection::look_up(&lookup, ends), &[]),
        None => {
            let mut command = Command::new(first);
            command.args(rest).env("PROTO", "UNKNOWN");
            for name in VARIABLES {
                command.env_remove(name);
            }
            command
        }
    };
    let error = command.exec();
    Err(Fatal::unable(&format!("run {}", first.display()), &error))
}
