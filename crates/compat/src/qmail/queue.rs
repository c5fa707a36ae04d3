//! `qmail-queue(8)`: message on descriptor 0, then the envelope on descriptor 1, the answer is the exit code. Hands the message to the server's
//! socket (`local::inject` describes the conversation); while no server runs, leaves it durably in the drop directory. Exit 0 means that it is
//! on stable storage. Never asks who the caller is: the kernel tells the server.

use crate::hand_over::{Unserved, hand_over};
use crate::spool::{Spool, SpoolError};
use crate::wait::ready;
use postino_local::drop_file::{DropError, leave};
use postino_local::inject::{CHUNK_BYTES_MAX, DROP_PATH, ENVELOPE_BYTES_MAX, EnvelopeError, RawEnvelope};
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// A caller that takes longer is given up (qmail's DEATH).
pub(crate) const DEATH: Duration = Duration::from_secs(86_400);

/// qmail-queue's exit codes used here.
mod code {
    /// The server takes no message of this size.
    pub(super) const REFUSED: i32 = 31;
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
    let mut body = read_body(rustix::stdio::stdin(), deadline, home)?;
    let envelope = read_envelope(rustix::stdio::stdout(), deadline)?;
    match hand_over(home, &envelope, &mut body) {
        Ok(()) => Ok(()),
        Err(Unserved::NoServer) => leave_for_later(home, &envelope, body),
        Err(Unserved::Code(code)) => Err(code),
    }
}

/// Leaves it durably for the next server; qmail-queue's exit code when that is not possible.
pub(crate) fn leave_for_later(home: &Path, envelope: &[u8], mut body: Spool) -> Result<(), i32> {
    leave(&home.join(DROP_PATH), envelope, Box::new(move |write| body.for_each_chunk(write))).map_err(|error| match error {
        DropError::NoDirectory => code::QUEUE,
        DropError::Create(_) => code::CREATE,
        DropError::Write(_) => code::WRITE,
        DropError::Envelope => EnvelopeError::TooLong.exit_code(),
    })
}

fn read_some(fd: BorrowedFd<'_>, buffer: &mut [u8], deadline: Instant) -> Result<usize, i32> {
    loop {
        if !ready(fd, PollFlags::IN, deadline).map_err(|_| code::READ)? {
            return Err(code::TIMEOUT);
        }
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
        spool.write(buffer.get(..n).unwrap_or_default()).map_err(|error| match error {
            SpoolError::TooBig => code::REFUSED,
            SpoolError::Write => code::WRITE,
        })?;
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
