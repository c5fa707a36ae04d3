//! A message handed to the running server over its socket (`local::inject` describes the conversation). Called by qmail-queue, and by the
//! programs that would otherwise start one for each message. Ok means that it is on stable storage.

use crate::spool::Spool;
use postino_local::inject::{CHUNK_BYTES_MAX, LETTER_VARIABLE, SOCKET_PATH, chunk_header, letter_head, socket_head};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The server's commit takes one sync of a disk; so long is a hung disk.
const SERVER_TIMEOUT: Duration = Duration::from_secs(600);
/// The server cannot be asked.
const EXIT_SERVER: i32 = 71;
/// The server ended in the middle of it: whether it has the message is not known.
const EXIT_LOST: i32 = 74;
/// A bug of ours.
const EXIT_BUG: i32 = 81;

/// Why the server did not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// There is no server: not started yet, or stopped. Nothing was said.
    NoServer,
    /// qmail-queue's exit code.
    Code(i32),
}

/// Hands it over. `envelope` is qmail-queue's, checked.
pub(crate) fn hand_over(home: &Path, envelope: &[u8], body: &mut Spool) -> Result<(), Unserved> {
    match UnixStream::connect(home.join(SOCKET_PATH)) {
        Ok(socket) => converse(socket, envelope, body).map_err(Unserved::Code),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Err(Unserved::NoServer),
        Err(_) => Err(Unserved::Code(EXIT_SERVER)),
    }
}

fn converse(mut socket: UnixStream, envelope: &[u8], body: &mut Spool) -> Result<(), i32> {
    socket.set_read_timeout(Some(SERVER_TIMEOUT)).map_err(|_| EXIT_BUG)?;
    socket.set_write_timeout(Some(SERVER_TIMEOUT)).map_err(|_| EXIT_BUG)?;
    // A server that refuses early closes while we write; its answer is there all the same.
    let sent = send(&mut socket, envelope, body);
    let mut answer = [0u8; 1];
    match socket.read_exact(&mut answer) {
        Ok(()) => match i32::from(answer[0]) {
            0 if sent.is_ok() => Ok(()),
            0 => Err(EXIT_LOST),
            refused => Err(refused),
        },
        Err(_) => Err(EXIT_LOST),
    }
}

/// Small pieces are gathered: a short message goes out with one write.
fn send(socket: &mut UnixStream, envelope: &[u8], body: &mut Spool) -> io::Result<()> {
    let letter = std::env::var(LETTER_VARIABLE).ok().and_then(|number| number.parse().ok());
    let head = letter.map_or_else(|| socket_head(envelope), |letter| letter_head(envelope, letter));
    let mut waiting = head.ok_or(io::ErrorKind::InvalidInput)?;
    body.for_each_chunk(&mut |chunk| {
        if waiting.len() + chunk.len() > CHUNK_BYTES_MAX {
            socket.write_all(&waiting)?;
            waiting.clear();
        }
        waiting.extend_from_slice(&chunk_header(chunk.len()));
        waiting.extend_from_slice(chunk);
        Ok(())
    })?;
    waiting.extend_from_slice(&chunk_header(0));
    socket.write_all(&waiting)
}
