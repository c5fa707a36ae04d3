//! The client on descriptors 0 and 1: buffered, each wait bounded by poll. Output goes out when the next input has to be waited for, so that
//! pipelined commands are answered in one packet. Used by the sessions; knows no protocol.

use crate::wait::ready;
use rustix::event::PollFlags;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

const INPUT_BYTES: usize = 8192;
const OUTPUT_BYTES: usize = 8192;
/// Longest part of a line that is looked at; the rest is read and dropped.
const LINE_BYTES_MAX: usize = 4096;

/// Why a session cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The client went, or its connection broke.
    Closed,
    /// It said nothing, or took nothing, for too long.
    Timeout,
}

/// The client.
#[derive(Debug)]
pub(crate) struct Net {
    input: Box<[u8; INPUT_BYTES]>,
    start: usize,
    end: usize,
    output: Vec<u8>,
    timeout: Duration,
}

impl Net {
    /// Each read and each write may take `timeout`.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self { input: Box::new([0; INPUT_BYTES]), start: 0, end: 0, output: Vec::new(), timeout }
    }

    /// What has been read and not yet taken; reads when there is nothing.
    pub(crate) fn available(&mut self) -> Result<&[u8], Gone> {
        if self.start == self.end {
            self.flush()?;
            let fd = rustix::stdio::stdin();
            self.end = retry(fd, PollFlags::IN, self.timeout, || rustix::io::read(fd, &mut self.input[..]))?;
            self.start = 0;
            if self.end == 0 {
                return Err(Gone::Closed);
            }
        }
        Ok(self.input.get(self.start..self.end).unwrap_or_default())
    }

    /// Takes `bytes` of [`Net::available`].
    pub(crate) fn take(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
    }

    /// A line without LF and without one CR before it; a NUL ends it early, as it did for the original.
    pub(crate) fn line(&mut self) -> Result<Vec<u8>, Gone> {
        let mut line = Vec::new();
        loop {
            let seen = self.available()?;
            let lf = seen.iter().position(|&b| b == b'\n');
            let part = seen.get(..lf.unwrap_or(seen.len())).unwrap_or_default();
            let room = LINE_BYTES_MAX.saturating_sub(line.len());
            line.extend(part.iter().take(room));
            let taken = part.len() + usize::from(lf.is_some());
            self.take(taken);
            if lf.is_some() {
                break;
            }
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if let Some(nul) = line.iter().position(|&b| b == 0) {
            line.truncate(nul);
        }
        Ok(line)
    }

    /// Says something, soon.
    pub(crate) fn say(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.output.extend_from_slice(bytes);
        if self.output.len() >= OUTPUT_BYTES { self.flush() } else { Ok(()) }
    }

    /// Says it now.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        let fd = rustix::stdio::stdout();
        let output = std::mem::take(&mut self.output);
        let mut rest = output.as_slice();
        while !rest.is_empty() {
            let n = retry(fd, PollFlags::OUT, self.timeout, || rustix::io::write(fd, rest))?;
            rest = rest.get(n..).unwrap_or_default();
        }
        Ok(())
    }
}

fn retry(
    fd: BorrowedFd<'_>,
    wanted: PollFlags,
    timeout: Duration,
    mut act: impl FnMut() -> rustix::io::Result<usize>,
) -> Result<usize, Gone> {
    let deadline = Instant::now() + timeout;
    loop {
        if !ready(fd, wanted, deadline).map_err(|_| Gone::Closed)? {
            return Err(Gone::Timeout);
        }
        match act() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other.map_err(|_| Gone::Closed),
        }
    }
}

/// A command's word in lower case, and what follows the blanks after it.
pub(crate) fn command(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let blank = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at_checked(blank).unwrap_or((line, b""));
    let start = rest.iter().position(|&b| b != b' ').unwrap_or(rest.len());
    (word.to_ascii_lowercase(), rest.get(start..).unwrap_or_default())
}
