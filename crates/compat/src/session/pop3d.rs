//! `qmail-pop3d(8)`: one POP3 session over one Maildir, as its owner, after the password. Called by qmail-popup through checkpassword. Changes
//! nothing before QUIT; locks nothing; never runs as root.

mod blast;
mod maildir;

use super::net::{Gone, Net, command};
use maildir::{Mail, Maildir};
use postino_control::classic;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// The other side may say nothing for so long.
const TIMEOUT: Duration = Duration::from_secs(1200);

const OK: &[u8] = b"+OK \r\n";

/// The program; returns the exit code.
pub(crate) fn run(args: &[OsString]) -> i32 {
    if rustix::process::geteuid().is_root() {
        let _ = std::io::stderr().write_all(b"qmail-pop3d invoked as uid 0, terminating\n");
        return 1;
    }
    let mut net = Net::new(TIMEOUT);
    // Whatever ends it, the session was one: it is over, not failed.
    let _ = match args.first().and_then(|path| Maildir::open(Path::new(path)).ok()) {
        None => net.say(b"-ERR this user has no $HOME/Maildir\r\n"),
        Some(maildir) => match maildir.scan() {
            Ok(mails) => Session { net: &mut net, maildir, mails, last: 0 }.speak(),
            Err(_) => net.say(b"-ERR unable to scan $HOME/Maildir\r\n"),
        },
    };
    let _ = net.flush();
    0
}

struct Session<'a> {
    net: &'a mut Net,
    maildir: Maildir,
    mails: Vec<Mail>,
    /// Highest number that was deleted.
    last: usize,
}

#[derive(Clone, Copy)]
enum Column {
    Size,
    Uid,
}

impl Session<'_> {
    fn speak(&mut self) -> Result<(), Gone> {
        self.net.say(OK)?;
        loop {
            let line = self.net.line()?;
            let (word, argument) = command(&line);
            match word.as_slice() {
                b"quit" => return self.quit(),
                b"stat" => {
                    let bytes: u64 = self.mails.iter().filter(|mail| !mail.deleted).map(|mail| mail.bytes).sum();
                    self.net.say(format!("+OK {} {bytes}\r\n", self.mails.len()).as_bytes())?;
                }
                b"list" => self.list(argument, Column::Size)?,
                b"uidl" => self.list(argument, Column::Uid)?,
                b"dele" => self.delete(argument)?,
                b"retr" | b"top" => self.show(argument)?,
                b"rset" => {
                    self.mails.iter_mut().for_each(|mail| mail.deleted = false);
                    self.last = 0;
                    self.net.say(OK)?;
                }
                b"last" => self.net.say(format!("+OK {}\r\n", self.last).as_bytes())?,
                b"noop" => self.net.say(OK)?,
                _ => self.net.say(b"-ERR unimplemented\r\n")?,
            }
        }
    }

    /// The place in the list of the message that a command names.
    fn number(&self, argument: &[u8]) -> Result<usize, &'static [u8]> {
        let number = classic::number(argument).ok_or(&b"-ERR syntax error\r\n"[..])?;
        let index = number.checked_sub(1).ok_or(&b"-ERR messages are counted from 1\r\n"[..])?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        match self.mails.get(index) {
            None => Err(b"-ERR not that many messages\r\n"),
            Some(mail) if mail.deleted => Err(b"-ERR already deleted\r\n"),
            Some(_) => Ok(index),
        }
    }

    fn list(&mut self, argument: &[u8], column: Column) -> Result<(), Gone> {
        if argument.is_empty() {
            self.net.say(OK)?;
            for (index, mail) in self.mails.iter().enumerate().filter(|(_, mail)| !mail.deleted) {
                self.net.say(&row(index, mail, column))?;
            }
            return self.net.say(b".\r\n");
        }
        match self.number(argument) {
            Ok(index) => match self.mails.get(index) {
                Some(mail) => self.net.say(&[b"+OK ", row(index, mail, column).as_slice()].concat()),
                None => Ok(()),
            },
            Err(text) => self.net.say(text),
        }
    }

    fn delete(&mut self, argument: &[u8]) -> Result<(), Gone> {
        match self.number(argument) {
            Ok(index) => {
                if let Some(mail) = self.mails.get_mut(index) {
                    mail.deleted = true;
                }
                self.last = self.last.max(index + 1);
                self.net.say(OK)
            }
            Err(text) => self.net.say(text),
        }
    }

    fn show(&mut self, argument: &[u8]) -> Result<(), Gone> {
        let file = match self.number(argument) {
            Ok(index) => self.mails.get(index).and_then(|mail| self.maildir.read(mail).ok()),
            Err(text) => return self.net.say(text),
        };
        let Some(file) = file else { return self.net.say(b"-ERR unable to open that message\r\n") };
        let digits = argument.iter().take_while(|b| b.is_ascii_digit()).count();
        let rest = argument.get(digits..).unwrap_or_default();
        let blanks = rest.iter().take_while(|&&b| b == b' ').count();
        let lines = classic::number(rest.get(blanks..).unwrap_or_default());
        self.net.say(OK)?;
        self.send(file, lines)
    }

    fn send(&mut self, file: File, lines: Option<u64>) -> Result<(), Gone> {
        let net = &mut *self.net;
        // A message that cannot be read to its end must not look whole: the connection ends instead.
        blast::blast(file, lines, &mut |bytes| net.say(bytes))?;
        self.net.say(b"\r\n.\r\n")
    }

    fn quit(&mut self) -> Result<(), Gone> {
        let mut failed = false;
        for mail in &self.mails {
            if mail.deleted {
                failed |= self.maildir.remove(mail).is_err();
            } else {
                self.maildir.mark_old(mail);
            }
        }
        if failed {
            self.net.say(b"-ERR unable to unlink all deleted messages\r\n")?;
        }
        self.net.say(OK)
    }
}

fn row(index: usize, mail: &Mail, column: Column) -> Vec<u8> {
    let number = index + 1;
    match column {
        Column::Size => format!("{number} {}\r\n", mail.bytes).into_bytes(),
        Column::Uid => [format!("{number} ").as_bytes(), mail.uid(), b"\r\n"].concat(),
    }
}
