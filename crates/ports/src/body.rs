//! A message's bytes as they lie in the queue or a mailbox: small ones in memory, large ones behind a file. Lines end with LF.

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Immutable bytes, cheap to clone. Never held whole in memory above 64 KiB unless it came so.
#[derive(Debug, Clone)]
pub enum Body {
    /// All of it.
    Memory(Bytes),
    /// A range of a file that nobody changes.
    File {
        /// Opened for reading.
        file: Arc<File>,
        /// First byte.
        start: u64,
        /// Length in bytes.
        bytes: u64,
    },
}

impl Body {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(b) => b.len() as u64,
            Self::File { bytes, .. } => *bytes,
        }
    }
    /// True when there is not one byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads at `offset` into `buffer`; 0 at the end. Blocks on the disk for `File` (call it where blocking is allowed).
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(b) => {
                let rest = usize::try_from(offset).ok().and_then(|o| b.get(o..)).unwrap_or_default();
                let n = rest.len().min(buffer.len());
                if let (Some(to), Some(from)) = (buffer.get_mut(..n), rest.get(..n)) {
                    to.copy_from_slice(from);
                }
                Ok(n)
            }
            Self::File { file, start, bytes } => {
                let left = bytes.saturating_sub(offset);
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                let Some(part) = buffer.get_mut(..n) else { return Ok(0) };
                if part.is_empty() { Ok(0) } else { file.read_at(part, start.saturating_add(offset)) }
            }
        }
    }
    /// Calls `take` with every chunk in order (64 KiB at most for files). Blocks on the disk for `File`.
    pub fn for_each_chunk(&self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if let Self::Memory(b) = self {
            return take(b);
        }
        let mut buffer = vec![0u8; 65536];
        let mut offset = 0u64;
        while offset < self.len() {
            let n = self.read_at(offset, &mut buffer)?;
            if n == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            take(buffer.get(..n).unwrap_or_default())?;
            offset = offset.saturating_add(n as u64);
        }
        Ok(())
    }
}
