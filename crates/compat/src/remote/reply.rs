//! Replies of an SMTP server (RFC 5321 4.2). Called by qmail-remote and serialsmtp; never judges what a code means.

use std::io::{self, BufRead, Read};

/// Longest line and most lines of a reply; beyond, the other side is no SMTP server.
const LINE_BYTES_MAX: u64 = 64 * 1024;
const LINES_MAX: usize = 1000;

/// A reply, all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The last line's code.
    pub(crate) code: u16,
    /// Its lines without CR, each with its LF, cut at the caller's limit.
    pub(crate) text: Vec<u8>,
}

/// Reads one reply and keeps at most `text_max` bytes of its text. A line without a code is an error as a lost connection is.
pub(crate) fn read(input: &mut impl BufRead, text_max: usize) -> io::Result<Reply> {
    let mut text = Vec::new();
    for _ in 0..LINES_MAX {
        let mut line = Vec::new();
        input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.retain(|&b| b != b'\r');
        let room = text_max.saturating_sub(text.len());
        text.extend(line.iter().take(room));
        let code = code(&line).ok_or(io::ErrorKind::InvalidData)?;
        if line.get(3) != Some(&b'-') {
            return Ok(Reply { code, text });
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

fn code(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3)?;
    digits.iter().try_fold(0u16, |n, b| b.is_ascii_digit().then(|| n * 10 + u16::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_and_no_code() {
        let mut input = &b"250-a\r\n250 b\r\n220\r\n"[..];
        assert_eq!(read(&mut input, 5000).unwrap(), Reply { code: 250, text: b"250-a\n250 b\n".to_vec() });
        assert_eq!(read(&mut input, 2).unwrap(), Reply { code: 220, text: b"22".to_vec() });
        assert!(read(&mut input, 5000).is_err());
        assert!(read(&mut &b"hello\r\n"[..], 5000).is_err());
        assert!(read(&mut &b"250 no end"[..], 5000).is_err());
        assert!(read(&mut b"250-x\r\n".repeat(2000).as_slice(), 10).is_err());
    }
}
