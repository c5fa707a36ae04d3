//! Asks the client's host for the user behind a connection (RFC 1413). Called by tcpserver's helper; believes nothing, bounds everything.

use super::connection::Ends;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PORT: u16 = 113;
/// Longest answer read, bytes (RFC 1413 allows 1000).
const ANSWER_BYTES_MAX: usize = 1000;

/// The user, when the host says one in time.
pub(super) fn ask(ends: Ends, timeout: Duration) -> Option<String> {
    let end = Instant::now() + timeout;
    let left = || Some(end.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(ends.remote.ip(), PORT), left()?).ok()?;
    stream.set_write_timeout(left()).ok()?;
    stream.write_all(format!("{} , {}\r\n", ends.remote.port(), ends.local.port()).as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0u8; 128];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left()?)).ok()?;
        let got = stream.read(&mut buffer).ok()?;
        if got == 0 {
            break;
        }
        answer.extend_from_slice(buffer.get(..got)?);
    }
    user_of(&answer)
}

/// `PORTS : USERID : SYSTEM : USER`.
fn user_of(answer: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(answer.split(|&b| b == b'\n').next()?).into_owned();
    let mut parts = line.splitn(4, ':');
    let (_, kind, _, user) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    (kind.trim() == "USERID").then(|| user.chars().filter(|c| !c.is_whitespace() && *c != '\0').collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_userid_is_a_user() {
        assert_eq!(super::user_of(b"1 , 2 : USERID : UNIX : joe\r\nx"), Some("joe".into()));
        assert_eq!(super::user_of(b"1 , 2 : ERROR : NO-USER\r\n"), None);
    }
}
