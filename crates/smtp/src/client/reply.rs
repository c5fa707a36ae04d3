//! Replies of a remote server (RFC 5321 4.2), read byte by byte in bounded memory. Called by the client session; never trusts a length,
//! a code or a text, and never gives out a control byte.

use postino_types::status::{self, EnhancedStatus};

/// Longest reply line kept, in bytes; what comes after is counted and dropped (RFC 5321 4.5.3.1.5 allows 512).
pub const LINE_BYTES_MAX: usize = 4096;
/// Longest reply kept, all lines together, in bytes (qmail-remote's limit); what comes after is counted and dropped.
pub const REPLY_BYTES_MAX: usize = 5000;
/// Longest reply read at all, in bytes: a server that talks on is broken, and the connection is given up.
pub const REPLY_BYTES_READ_MAX: u64 = 1 << 20;

/// Why bytes are not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not begin with a code 200 … 599 (RFC 5321 4.2.1).
    #[error("reply without a valid code")]
    BadCode,
    /// The code is followed by something else than a space, a hyphen or the end of the line.
    #[error("reply code with garbage behind it")]
    BadSeparator,
    /// The lines of one reply carry different codes.
    #[error("reply lines with different codes")]
    CodeChanged,
    /// More than [`REPLY_BYTES_READ_MAX`] bytes.
    #[error("endless reply")]
    Endless,
}

/// One whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The code, 200 … 599.
    pub code: u16,
    /// All lines with their codes, each ended by LF, CR removed, every byte outside printable ASCII shown as `?`; at most
    /// [`REPLY_BYTES_MAX`] bytes.
    pub text: String,
    /// Bytes that did not fit.
    pub dropped_bytes: u64,
}

impl Reply {
    /// True for 2xx.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// True for 3xx.
    #[must_use]
    pub fn is_intermediate(&self) -> bool {
        (300..400).contains(&self.code)
    }

    /// True for 5xx.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// The enhanced status code of the first line (RFC 2034 4), if its class agrees with the code.
    #[must_use]
    pub fn enhanced(&self) -> Option<EnhancedStatus> {
        let text = self.lines().next()?;
        status::parse(text).filter(|s| u16::from(s.class) == self.code / 100)
    }

    /// The texts of the lines, without codes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(|line| line.get(4..).unwrap_or(""))
    }
}

/// Collects bytes into replies.
#[derive(Debug, Default)]
pub struct ReplyReader {
    line: Vec<u8>,
    text: String,
    code: Option<u16>,
    read_bytes: u64,
    dropped_bytes: u64,
}

impl ReplyReader {
    /// Takes bytes up to the end of one reply. The number of bytes used comes back, and the reply if it is whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(usize, Option<Reply>), ReplyError> {
        let mut used = 0usize;
        while let Some(rest) = bytes.get(used..).filter(|r| !r.is_empty()) {
            let end = memchr::memchr(b'\n', rest);
            let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
            let taken = piece.len() + usize::from(end.is_some());
            used += taken;
            self.read_bytes = self.read_bytes.saturating_add(taken as u64);
            if self.read_bytes > REPLY_BYTES_READ_MAX {
                return Err(ReplyError::Endless);
            }
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            let kept = piece.get(..piece.len().min(room)).unwrap_or_default();
            self.line.extend_from_slice(kept);
            self.dropped_bytes = self.dropped_bytes.saturating_add((piece.len() - kept.len()) as u64);
            if end.is_some()
                && let Some(reply) = self.end_of_line()?
            {
                return Ok((used, Some(reply)));
            }
        }
        Ok((used, None))
    }

    /// True while part of a reply is held.
    #[must_use]
    pub fn is_within_reply(&self) -> bool {
        self.read_bytes > 0
    }

    fn end_of_line(&mut self) -> Result<Option<Reply>, ReplyError> {
        let mut line = std::mem::take(&mut self.line);
        let outcome = self.take_line(&line);
        line.clear();
        self.line = line; // the buffer is used again for the next line
        let (code, last) = outcome?;
        if !last {
            self.code = Some(code);
            return Ok(None);
        }
        let reply = Reply { code, text: std::mem::take(&mut self.text), dropped_bytes: self.dropped_bytes };
        self.code = None;
        self.read_bytes = 0;
        self.dropped_bytes = 0;
        Ok(Some(reply))
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(u16, bool), ReplyError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let code = parse_code(line)?;
        if self.code.is_some_and(|c| c != code) {
            return Err(ReplyError::CodeChanged);
        }
        let last = match line.get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return Err(ReplyError::BadSeparator),
        };
        self.keep(line);
        Ok((code, last))
    }

    fn keep(&mut self, line: &[u8]) {
        let mut kept = 0usize;
        for &b in line.iter().filter(|&&b| b != b'\r') {
            if self.text.len() + 1 >= REPLY_BYTES_MAX {
                break;
            }
            self.text.push(if (32..127).contains(&b) { char::from(b) } else { '?' });
            kept += 1;
        }
        self.dropped_bytes = self.dropped_bytes.saturating_add(line.len().saturating_sub(kept) as u64);
        if self.text.len() < REPLY_BYTES_MAX && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }
}

fn parse_code(line: &[u8]) -> Result<u16, ReplyError> {
    let digits = line.get(..3).ok_or(ReplyError::BadCode)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ReplyError::BadCode);
    }
    let code = digits.iter().fold(0u16, |n, &d| n * 10 + u16::from(d - b'0'));
    if (200..600).contains(&code) { Ok(code) } else { Err(ReplyError::BadCode) }
}
