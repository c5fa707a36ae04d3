//! `serialsmtp PREFIX HELO`: sends the files named on standard input over the SMTP connection on descriptors 6 and 7. Called by `serial` under
//! tcpclient; never removes a file.

use super::scan;
use super::wire::{self, Timed};
use crate::fatal::Fatal;
use crate::remote::body::{self, BodyError};
use crate::remote::reply::{self, Reply};
use postino_types::address::Address;
use std::ffi::OsString;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Most text of a reply that is told, bytes.
const TEXT_BYTES_MAX: usize = 2000;

/// The program.
pub(super) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let [prefix, helo] = args else { return Err(Fatal::usage("serialsmtp prefix helohost")) };
    let (input, output) = wire::inherited()?;
    let ip = std::env::var_os("TCPREMOTEIP").unwrap_or_else(|| OsString::from("0"));
    let mut talk = Talk { input, output, ip, prefix: prefix.as_bytes(), pipelines: false, is_first: true };
    let result = talk.start(helo.as_bytes()).and_then(|()| wire::each_file(|name| talk.file(name)));
    if !matches!(result, Err(Stop::Died | Stop::Partial)) {
        // Its answer is not waited for.
        let _ = talk.output.write_all(b"QUIT\r\n").and_then(|()| talk.output.flush());
    }
    result.map_err(|stop| {
        Fatal::soft(match stop {
            Stop::Greeting => "connected but greeting failed",
            Stop::Name => "connected but my name was rejected",
            Stop::Died => "connection died",
            Stop::Partial => "SMTP cannot transfer messages with partial final lines",
            Stop::Names => "unable to read file names or write results",
        })
    })
}

enum Stop {
    Greeting,
    Name,
    Died,
    Partial,
    Names,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Died
    }
}

impl From<wire::NoNames> for Stop {
    fn from(_: wire::NoNames) -> Self {
        Self::Names
    }
}

struct Talk<'a> {
    input: BufReader<Timed>,
    output: BufWriter<Timed>,
    ip: OsString,
    prefix: &'a [u8],
    pipelines: bool,
    is_first: bool,
}

impl Talk<'_> {
    fn start(&mut self, helo: &[u8]) -> Result<(), Stop> {
        if self.reply()?.code != 220 {
            return Err(Stop::Greeting);
        }
        let reply = self.command(&[b"EHLO ", helo])?;
        if reply.code == 250 {
            let words = reply.text.split(|&b| b == b'\n').skip(1).filter_map(|line| line.get(4..));
            self.pipelines = words.into_iter().any(|word| word.eq_ignore_ascii_case(b"PIPELINING"));
            return Ok(());
        }
        if self.command(&[b"HELO ", helo])?.code == 250 { Ok(()) } else { Err(Stop::Name) }
    }

    /// Letter and text of the result.
    fn file(&mut self, name: &[u8]) -> Result<Vec<u8>, Stop> {
        let Ok(Some(mut waiting)) = scan::open(&scan::path(Path::new("."), name)) else { return Ok(b"Zunable to read file".to_vec()) };
        let recipient = waiting.delivered_to.strip_prefix(self.prefix).unwrap_or(&waiting.delivered_to).to_vec();
        if recipient.contains(&b'\r') || waiting.return_path.contains(&b'\r') {
            return Ok(b"Daddress with a line end".to_vec());
        }
        let reply = self.message(&waiting.return_path, &recipient, &mut waiting.rest)?;
        let letter: &[u8] = match reply.code {
            500.. => b"D",
            400.. => b"Z",
            _ => b"K",
        };
        let text = reply.text.strip_suffix(b"\n").unwrap_or(&reply.text);
        Ok(wire::result(letter, &self.ip, &recipient, text))
    }

    /// The reply that decides.
    fn message(&mut self, from: &[u8], to: &[u8], rest: &mut impl Read) -> Result<Reply, Stop> {
        let to = Address::from_bytes(to).map_or_else(|_| to.to_vec(), |to| to.to_quoted(false));
        let (from, to) = ([&b"MAIL FROM:<"[..], from, b">"].concat(), [&b"RCPT TO:<"[..], &to, b">"].concat());
        let is_first = std::mem::replace(&mut self.is_first, false);
        let commands = [&b"RSET"[..], &from, &to, b"DATA"];
        let commands = commands.get(usize::from(is_first)..).unwrap_or_default();
        if self.pipelines {
            for command in commands {
                self.say(&[command])?;
            }
        }
        let mut refused = None;
        let mut last = None;
        for command in commands {
            let reply = if self.pipelines { self.reply()? } else { self.command(&[command])? };
            if reply.code >= 400 && refused.is_none() {
                refused = Some(reply.clone());
            }
            last = Some(reply);
            if refused.is_some() && !self.pipelines {
                break;
            }
        }
        match (refused, last) {
            (None, _) => self.body(rest),
            (Some(refused), last) => {
                // The server waits for a message although it took no recipient (RFC 2920 3.1): it gets none.
                if self.pipelines && last.is_some_and(|reply| reply.code < 400) {
                    self.command(&[b"."])?;
                }
                Ok(refused)
            }
        }
    }

    fn body(&mut self, rest: &mut impl Read) -> Result<Reply, Stop> {
        body::send(rest, &mut self.output).map_err(|error| match error {
            BodyError::Partial => Stop::Partial,
            BodyError::Read | BodyError::Write => Stop::Died,
        })?;
        Ok(self.command(&[b"."])?)
    }

    fn say(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        parts.iter().try_for_each(|part| self.output.write_all(part))?;
        self.output.write_all(b"\r\n")
    }

    fn command(&mut self, parts: &[&[u8]]) -> io::Result<Reply> {
        self.say(parts)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        self.output.flush()?;
        reply::read(&mut self.input, TEXT_BYTES_MAX)
    }
}
