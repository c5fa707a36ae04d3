//! The body as it goes on the wire after 354 (RFC 5321 4.5.2): CRLF line ends only, leading dots doubled, final dot. Fed by `remote` with
//! chunks of any size; never lets a bare CR or LF out, so no receiver can see an end of data that we did not mean (SMTP smuggling).

/// Streaming encoder, state kept across chunks. A stored CR, LF or CRLF each become one CRLF (as notqmail's qmail-remote does).
#[derive(Debug)]
pub struct BodyEncoder {
    line_start: bool,
    after_cr: bool,
}

impl Default for BodyEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl BodyEncoder {
    /// At the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self { line_start: true, after_cr: false }
    }

    /// Appends the wire form of `input` to `out`.
    pub fn encode(&mut self, input: &[u8], out: &mut Vec<u8>) {
        out.reserve(input.len() + input.len() / 16 + 8);
        let mut rest = input;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(&first) = rest.first() {
            if self.line_start && first == b'.' {
                out.push(b'.');
            }
            let Some(end) = memchr::memchr2(b'\r', b'\n', rest) else {
                out.extend_from_slice(rest);
                self.line_start = false;
                return;
            };
            let (line, tail) = rest.split_at(end);
            out.extend_from_slice(line);
            out.extend_from_slice(b"\r\n");
            self.line_start = true;
            rest = match tail {
                [b'\r', b'\n', after @ ..] => after,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, after @ ..] => after,
                [] => &[],
            };
        }
    }

    /// Appends the end: a missing last line end is supplied, then `.` CRLF.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        *self = Self::new();
    }
}
