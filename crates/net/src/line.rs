//! Lines of bounded length from a stream: the client side of SMTP reads replies with it. Small at rest, never more than the limit.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// First size of the buffer; it grows to the limit only for a longer line.
const BUFFER_BYTES: usize = 1024;

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// One line without its CRLF or LF.
    Text(&'a [u8]),
    /// A line beyond the limit; it was read to its end and thrown away.
    TooLong,
    /// The peer closed. Bytes without a line end before that are dropped.
    End,
}

/// Reads lines; what follows a line stays for the next.
#[derive(Debug)]
pub struct LineReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    line_bytes_max: usize,
    skipping: bool,
}

impl LineReader {
    /// Lines of at most `line_bytes_max` bytes with their line end.
    #[must_use]
    pub fn new(line_bytes_max: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, end: 0, line_bytes_max: line_bytes_max.max(2), skipping: false }
    }

    /// Bytes read but not handed out yet. STARTTLS must find none.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Forgets what was read ahead (STARTTLS).
    pub fn clear(&mut self) {
        (self.start, self.end, self.skipping) = (0, 0, false);
    }

    /// The next line. Cancel-safe: what was read stays.
    pub async fn next<R: AsyncRead + Unpin>(&mut self, stream: &mut R) -> io::Result<Line<'_>> {
        let mut searched = 0usize;
        loop {
            let fresh = self.rest().get(searched..).unwrap_or_default();
            if let Some(at) = memchr::memchr(b'\n', fresh) {
                let from = self.start;
                let to = from.saturating_add(searched).saturating_add(at);
                self.start = to.saturating_add(1);
                let too_long = std::mem::take(&mut self.skipping) || self.start.saturating_sub(from) > self.line_bytes_max;
                let line = self.buffer.get(from..to).unwrap_or_default();
                return Ok(if too_long { Line::TooLong } else { Line::Text(line.strip_suffix(b"\r").unwrap_or(line)) });
            }
            searched = self.end.saturating_sub(self.start);
            if searched >= self.line_bytes_max {
                self.skipping = true;
                (self.start, self.end, searched) = (0, 0, 0);
            }
            self.make_room();
            let room = self.buffer.get_mut(self.end..).unwrap_or_default();
            match stream.read(room).await? {
                0 => return Ok(Line::End),
                n => self.end = self.end.saturating_add(n),
            }
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let size = self.buffer.len().saturating_mul(2).clamp(BUFFER_BYTES, self.line_bytes_max.max(BUFFER_BYTES));
            self.buffer.resize(size, 0);
        }
    }
}

#[cfg(test)]
mod tests;
