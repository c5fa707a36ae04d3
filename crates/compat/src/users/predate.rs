//! `predate(1)` and `datemail(1)`: a Date field in the user's own time zone before a message. Called by `main`; the message goes on to a program.

use crate::fatal::Fatal;
use postino_message::date::qmail_date;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// `predate program [arg ...]`.
pub(super) fn predate(args: &[OsString]) -> Result<i32, Fatal> {
    let [program, rest @ ..] = args else { return Err(Fatal::usage("predate program [ arg ... ]")) };
    crate::inject::feed(program, rest, format!("Date: {}\n", local_date()).as_bytes())
}

/// `datemail [arg ...]`: sendmail after predate.
pub(super) fn datemail(args: &[OsString], home: &Path) -> Result<i32, Fatal> {
    let words: Vec<OsString> = std::iter::once(home.join("bin/sendmail").into_os_string()).chain(args.iter().cloned()).collect();
    predate(&words)
}

/// date(1) knows $TZ and the machine's zone; without it the time is told as qmail's programs tell it, in UTC.
fn local_date() -> String {
    let asked = Command::new("date").arg("+%-d %b %Y %H:%M:%S %z").env("LC_ALL", "C").output();
    let told = asked.ok().filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
    let told = told.map(|line| line.trim_end().to_owned()).filter(|line| !line.is_empty() && !line.contains('\n'));
    told.unwrap_or_else(|| qmail_date(crate::session::now()))
}
