//! The read buffer of one session: small while it idles, large while content comes in, decoded in place. Used by `serve` only.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Room offered to a read between commands, bytes.
const IDLE_BYTES: usize = 2048;
/// Room offered to a read of content, bytes: what one system call fetches.
const CONTENT_BYTES: usize = 65536;

/// How much a read may fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// Commands: [`IDLE_BYTES`].
    Commands,
    /// Content: [`CONTENT_BYTES`].
    Content,
}

/// Bytes read and not used yet.
#[derive(Default)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    start: usize,
}

impl ReadBuffer {
    /// What is there.
    pub(crate) fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..).unwrap_or_default()
    }

    /// Drops `n` bytes from the front.
    pub(crate) fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.clear();
        }
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
    }

    /// Makes room before waiting: an idle session keeps [`IDLE_BYTES`] only.
    pub(crate) fn prepare(&mut self, room: Room) {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        match room {
            Room::Content => self.bytes.reserve(CONTENT_BYTES.saturating_sub(self.bytes.len()).max(IDLE_BYTES)),
            Room::Commands => {
                if self.bytes.len() < IDLE_BYTES && self.bytes.capacity() > 2 * IDLE_BYTES {
                    self.bytes.shrink_to(IDLE_BYTES);
                }
                if self.bytes.capacity().saturating_sub(self.bytes.len()) < IDLE_BYTES / 4 {
                    self.bytes.reserve(IDLE_BYTES);
                }
            }
        }
    }

    /// Reads once; 0 at the end of the stream. Cancel-safe.
    pub(crate) async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<usize> {
        from.read_buf(&mut self.bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_little_while_idle() {
        let mut buffer = ReadBuffer::default();
        buffer.prepare(Room::Content);
        let big = vec![b'x'; 60_000];
        let mut from: &[u8] = &big;
        while buffer.fill(&mut from).await.unwrap() > 0 {}
        assert_eq!(buffer.unread().len(), 60_000);
        buffer.consume(59_990);
        buffer.prepare(Room::Commands);
        assert_eq!(buffer.unread(), b"xxxxxxxxxx");
        assert!(buffer.bytes.capacity() <= 2 * IDLE_BYTES, "{}", buffer.bytes.capacity());
    }
}
