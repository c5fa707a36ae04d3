//! A message on its way to a POP3 client: CR LF line ends, dots stuffed, and for TOP only the first lines of the body. Called by the session; keeps
//! no line, so that a line's length costs nothing.

use crate::session::net::Gone;
use std::io::{ErrorKind, Read};

/// Sends the header, the empty line and `lines` lines of the body, or everything. A last line without an end gets one.
pub(super) fn blast(mut message: impl Read, lines: Option<u64>, say: &mut dyn FnMut(&[u8]) -> Result<(), Gone>) -> Result<(), Gone> {
    let mut state = Blast { at_start: true, in_header: true, lines };
    let mut buffer = vec![0u8; 16_384];
    loop {
        let n = match message.read(&mut buffer) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other.map_err(|_| Gone::Closed)?,
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        if n == 0 {
            return if state.at_start { Ok(()) } else { say(b"\r\n") };
        }
        while !rest.is_empty() {
            let lf = rest.iter().position(|&b| b == b'\n');
            let part = rest.get(..lf.unwrap_or(rest.len())).unwrap_or_default();
            if !state.part(part, lf.is_some(), say)? {
                return Ok(());
            }
            rest = rest.get(part.len() + usize::from(lf.is_some())..).unwrap_or_default();
        }
    }
}

struct Blast {
    at_start: bool,
    in_header: bool,
    /// Lines of the body still to send.
    lines: Option<u64>,
}

impl Blast {
    /// A line or a part of one; false when enough was said.
    fn part(&mut self, part: &[u8], ends: bool, say: &mut dyn FnMut(&[u8]) -> Result<(), Gone>) -> Result<bool, Gone> {
        if self.at_start {
            if !self.in_header && self.lines == Some(0) {
                return Ok(false);
            }
            if !self.in_header {
                self.lines = self.lines.map(|n| n - 1);
            }
            match part.first() {
                None if ends => self.in_header = false,
                Some(b'.') => say(b".")?,
                _ => {}
            }
        }
        say(part)?;
        if ends {
            say(b"\r\n")?;
        }
        self.at_start = ends;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut buffer[..1])
        }
    }

    fn show(message: &str, lines: Option<u64>) -> String {
        let (mut out, mut slow) = (Vec::new(), Vec::new());
        let mut keep = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        blast(message.as_bytes(), lines, &mut keep).expect("no client to lose");
        let mut keep = |bytes: &[u8]| {
            slow.extend_from_slice(bytes);
            Ok(())
        };
        blast(Slow(message.as_bytes()), lines, &mut keep).expect("no client to lose");
        assert_eq!(out, slow);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_and_dots() {
        assert_eq!(show("a: b\n\n.c\n..\nd", None), "a: b\r\n\r\n..c\r\n...\r\nd\r\n");
        assert_eq!(show("a: b\n\nc\nd\n", Some(0)), "a: b\r\n\r\n");
        assert_eq!(show("a: b\n\nc\nd\n", Some(1)), "a: b\r\n\r\nc\r\n");
        assert_eq!(show("a: b\n\n\n.d\n", Some(9)), "a: b\r\n\r\n\r\n..d\r\n");
        assert_eq!(show("", None), "");
    }
}
