//! qmail-remote's dialogue with one server. Called by `remote`; never chooses the server, never tries twice.

use super::Report;
use super::body::{self, BodyError};
use super::controls::Controls;
use super::reply::{self, Reply};
use crate::masquerade::Masked;
use postino_types::address::Address;
use std::io::{self, BufReader, BufWriter, Write};
use std::net::{IpAddr, TcpStream};

/// Most text of a reply that is told, bytes.
const TEXT_BYTES_MAX: usize = 5000;

/// What to send.
#[derive(Debug)]
pub(crate) struct Mail<'a> {
    /// The recipients' host.
    pub(crate) host: &'a [u8],
    /// Envelope sender.
    pub(crate) sender: &'a [u8],
    /// Envelope recipients.
    pub(crate) recipients: Vec<&'a [u8]>,
}

/// How the dialogue ended before its time.
enum End {
    /// With this record, after QUIT.
    Quit(Vec<u8>),
    /// With this record, at once.
    Record(&'static [u8]),
    /// The connection died.
    Died,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Died
    }
}

struct Talk<'a> {
    input: BufReader<&'a TcpStream>,
    output: BufWriter<&'a TcpStream>,
    ip: String,
    /// The final dot is on its way: from here on the message may have been taken.
    is_critical: bool,
}

/// Speaks with the server and adds all records to `report`.
pub(crate) fn talk(stream: &TcpStream, ip: IpAddr, mail: &Mail<'_>, controls: &Controls, report: &mut Report) {
    let ip = ip.to_string();
    let mut talk = Talk { input: BufReader::new(stream), output: BufWriter::new(stream), ip, is_critical: false };
    let end = match talk.run(mail, controls, report) {
        Ok(reply) => talk.end("K", " accepted message", Some(&reply)),
        Err(end) => end,
    };
    match end {
        End::Quit(record) => {
            // Its answer is not waited for, nor is it of any use.
            let _ = talk.output.write_all(b"QUIT\r\n").and_then(|()| talk.output.flush());
            report.record(&record);
        }
        End::Record(record) => report.record(record),
        End::Died => {
            let duplicate = if talk.is_critical { "Possible duplicate! " } else { "" };
            report.record(format!("ZConnected to {} but connection died. {duplicate}(#4.4.2)\n", talk.ip).as_bytes());
        }
    }
}

impl Talk<'_> {
    /// The reply to the final dot when the message was taken.
    fn run(&mut self, mail: &Mail<'_>, controls: &Controls, report: &mut Report) -> Result<Reply, End> {
        let reply = self.reply()?;
        if reply.code != 220 {
            return Err(self.end("ZConnected to ", " but greeting failed", Some(&reply)));
        }
        let reply = self.command(&[b"HELO ", &controls.helo])?;
        if reply.code != 250 {
            return Err(self.end("ZConnected to ", " but my name was rejected", Some(&reply)));
        }
        let reply = self.command(&[b"MAIL FROM:<", &quoted(&outside(mail.sender, controls)), b">"])?;
        self.check(&reply, "Connected to ", " but sender was rejected")?;
        self.recipients(mail, report)?;
        let reply = self.command(&[b"DATA"])?;
        self.check(&reply, "", " failed on DATA command")?;
        self.body(controls)?;
        let reply = self.reply()?;
        self.check(&reply, "", " failed after I sent the message")?;
        Ok(reply)
    }

    fn recipients(&mut self, mail: &Mail<'_>, report: &mut Report) -> Result<(), End> {
        let mut accepted = 0;
        for recipient in &mail.recipients {
            let reply = self.command(&[b"RCPT TO:<", &quoted(recipient), b">"])?;
            let letter = match reply.code {
                500.. => "h",
                400.. => "s",
                _ => {
                    accepted += 1;
                    report.record(b"r");
                    continue;
                }
            };
            report.record(&self.text(letter, " does not like recipient", Some(&reply)));
        }
        if accepted == 0 { Err(self.end("DGiving up on ", "", None)) } else { Ok(()) }
    }

    fn body(&mut self, controls: &Controls) -> Result<(), End> {
        body::send(&mut Masked::new(io::stdin().lock(), &controls.masquerade), &mut self.output).map_err(|error| match error {
            BodyError::Read => End::Record(b"ZUnable to read message. (#4.3.0)\n"),
            BodyError::Partial => End::Record(b"DSMTP cannot transfer messages with partial final lines. (#5.6.2)\n"),
            BodyError::Write => End::Died,
        })?;
        self.output.flush()?;
        self.is_critical = true;
        self.output.write_all(b".\r\n")?;
        Ok(self.output.flush()?)
    }

    fn command(&mut self, parts: &[&[u8]]) -> io::Result<Reply> {
        for part in parts {
            self.output.write_all(part)?;
        }
        self.output.write_all(b"\r\n")?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        self.output.flush()?;
        reply::read(&mut self.input, TEXT_BYTES_MAX)
    }

    /// Codes below 400 pass, expected or not.
    fn check(&self, reply: &Reply, before: &str, after: &str) -> Result<(), End> {
        let letter = match reply.code {
            500.. => "D",
            400.. => "Z",
            _ => return Ok(()),
        };
        Err(self.end(&format!("{letter}{before}"), after, Some(reply)))
    }

    fn end(&self, before: &str, after: &str, reply: Option<&Reply>) -> End {
        End::Quit(self.text(before, after, reply))
    }

    fn text(&self, before: &str, after: &str, reply: Option<&Reply>) -> Vec<u8> {
        let mut text = format!("{before}{}{after}.\n", self.ip).into_bytes();
        if let Some(reply) = reply {
            text.extend_from_slice(b"Remote host said: ");
            text.extend_from_slice(&reply.text);
        }
        text
    }
}

/// The sender as the world sees it.
fn outside(sender: &[u8], controls: &Controls) -> Vec<u8> {
    let new = Address::from_bytes(sender).ok().and_then(|address| controls.masquerade.outside(&address));
    new.map_or_else(|| sender.to_vec(), |new| new.as_bytes().to_vec())
}

/// As it goes on the wire. What is no address to us (too long, say) goes as it came: the server decides.
fn quoted(address: &[u8]) -> Vec<u8> {
    if address.is_empty() {
        return Vec::new();
    }
    Address::from_bytes(address).map_or_else(|_| address.to_vec(), |address| address.to_quoted(false))
}
