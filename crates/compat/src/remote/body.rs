//! A message's lines on their way into SMTP DATA (RFC 5321 4.5.2). Called by qmail-remote and serialsmtp; never writes the final dot.

use std::io::{self, Read, Write};

const BUFFER_BYTES: usize = 8192;

/// Why the body did not go out.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The message cannot be read.
    Read,
    /// The other side is gone.
    Write,
    /// The last line has no end; SMTP cannot say that.
    Partial,
}

/// Each LF, CR and CR LF becomes CR LF, a dot at a line's start two. A bare CR must not pass: some receivers take it for the end of a line, and
/// a dot behind it for the end of the message.
pub(crate) fn send(message: &mut impl Read, out: &mut impl Write) -> Result<(), BodyError> {
    let mut lines = Lines { at_start: true, after_cr: false };
    let mut buffer = [0u8; BUFFER_BYTES];
    let mut wire = Vec::with_capacity(2 * BUFFER_BYTES);
    loop {
        let got = match message.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(BodyError::Read),
        };
        wire.clear();
        for &byte in buffer.iter().take(got) {
            lines.push(byte, &mut wire);
        }
        out.write_all(&wire).map_err(|_| BodyError::Write)?;
    }
    if lines.at_start { Ok(()) } else { Err(BodyError::Partial) }
}

struct Lines {
    at_start: bool,
    after_cr: bool,
}

impl Lines {
    fn push(&mut self, byte: u8, wire: &mut Vec<u8>) {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => {}
            b'\r' | b'\n' => {
                wire.extend_from_slice(b"\r\n");
                self.at_start = true;
            }
            _ => {
                if self.at_start && byte == b'.' {
                    wire.push(b'.');
                }
                wire.push(byte);
                self.at_start = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(message: &str) -> String {
        let mut out = Vec::new();
        send(&mut message.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn line_ends_and_dots() {
        assert_eq!(sent(""), "");
        assert_eq!(sent("a\rb\nc\r\nd\n"), "a\r\nb\r\nc\r\nd\r\n");
        assert_eq!(sent(".\n..\na.\n\r.\r\r\n"), "..\r\n...\r\na.\r\n\r\n..\r\n\r\n");
        assert_eq!(sent(&"x\r\n".repeat(5000)), "x\r\n".repeat(5000));
    }

    #[test]
    fn a_partial_final_line_is_told() {
        assert!(matches!(send(&mut &b"a\nb"[..], &mut Vec::new()), Err(BodyError::Partial)));
    }
}
