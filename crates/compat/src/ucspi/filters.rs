//! Small filters: `addcr` (adds a CR before each LF), `delcr` (removes one), `fixcrlf` (each line ends with CR LF, however it ended), and
//! `argv0 REALNAME NAME ARGS`. Standard input to standard output.

use crate::fatal::{self, Fatal};
use postino_local::error_text::error_text;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// How the ends of lines change. `pending`: the byte before was a CR that is not written yet.
pub(super) type Change = fn(byte: u8, pending: &mut bool, out: &mut Vec<u8>);

pub(super) fn addcr(byte: u8, _: &mut bool, out: &mut Vec<u8>) {
    if byte == b'\n' {
        out.push(b'\r');
    }
    out.push(byte);
}

pub(super) fn delcr(byte: u8, pending: &mut bool, out: &mut Vec<u8>) {
    if std::mem::take(pending) && byte != b'\n' {
        out.push(b'\r');
    }
    if byte == b'\r' {
        *pending = true;
    } else {
        out.push(byte);
    }
}

pub(super) fn fixcrlf(byte: u8, pending: &mut bool, out: &mut Vec<u8>) {
    if std::mem::take(pending) && byte != b'\n' {
        out.push(b'\r');
    }
    match byte {
        b'\r' => *pending = true,
        b'\n' => out.extend_from_slice(b"\r\n"),
        other => out.push(other),
    }
}

pub(super) fn run(name: &str, change: Change) -> i32 {
    fatal::main(name, copy(change))
}

fn copy(change: Change) -> Result<(), Fatal> {
    let mut buffer = [0u8; 8192];
    let mut pending = false;
    let mut out = Vec::with_capacity(2 * buffer.len());
    loop {
        let got = io::stdin().read(&mut buffer).map_err(|e| Fatal::unable("read input", &e))?;
        buffer.get(..got).unwrap_or_default().iter().for_each(|&byte| change(byte, &mut pending, &mut out));
        if got == 0 && pending {
            out.push(b'\r');
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&out).and_then(|()| stdout.flush()).map_err(|e| Fatal::unable("write output", &e))?;
        out.clear();
        if got == 0 {
            return Ok(());
        }
    }
}

pub(super) fn argv0(args: &[OsString]) -> Result<(), Fatal> {
    let [real, name, rest @ ..] = args else { return Err(Fatal::usage("argv0 realname program [ arg ... ]")) };
    let error = Command::new(real).arg0(name).args(rest).exec();
    Err(Fatal::soft(format!("unable to run {}: {}", real.to_string_lossy(), error_text(&error))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(change: Change, input: &[u8]) -> Vec<u8> {
        let (mut pending, mut out) = (false, Vec::new());
        input.iter().for_each(|&byte| change(byte, &mut pending, &mut out));
        out
    }

    #[test]
    fn ends_of_lines() {
        assert_eq!(through(addcr, b"a\r\nb\n"), b"a\r\r\nb\r\n");
        assert_eq!(through(delcr, b"a\r\r\nb\rc\n"), b"a\r\nb\rc\n");
        assert_eq!(through(fixcrlf, b"a\r\nb\nc\rd\n"), b"a\r\nb\r\nc\rd\r\n");
    }
}
