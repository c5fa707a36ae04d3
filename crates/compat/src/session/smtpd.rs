//! `qmail-smtpd(8)`: one SMTP session, in the original's words. Called by tcpserver with the client on descriptors 0 and 1. Checks relaying and
//! senders; whether a recipient exists is for the queue to say.

mod address;
mod data;

use super::net::{Gone, Net, command};
use super::peer::now;
use super::settings::{RECIPIENT_BYTES_MAX, Settings};
use crate::qq::{Qq, TOO_LONG};
use data::{Blast, Blasted};
use std::path::Path;
use std::time::Duration;

/// Received and Delivered-To lines from which a message is taken for a loop.
const HOPS_MAX: usize = 100;

/// The program; returns the exit code.
pub(crate) fn run(home: &Path) -> i32 {
    let Ok(settings) = Settings::read(home) else {
        let mut net = Net::new(Duration::from_secs(1200));
        let _ = net.say(b"421 unable to read controls (#4.3.0)\r\n").and_then(|()| net.flush());
        return 1;
    };
    let net = Net::new(settings.timeout);
    let mut session = Session { home, settings, net, helo: None, sender: None, barred: false, recipients: Vec::new() };
    match session.speak() {
        Ok(code) => code,
        Err(Gone::Closed) => 1,
        Err(Gone::Timeout) => {
            let _ = session.net.say(b"451 timeout (#4.4.2)\r\n").and_then(|()| session.net.flush());
            1
        }
    }
}

struct Session<'a> {
    home: &'a Path,
    settings: Settings,
    net: Net,
    /// As the client called itself.
    helo: Option<Vec<u8>>,
    sender: Option<Vec<u8>>,
    /// The sender is in badmailfrom.
    barred: bool,
    /// Each ended by NUL: thousands of recipients cost little more than their bytes.
    recipients: Vec<u8>,
}

/// What comes after a command.
enum Next {
    Command,
    Exit(i32),
}

impl Session<'_> {
    fn speak(&mut self) -> Result<i32, Gone> {
        self.reply(&[b"220 ", &self.settings.greeting.clone(), b" ESMTP"])?;
        loop {
            let line = self.net.line()?;
            if let Next::Exit(code) = self.command(&line)? {
                self.net.flush()?;
                return Ok(code);
            }
        }
    }

    fn command(&mut self, line: &[u8]) -> Result<Next, Gone> {
        let greeting = self.settings.greeting.clone();
        let (word, argument) = command(line);
        match word.as_slice() {
            b"helo" => {
                self.hello(argument);
                self.reply(&[b"250 ", &greeting])?;
            }
            b"ehlo" => {
                self.hello(argument);
                self.reply(&[b"250-", &greeting, b"\r\n250-PIPELINING\r\n250 8BITMIME"])?;
            }
            b"mail" => self.mail(argument)?,
            b"rcpt" => self.rcpt(argument)?,
            b"data" => return self.data(),
            b"rset" => {
                self.reset();
                self.reply(&[b"250 flushed"])?;
            }
            b"noop" => self.reply(&[b"250 ok"])?,
            b"vrfy" => self.reply(&[b"252 send some mail, i'll try my best"])?,
            b"help" => self.reply(&[b"214 notqmail home page: https://notqmail.org"])?,
            b"quit" => {
                self.reply(&[b"221 ", &greeting])?;
                return Ok(Next::Exit(0));
            }
            _ => self.reply(&[b"502 unimplemented (#5.5.1)"])?,
        }
        Ok(Next::Command)
    }

    fn reply(&mut self, parts: &[&[u8]]) -> Result<(), Gone> {
        let mut line = parts.concat();
        line.extend_from_slice(b"\r\n");
        self.net.say(&line)
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn hello(&mut self, argument: &[u8]) {
        self.helo = Some(argument.to_vec());
        self.reset();
    }

    fn mail(&mut self, argument: &[u8]) -> Result<(), Gone> {
        let Some(sender) = address::parse(argument, self.settings.local_ip_host.as_deref()) else {
            return self.reply(&[b"555 syntax error (#5.5.4)"]);
        };
        self.barred = self.settings.is_barred(&sender);
        self.sender = Some(sender);
        self.recipients.clear();
        self.reply(&[b"250 ok"])
    }

    fn rcpt(&mut self, argument: &[u8]) -> Result<(), Gone> {
        if self.sender.is_none() {
            return self.reply(&[b"503 MAIL first (#5.5.1)"]);
        }
        let Some(mut recipient) = address::parse(argument, self.settings.local_ip_host.as_deref()) else {
            return self.reply(&[b"555 syntax error (#5.5.4)"]);
        };
        if self.barred {
            return self.reply(&[b"553 sorry, your envelope sender is in my badmailfrom list (#5.7.1)"]);
        }
        match &self.settings.relay_client {
            Some(suffix) => recipient.extend_from_slice(suffix),
            None => match self.settings.takes(&recipient) {
                Ok(true) => {}
                Ok(false) => return self.reply(&[b"553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"]),
                // As with a list that cannot be read at the start.
                Err(_) => {
                    self.reply(&[b"421 unable to read controls (#4.3.0)"])?;
                    self.net.flush()?;
                    return Err(Gone::Closed);
                }
            },
        }
        // The queue takes no more in one envelope; said now, the client sends the rest in another message.
        if self.recipients.len() + recipient.len() > RECIPIENT_BYTES_MAX {
            return self.reply(&[b"452 too many recipients (#4.5.3)"]);
        }
        self.recipients.extend_from_slice(&recipient);
        self.recipients.push(0);
        self.reply(&[b"250 ok"])
    }

    fn data(&mut self) -> Result<Next, Gone> {
        if self.sender.is_none() {
            self.reply(&[b"503 MAIL first (#5.5.1)"])?;
            return Ok(Next::Command);
        }
        if self.recipients.is_empty() {
            self.reply(&[b"503 RCPT first (#5.5.1)"])?;
            return Ok(Next::Command);
        }
        let sender = self.sender.take().unwrap_or_default();
        let Ok(mut qq) = Qq::open(self.home) else {
            self.reply(&[b"451 qqt failure (#4.3.0)"])?;
            return Ok(Next::Command);
        };
        self.reply(&[b"354 go ahead"])?;
        qq.put(&self.settings.peer.received(self.helo.as_deref(), "SMTP"));
        let mut blast = Blast::new(self.settings.databytes);
        let blasted = data::read(&mut self.net, &mut blast, &mut qq)?;
        if blasted == Blasted::BareLf {
            self.reply(&[b"451 See https://cr.yp.to/docs/smtplf.html."])?;
            return Ok(Next::Exit(1));
        }
        let looping = blast.hops() >= HOPS_MAX;
        if looping || blast.is_too_long() {
            qq.fail();
        }
        qq.from(&sender);
        for recipient in self.recipients.strip_suffix(b"\0").unwrap_or_default().split(|&b| b == 0) {
            qq.to(recipient);
        }
        self.answer(qq, looping, blast.is_too_long())?;
        Ok(Next::Command)
    }

    fn answer(&mut self, qq: Qq, looping: bool, too_long: bool) -> Result<(), Gone> {
        match qq.close() {
            Ok(qp) => self.reply(&[format!("250 ok {} qp {qp}", now().secs()).as_bytes()]),
            Err(_) if looping => self.reply(&[b"554 too many hops, this message is looping (#5.4.6)"]),
            Err(refused) if too_long || refused.text == TOO_LONG => self.reply(&[b"552 ", TOO_LONG.as_bytes()]),
            Err(refused) => self.reply(&[if refused.hard { b"554 " } else { b"451 " }, refused.text.as_bytes()]),
        }
    }
}
