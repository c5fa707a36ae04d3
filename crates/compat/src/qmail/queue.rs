//! `qmail-queue(8)`: message on descriptor 0, then the envelope on descriptor 1, the answer is the exit code. Hands the message to the server's
//! socket (`local::inject` describes the conversation); while no server runs, leaves it durably in the drop directory. Exit 0 means that it is
//! on stable storage. Never asks who the caller is: the kernel tells the server.

mod spool;

use postino_local::drop_file::{DropError, leave};
use postino_local::inject::{
    CHUNK_BYTES_MAX, DROP_PATH, ENVELOPE_BYTES_MAX, EnvelopeError, RawEnvelope, SOCKET_PATH, chunk_header, socket_head,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
pub(crate) use spool::Spool;
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A caller that takes longer is given up (qmail's DEATH).
pub(crate) const DEATH: Duration = Duration::from_secs(86_400);
/// The server's commit takes one sync of a disk; so long is a hung disk.
const SERVER_TIMEOUT: Duration = Duration::from_secs(600);

/// qmail-queue's exit codes used here.
mod code {
    /// Out of time.
    pub(super) const TIMEOUT: i32 = 52;
    /// Write error or full disk.
    pub(super) const WRITE: i32 = 53;
    /// Read error.
    pub(super) const READ: i32 = 54;
    /// No home.
    pub(super) const HOME: i32 = 61;
    /// No drop directory.
    pub(super) const QUEUE: i32 = 62;
    /// A file cannot be made in it.
    pub(super) const CREATE: i32 = 63;
    /// The server ended in the middle of it: whether it has the message is not known.
    pub(super) const LOST: i32 = 74;
    /// A bug of ours.
    pub(super) const BUG: i32 = 81;
}

/// The program; returns the exit code.
pub(crate) fn run(home: &Path) -> i32 {
    match queue(home) {
        Ok(()) => 0,
        Err(code) => code,
    }
}

fn queue(home: &Path) -> Result<(), i32> {
    if !home.is_dir() {
        return Err(code::HOME);
    }
    let deadline = Instant::now() + DEATH;
    let body = read_body(rustix::stdio::stdin(), deadline, home)?;
    let envelope = read_envelope(rustix::stdio::stdout(), deadline)?;
    match UnixStream::connect(home.join(SOCKET_PATH)) {
        Ok(socket) => converse(socket, &envelope, body),
        // No server: not started yet, or stopped.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => leave_for_later(home, &envelope, body),
        Err(_) => Err(71),
    }
}

fn leave_for_later(home: &Path, envelope: &[u8], mut body: Spool) -> Result<(), i32> {
    leave(&home.join(DROP_PATH), envelope, Box::new(move |write| body.for_each_chunk(write))).map_err(|error| match error {
        DropError::NoDirectory => code::QUEUE,
        DropError::Create(_) => code::CREATE,
        DropError::Write(_) => code::WRITE,
        DropError::Envelope => EnvelopeError::TooLong.exit_code(),
    })
}

fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<(), i32> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(code::TIMEOUT);
        }
        let timeout = Timespec::try_from(left).map_err(|_| code::BUG)?;
        match poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(_) => return Err(code::READ),
        }
    }
}

fn read_some(fd: BorrowedFd<'_>, buffer: &mut [u8], deadline: Instant) -> Result<usize, i32> {
    loop {
        wait_readable(fd, deadline)?;
        match rustix::io::read(fd, &mut *buffer) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other.map_err(|_| code::READ),
        }
    }
}

pub(crate) fn read_body(fd: BorrowedFd<'_>, deadline: Instant, home: &Path) -> Result<Spool, i32> {
    let mut spool = Spool::new(home);
    let mut buffer = vec![0u8; CHUNK_BYTES_MAX];
    loop {
        let n = read_some(fd, &mut buffer, deadline)?;
        if n == 0 {
            return Ok(spool);
        }
        spool.write(buffer.get(..n).unwrap_or_default()).map_err(|_| code::WRITE)?;
    }
}

/// Reads until the envelope is whole; what follows it is not waited for.
pub(crate) fn read_envelope(fd: BorrowedFd<'_>, deadline: Instant) -> Result<Vec<u8>, i32> {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        let seen = bytes.len().saturating_sub(1);
        let n = read_some(fd, &mut buffer, deadline)?;
        bytes.extend_from_slice(buffer.get(..n).unwrap_or_default());
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::TooLong.exit_code());
        }
        // An address ends with NUL and the list with another; until then only a wrong letter is worth an early answer.
        let ended = bytes.get(seen..).unwrap_or_default().windows(2).any(|pair| pair == b"\0\0");
        if n == 0 || ended || bytes.len() <= buffer.len() {
            match RawEnvelope::decode(&bytes) {
                Ok(envelope) => return Ok(envelope.encode()),
                Err(EnvelopeError::Truncated) if n > 0 => {}
                Err(error) => return Err(error.exit_code()),
            }
        }
    }
}

fn converse(mut socket: UnixStream, envelope: &[u8], mut body: Spool) -> Result<(), i32> {
    socket.set_read_timeout(Some(SERVER_TIMEOUT)).map_err(|_| code::BUG)?;
    socket.set_write_timeout(Some(SERVER_TIMEOUT)).map_err(|_| code::BUG)?;
    // A server that refuses early closes while we write; its answer is there all the same.
    let sent = send(&mut socket, envelope, &mut body);
    let mut answer = [0u8; 1];
    match socket.read_exact(&mut answer) {
        Ok(()) => match i32::from(answer[0]) {
            0 if sent.is_ok() => Ok(()),
            0 => Err(code::LOST),
            refused => Err(refused),
        },
        Err(_) => Err(code::LOST),
    }
}

fn send(socket: &mut UnixStream, envelope: &[u8], body: &mut Spool) -> io::Result<()> {
    socket.write_all(&socket_head(envelope).ok_or(io::ErrorKind::InvalidInput)?)?;
    body.for_each_chunk(&mut |chunk| {
        // One write for a chunk with its length: no small packets.
        socket.write_all(&[&chunk_header(chunk.len())[..], chunk].concat())
    })?;
    socket.write_all(&chunk_header(0))
}
