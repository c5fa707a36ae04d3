//! Passwords typed twice without echo. Called by the programs that were given none. Where there is no terminal the lines of standard input are taken.

use crate::complaint::{Complaint, say};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;

/// Longest line that is taken, bytes.
const LINE_BYTES_MAX: usize = 512;
/// What ^C sends: with signals from the keyboard off, it comes as a byte.
const INTERRUPT: u8 = 3;
/// Times that two passwords may differ.
const TRIES_MAX: usize = 100;

/// Asks until both times agree.
pub(crate) fn new_password(whose: &str) -> Result<String, Complaint> {
    let mut terminal = Terminal::open();
    for _ in 0..TRIES_MAX {
        let first = terminal.secret(&format!("Please enter password for {whose}: "))?;
        if first == terminal.secret("enter password again: ")? {
            return Ok(first);
        }
        say("Passwords do not match, try again\n");
    }
    Err(Complaint::error("no password"))
}

/// Asks once.
pub(crate) fn secret(prompt: &str) -> Result<String, Complaint> {
    Terminal::open().secret(prompt)
}

/// Where people type: the controlling terminal, or standard input.
#[derive(Debug)]
struct Terminal {
    tty: Option<File>,
}

impl Terminal {
    fn open() -> Self {
        let controlling = OpenOptions::new().read(true).write(true).open("/dev/tty").ok();
        // Where /dev/tty is not there, what is typed on standard input must not be shown either.
        let stdin = || io::stdin().is_terminal().then(|| io::stdin().as_fd().try_clone_to_owned().ok()).flatten().map(File::from);
        Self { tty: controlling.or_else(stdin) }
    }

    fn secret(&mut self, prompt: &str) -> Result<String, Complaint> {
        let trouble = |error: io::Error| Complaint::error(format_args!("no password: {error}"));
        let line = match &mut self.tty {
            Some(tty) => {
                let quiet = Quiet::begin(tty);
                let line = (&*tty).write_all(prompt.as_bytes()).and_then(|()| read_line(&mut &*tty));
                drop(quiet);
                let _ = tty.write_all(b"\n");
                line
            }
            None => {
                let _ = io::stderr().lock().write_all(prompt.as_bytes());
                read_line(&mut io::stdin().lock())
            }
        };
        let line = line.map_err(trouble)?;
        String::from_utf8(line).map_err(|_| Complaint::error("a password is UTF-8 text"))
    }
}

/// While it lives, what is typed is not shown and makes no signal.
struct Quiet<'a> {
    tty: &'a File,
    before: Option<Termios>,
}

impl<'a> Quiet<'a> {
    fn begin(tty: &'a File) -> Self {
        let before = tcgetattr(tty.as_fd()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
            let _ = tcsetattr(tty, OptionalActions::Flush, &quiet);
        }
        Self { tty, before }
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(self.tty, OptionalActions::Flush, before);
        }
    }
}

/// Byte by byte, so that the next line stays for the next reader.
fn read_line(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0u8; 1];
    loop {
        match from.read(&mut byte) {
            Ok(0) if line.is_empty() => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
            Ok(0) => return Ok(line),
            Ok(_) if byte == [INTERRUPT] => return Err(io::Error::from(io::ErrorKind::Interrupted)),
            Ok(_) if byte == [b'\n'] => return Ok(line),
            Ok(_) if line.len() >= LINE_BYTES_MAX => return Err(io::Error::other("line too long")),
            Ok(_) => line.extend_from_slice(&byte),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_end() {
        let mut input = &b"one\ntwo"[..];
        assert_eq!(read_line(&mut input).unwrap(), b"one");
        assert_eq!(read_line(&mut input).unwrap(), b"two");
        assert!(read_line(&mut input).is_err());
        assert_eq!(read_line(&mut &b"ab\x03c\n"[..]).unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert!(read_line(&mut &[b'x'; 600][..]).is_err());
    }
}
