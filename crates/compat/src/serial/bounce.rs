//! maildirserial's bounce (the form of RFC 1894's elder, QSBMF). Called by maildirserial; never removes the message.

use super::scan;
use crate::home::read_if_there;
use crate::qq::Qq;
use postino_control::classic;
use postino_local::error_text::error_text;
use postino_message::date::qmail_date;
use postino_types::address::Address;
use postino_types::time::Time;
use std::io::{self, Read};
use std::path::Path;

const BUFFER_BYTES: usize = 8192;

/// What became of it.
pub(super) enum Bounced {
    /// In the queue, by this qmail-queue.
    Queued(u32),
    /// A bounce of a double bounce: nobody wants it.
    Discarded,
}

/// Where a bounce goes: envelope sender, recipient, the opening's second line, the separator's words.
struct Way {
    sender: &'static [u8],
    recipient: Vec<u8>,
    opening: &'static str,
    below: &'static str,
}

const SORRY: &str = "I'm afraid I wasn't able to deliver your message to the following address.\n\
    This is a permanent error; I've given up. Sorry it didn't work out.\n";
const DOUBLE: &str = "I tried to deliver a bounce message to this address, but the bounce bounced!\n";

/// Sends the message back with `text`, which ends with LF.
pub(super) fn send(home: &Path, file: &Path, prefix: &[u8], text: &[u8]) -> Result<Bounced, String> {
    let told = |error: io::Error| error_text(&error).to_owned();
    let mut waiting = scan::open(file).map_err(told)?.ok_or("no Return-Path and Delivered-To")?;
    if waiting.return_path == b"#@[]" {
        return Ok(Bounced::Discarded);
    }
    let control = |name: &str, default: &str| control(home, name, default).map_err(told);
    let me = control("me", "bouncehost")?;
    let host = control("bouncehost", &me)?;
    let from = format!("{}@{host}", control("bouncefrom", "MAILER-DAEMON")?);
    let way = if waiting.return_path.is_empty() {
        let to = format!("{}@{}", control("doublebounceto", "postmaster")?, control("doublebouncehost", &me)?);
        Way { sender: b"#@[]", recipient: to.into_bytes(), opening: DOUBLE, below: "the original bounce" }
    } else {
        Way { sender: b"", recipient: scan::unquoted(&waiting.return_path), opening: SORRY, below: "a copy of the message" }
    };
    let mut qq = Qq::open(home).map_err(told)?;
    let head = format!("Date: {}\nFrom: {from}\nTo: ", qmail_date(now()));
    qq.put(head.as_bytes());
    qq.put(&Address::from_bytes(&way.recipient).map_or_else(|_| way.recipient.clone(), |to| to.to_quoted(false)));
    let opening = format!("\nSubject: failure notice\n\nHi. This is the maildirbounce program at {host}.\n{}\n<", way.opening);
    qq.put(opening.as_bytes());
    qq.put(waiting.delivered_to.strip_prefix(prefix).unwrap_or(&waiting.delivered_to));
    qq.put(b">:\n");
    qq.put(text);
    qq.put(format!("\n--- Below this line is {}.\n\nReturn-Path: <", way.below).as_bytes());
    qq.put(&waiting.return_path);
    qq.put(b">\n");
    copy(&mut waiting.rest, &mut qq).map_err(told)?;
    qq.from(way.sender);
    qq.to(&way.recipient);
    qq.close().map(Bounced::Queued).map_err(|refused| refused.text)
}

/// A message that cannot be read to its end is not sent back in part: dropped, `qq` queues nothing.
fn copy(rest: &mut impl Read, qq: &mut Qq) -> io::Result<()> {
    let mut buffer = [0u8; BUFFER_BYTES];
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(()),
            got => qq.put(buffer.get(..got).unwrap_or_default()),
        }
    }
}

fn control(home: &Path, name: &str, default: &str) -> io::Result<String> {
    let found = read_if_there(&home.join("control").join(name))?;
    Ok(found.map_or_else(|| default.to_owned(), |bytes| String::from_utf8_lossy(classic::line(&bytes)).into_owned()))
}

fn now() -> Time {
    Time::from_secs(i64::try_from(crate::remote::tcpto::now()).unwrap_or(i64::MAX))
}
