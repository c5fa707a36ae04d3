//! `qmail-qmtpd(8)`: messages over QMTP, one after the other, with qmail-smtpd's rules about who may relay and how much. Called by tcpserver with the
//! client on descriptors 0 and 1; answers each recipient.

use super::net::Net;
use super::netstring::{ADDRESS_BYTES_MAX, PROTOCOL, Reader, netstring};
use super::peer::now;
use super::settings::Settings;
use crate::qq::{Qq, TOO_LONG};
use postino_types::exit;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3600);

/// What becomes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// What becomes of the message.
    Taken,
    NotOurs,
    Unusable,
}

/// Most recipients of one message; each has an answer waiting in memory.
const RECIPIENTS_MAX: usize = 100_000;

/// The program; returns the exit code.
pub(crate) fn run(home: &Path) -> i32 {
    let Ok(settings) = Settings::read(home) else { return exit::SOFT };
    let mut net = Net::new(TIMEOUT);
    loop {
        let (fates, answer) = match take(home, &settings, &mut net) {
            Ok(taken) => taken,
            Err(code) => return code,
        };
        for fate in fates {
            let text = match fate {
                Fate::Taken => answer.as_str(),
                Fate::NotOurs => "Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
                Fate::Unusable => "Dsorry, I can't handle that recipient (#5.1.3)",
            };
            if net.say(&netstring(text.as_bytes())).is_err() {
                return exit::OK;
            }
        }
    }
}

fn take(home: &Path, settings: &Settings, net: &mut Net) -> Result<(Vec<Fate>, String), i32> {
    let mut reader = Reader::new(net);
    let length = reader.length()?.checked_sub(1).ok_or(PROTOCOL)?;
    let mut qq = Qq::open(home).map_err(|_| exit::SOFT)?;
    let too_long = read_message(&mut reader, length, settings, &mut qq)?;
    let sender = reader.address()?;
    let unacceptable = sender.is_none();
    qq.from(&sender.unwrap_or_default());
    let fates = read_recipients(&mut reader, settings, &mut qq)?;
    if too_long || unacceptable || !fates.contains(&Fate::Taken) {
        qq.fail();
    }
    let answer = match qq.close() {
        _ if unacceptable => "Dunacceptable sender (#5.1.7)".to_owned(),
        _ if too_long => format!("D{TOO_LONG}"),
        Ok(qp) => format!("Kok {} qp {qp}", now().secs()),
        Err(refused) => refused.with_letter(),
    };
    Ok((fates, answer))
}

/// The message into the queue; true when it is longer than databytes allows. Its first byte says how its lines end.
fn read_message(reader: &mut Reader<'_>, length: u64, settings: &Settings, qq: &mut Qq) -> Result<bool, i32> {
    let mut kind = 0;
    reader.bytes(1, &mut |bytes| kind = bytes.first().copied().unwrap_or_default())?;
    if !matches!(kind, b'\n' | b'\r') {
        return Err(PROTOCOL);
    }
    qq.put(&settings.peer.received(None, "QMTP"));
    let limit = if settings.databytes == 0 { u64::MAX } else { settings.databytes };
    let mut bytes_seen = 0u64;
    let mut lines = CrLf::default();
    let mut put = |bytes: &[u8]| {
        bytes_seen = bytes_seen.saturating_add(bytes.len() as u64);
        if bytes_seen > limit {
            qq.fail();
        }
        qq.put(bytes);
    };
    reader.bytes(length, &mut |bytes| match kind {
        b'\r' => put(&lines.decode(bytes)),
        _ => put(bytes),
    })?;
    put(lines.rest());
    reader.comma()?;
    Ok(bytes_seen > limit)
}

fn read_recipients(reader: &mut Reader<'_>, settings: &Settings, qq: &mut Qq) -> Result<Vec<Fate>, i32> {
    let mut fates = Vec::new();
    let whole = reader.length()?;
    reader.limit(whole);
    while reader.left() > 0 {
        if fates.len() >= RECIPIENTS_MAX {
            return Err(exit::SOFT);
        }
        let fate = match reader.address()? {
            None => Fate::Unusable,
            Some(recipient) => admit(recipient, settings, qq)?,
        };
        fates.push(fate);
    }
    reader.unlimit();
    reader.comma()?;
    Ok(fates)
}

fn admit(mut recipient: Vec<u8>, settings: &Settings, qq: &mut Qq) -> Result<Fate, i32> {
    match &settings.relay_client {
        Some(suffix) => recipient.extend_from_slice(suffix),
        None if !settings.takes(&recipient).map_err(|_| exit::SOFT)? => return Ok(Fate::NotOurs),
        None => {}
    }
    if recipient.len() as u64 > ADDRESS_BYTES_MAX {
        return Ok(Fate::Unusable);
    }
    qq.to(&recipient);
    Ok(Fate::Taken)
}

/// CR LF to LF, across pieces; a CR alone stays.
#[derive(Debug, Default)]
struct CrLf {
    cr: bool,
}

impl CrLf {
    fn decode(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 1);
        for &b in bytes {
            if std::mem::take(&mut self.cr) && b != b'\n' {
                out.push(b'\r');
            }
            match b {
                b'\r' => self.cr = true,
                b => out.push(b),
            }
        }
        out
    }

    /// A CR at the very end.
    fn rest(&mut self) -> &'static [u8] {
        if std::mem::take(&mut self.cr) { b"\r" } else { b"" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cr_lf_across_pieces() {
        let mut lines = CrLf::default();
        let mut out = Vec::new();
        for piece in [&b"a\r"[..], b"\nb\r\r\n", b"\r", b"c\n\r"] {
            out.extend(lines.decode(piece));
        }
        out.extend_from_slice(lines.rest());
        assert_eq!(out, b"a\nb\r\n\rc\n\r");
    }
}
