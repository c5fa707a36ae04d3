//! What came from the server and was not used yet: bounded lines, or raw bytes. Used by the two sessions; does no I/O.

use crate::session::Broken;

/// Longest line that is understood, bytes, with its end. A listing's line is far shorter; so is a line of capabilities.
pub(crate) const LINE_BYTES_MAX: usize = 64 * 1024;

/// The bytes.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    bytes: Vec<u8>,
    at: usize,
    /// Bytes from `at` on that hold no LF.
    searched: usize,
}

impl Feed {
    /// Adds what was read. The caller takes everything out before it reads again, so no more than a line and a read lie here.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// The next line without its CRLF (or LF); `None` while it is not whole.
    pub(crate) fn line(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let fresh = self.rest().get(self.searched..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', fresh) else {
            self.searched = self.rest().len();
            return if self.searched >= LINE_BYTES_MAX { Err(Broken::LongLine) } else { Ok(None) };
        };
        let end = self.searched.saturating_add(at);
        self.searched = 0;
        if end >= LINE_BYTES_MAX {
            return Err(Broken::LongLine);
        }
        let line = self.rest().get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        self.at = self.at.saturating_add(end).saturating_add(1);
        Ok(Some(line))
    }

    /// Up to `max` raw bytes, handed to `take`, which says how many of them it used.
    pub(crate) fn raw(&mut self, max: u64, take: impl FnOnce(&[u8]) -> usize) {
        let rest = self.rest();
        let n = usize::try_from(max).unwrap_or(usize::MAX).min(rest.len());
        let used = take(rest.get(..n).unwrap_or_default()).min(n);
        self.at = self.at.saturating_add(used);
        self.searched = 0;
    }
}
