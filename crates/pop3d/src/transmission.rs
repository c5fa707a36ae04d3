//! A stored message as it goes over the wire: LF becomes CRLF, a leading dot is doubled, a missing last line end is added, `.` ends it
//! (RFC 1939 3). One pass, any chunking. RETR and TOP use it; it reads nothing by itself.

/// Turns the chunks of one message into a multi-line response body.
#[derive(Debug, Clone)]
pub struct Transmission {
    /// The next byte is the first of a line.
    line_start: bool,
    /// The line so far holds nothing but, perhaps, one CR.
    line_empty: bool,
    /// The last byte was CR.
    after_cr: bool,
    part: Part,
}

/// How much of the message is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// TOP: still in the header; then so many lines of the body.
    Header(u64),
    /// TOP: so many lines of the body are left.
    Body(u64),
    /// TOP has what it asked for.
    Done,
}

impl Transmission {
    /// RETR: everything.
    #[must_use]
    pub fn whole() -> Self {
        Self { line_start: true, line_empty: true, after_cr: false, part: Part::Whole }
    }

    /// TOP: the header, the empty line and `body_lines` lines.
    #[must_use]
    pub fn top(body_lines: u64) -> Self {
        Self { part: Part::Header(body_lines), ..Self::whole() }
    }

    /// True when TOP needs no more of the message.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Appends `chunk` to `out` in its wire form.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        // Lines of mail are long enough that a sixteenth covers the added CRs; more is grown when needed.
        out.reserve(chunk.len().saturating_add(chunk.len() / 16));
        let mut rest = chunk;
        while !rest.is_empty() && self.part != Part::Done {
            match memchr::memchr(b'\n', rest).and_then(|at| rest.split_at_checked(at)) {
                Some((line, end)) => {
                    self.text(line, out);
                    self.line_end(out);
                    rest = end.get(1..).unwrap_or_default();
                }
                None => {
                    self.text(rest, out);
                    break;
                }
            }
        }
    }

    /// Ends the response: the last line's end if it lacks one, then the dot.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !self.line_start {
            self.line_end(out);
        }
        out.extend_from_slice(b".\r\n");
    }

    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        let (Some(&first), Some(&last)) = (text.first(), text.last()) else { return };
        if self.line_start && first == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(text);
        self.line_empty = self.line_empty && self.line_start && text == b"\r";
        self.line_start = false;
        self.after_cr = last == b'\r';
    }

    fn line_end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.after_cr { b"\n" } else { b"\r\n" });
        self.part = match (self.part, self.line_empty) {
            (Part::Header(0), true) | (Part::Body(0 | 1), _) => Part::Done,
            (Part::Header(lines), true) => Part::Body(lines),
            (Part::Body(lines), _) => Part::Body(lines.saturating_sub(1)),
            (other, _) => other,
        };
        (self.line_start, self.line_empty, self.after_cr) = (true, true, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn send(mut t: Transmission, chunks: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        chunks.iter().for_each(|c| t.push(c, &mut out));
        t.finish(&mut out);
        out
    }

    /// What a client makes of a response: RFC 1939 3, the other way round.
    fn receive(wire: &[u8]) -> Vec<u8> {
        let body = wire.strip_suffix(b".\r\n").unwrap();
        let mut message = Vec::new();
        for line in body.split_inclusive(|&b| b == b'\n') {
            assert!(line.ends_with(b"\r\n"));
            assert_ne!(line, b".\r\n", "an early end");
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        }
        message
    }

    #[test]
    fn line_ends_dots_and_the_last_line() {
        let whole = Transmission::whole;
        assert_eq!(send(whole(), &[]), b".\r\n");
        assert_eq!(send(whole(), &[b"a\n\nb\n"]), b"a\r\n\r\nb\r\n.\r\n", "no extra empty line");
        assert_eq!(send(whole(), &[b"a\r\nb"]), b"a\r\nb\r\n.\r\n");
        assert_eq!(send(whole(), &[b".\n..\n.x"]), b"..\r\n...\r\n..x\r\n.\r\n");
        assert_eq!(send(whole(), &[b"a\r", b"\n", b".", b"b\n"]), b"a\r\n..b\r\n.\r\n");
        assert_eq!(send(whole(), &[b"end\r"]), b"end\r\n.\r\n");
        assert_eq!(send(whole(), &[b"a\rb\n"]), b"a\rb\r\n.\r\n", "a bare CR is passed on");
    }

    #[test]
    fn top_counts_body_lines_only() {
        let mail: &[u8] = b"H: 1\nI: 2\n\nb1\n\n.b3\nb4";
        assert_eq!(send(Transmission::top(0), &[mail]), b"H: 1\r\nI: 2\r\n\r\n.\r\n");
        assert_eq!(send(Transmission::top(1), &[mail]), b"H: 1\r\nI: 2\r\n\r\nb1\r\n.\r\n");
        assert_eq!(send(Transmission::top(3), &[mail]), b"H: 1\r\nI: 2\r\n\r\nb1\r\n\r\n..b3\r\n.\r\n");
        assert_eq!(send(Transmission::top(u64::MAX), &[mail]), send(Transmission::whole(), &[mail]));
        assert_eq!(send(Transmission::top(0), &[b"no body\n"]), b"no body\r\n.\r\n");
        assert_eq!(send(Transmission::top(0), &[b"\nbody\n"]), b"\r\n.\r\n");
        assert_eq!(send(Transmission::top(0), &[b"H: 1\r", b"\n\r", b"\nbody\n"]), b"H: 1\r\n\r\n.\r\n");
        assert_eq!(send(Transmission::top(0), &[b"H\n\r\r\nx\n\ny\n"]), b"H\r\n\r\r\nx\r\n\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn the_client_gets_the_message_back(mail in "[a.\r\n]{0,60}", cut in 0usize..60) {
            let mail = mail.as_bytes();
            let (a, b) = mail.split_at(cut.min(mail.len()));
            let wire = send(Transmission::whole(), &[a, b]);
            prop_assert_eq!(&wire, &send(Transmission::whole(), &[mail]));
            let mut expected = Vec::new();
            for line in mail.split_inclusive(|&b| b == b'\n') {
                let text = line.strip_suffix(b"\n").unwrap_or(line);
                expected.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                expected.extend_from_slice(b"\r\n");
            }
            prop_assert_eq!(receive(&wire), expected);
        }

        #[test]
        fn top_is_a_prefix_whatever_the_chunks(mail in "[a.\r\n]{0,60}", cut in 0usize..60, lines in 0u64..5) {
            let mail = mail.as_bytes();
            let (a, b) = mail.split_at(cut.min(mail.len()));
            let top = send(Transmission::top(lines), &[a, b]);
            prop_assert_eq!(&top, &send(Transmission::top(lines), &[mail]));
            let whole = send(Transmission::whole(), &[mail]);
            prop_assert!(whole.starts_with(top.strip_suffix(b".\r\n").unwrap()));
        }
    }
}
