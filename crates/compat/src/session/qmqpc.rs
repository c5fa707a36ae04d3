//! `qmail-qmqpc(8)`: stands in for qmail-queue on a host without a queue: the same two descriptors and exit codes, the message goes to one of
//! control/qmqpservers. Called as QMAILQUEUE or in qmail-queue's place; keeps nothing.

use super::netstring::netstring;
use crate::qmail::queue::{DEATH, read_body, read_envelope};
use crate::spool::Spool;
use postino_control::classic;
use postino_local::inject::RawEnvelope;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

const PORT: u16 = 628;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer that is looked at, bytes.
const ANSWER_BYTES_MAX: u64 = 4096;

/// qmail-queue's exit codes that are ours alone.
mod code {
    pub(super) const REJECTED: i32 = 31;
    pub(super) const CONTROL: i32 = 55;
    pub(super) const HOME: i32 = 61;
    pub(super) const NOT_NOW: i32 = 71;
    pub(super) const CONNECT_TIMEOUT: i32 = 72;
    pub(super) const CONNECT: i32 = 73;
    pub(super) const LOST: i32 = 74;
    pub(super) const FORMAT: i32 = 91;
}

/// The program; returns the exit code.
pub(crate) fn run(home: &Path) -> i32 {
    match queue(home) {
        Ok(code) | Err(code) => code,
    }
}

fn queue(home: &Path) -> Result<i32, i32> {
    if !home.is_dir() {
        return Err(code::HOME);
    }
    let servers = std::fs::read(home.join("control/qmqpservers")).map_err(|_| code::CONTROL)?;
    let servers: Vec<SocketAddr> = classic::list(&servers).filter_map(|(_, line)| server(line)).collect();
    let deadline = Instant::now() + DEATH;
    let mut body = read_body(rustix::stdio::stdin(), deadline, home)?;
    let envelope = read_envelope(rustix::stdio::stdout(), deadline)?;
    let envelope = RawEnvelope::decode(&envelope).map_err(|_| code::FORMAT)?;
    let addresses: Vec<u8> = std::iter::once(envelope.sender.as_bytes())
        .chain(envelope.recipients.iter().map(postino_types::Address::as_bytes))
        .flat_map(netstring)
        .collect();
    let mut last = code::CONTROL;
    for server in servers {
        last = match hand_over(server, &mut body, &addresses) {
            // Its word is the last one.
            Ok(code) => return Ok(code),
            Err(code) => code,
        };
    }
    Ok(last)
}

/// An address, with the protocol's port unless the line names one (`192.0.2.1:6280`, `[2001:db8::1]:6280`).
fn server(line: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(line).ok()?;
    text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT)).or_else(|_| text.parse()).ok()
}

fn hand_over(server: SocketAddr, body: &mut Spool, addresses: &[u8]) -> Result<i32, i32> {
    let mut socket = TcpStream::connect_timeout(&server, CONNECT_TIMEOUT)
        .map_err(|e| if e.kind() == io::ErrorKind::TimedOut { code::CONNECT_TIMEOUT } else { code::CONNECT })?;
    // A server that refuses early closes while we write; its answer may be there all the same.
    let sent = send(&mut socket, body, addresses);
    match answer(&mut socket).map_err(|_| code::LOST)? {
        b'K' if sent.is_ok() => Ok(0),
        b'Z' => Ok(code::NOT_NOW),
        b'D' => Ok(code::REJECTED),
        _ => Err(code::LOST),
    }
}

fn send(socket: &mut TcpStream, body: &mut Spool, addresses: &[u8]) -> io::Result<()> {
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    let head = format!("{}:", body.bytes());
    let whole = body.bytes() + head.len() as u64 + 1 + addresses.len() as u64;
    socket.write_all(format!("{whole}:{head}").as_bytes())?;
    body.for_each_chunk(&mut |chunk| socket.write_all(chunk))?;
    socket.write_all(&[b",", addresses, b","].concat())
}

/// The first letter of the answer, which must be a whole netstring.
fn answer(socket: &mut TcpStream) -> io::Result<u8> {
    let mut bytes = Vec::new();
    socket.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    whole_answer(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn whole_answer(bytes: &[u8]) -> Option<u8> {
    let colon = bytes.iter().position(|&b| b == b':')?;
    let length: usize = std::str::from_utf8(bytes.get(..colon)?).ok()?.parse().ok()?;
    let rest = bytes.get(colon + 1..)?;
    (rest.get(length) == Some(&b',')).then(|| rest.first().copied()).flatten().filter(|_| length > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_servers() {
        assert_eq!(whole_answer(b"3:Kok,"), Some(b'K'));
        for broken in [&b"3:Ko"[..], b"3:Kok", b"0:,", b"Kok", b"", b"9:Kok,"] {
            assert_eq!(whole_answer(broken), None);
        }
        assert_eq!(server(b"192.0.2.1").map(|s| s.to_string()).as_deref(), Some("192.0.2.1:628"));
        assert_eq!(server(b"[2001:db8::1]:6280").map(|s| s.port()), Some(6280));
        assert_eq!(server(b"mail.example"), None);
    }
}
