//! A message's bytes on their way in: POP3's dots taken off again (RFC 1939 3), CRLF made LF as the queue keeps it. Used by the sessions; keeps one
//! or two bytes between calls, never a message.

/// Where the POP3 reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning of a line.
    Start,
    /// After a dot at the beginning of a line.
    Dot,
    /// After a dot and CR at the beginning of a line.
    DotCr,
    /// Within a line.
    Text,
    /// After a CR within a line.
    Cr,
}

/// Reads a multi-line answer. Only CRLF ends a line: were a bare LF taken for one, a sender could end his message before its end and speak for the
/// server afterwards.
#[derive(Debug)]
pub(crate) struct Unstuff {
    place: Place,
}

impl Unstuff {
    pub(crate) fn new() -> Self {
        Self { place: Place::Start }
    }

    /// Appends what `input` holds of the message to `out`. How many bytes were used, and whether the final dot was among them.
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, bool) {
        let mut at = 0usize;
        while let Some(&b) = input.get(at) {
            if self.place == Place::Text {
                let rest = input.get(at..).unwrap_or_default();
                let run = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
                out.extend_from_slice(rest.get(..run).unwrap_or_default());
                at = at.saturating_add(run);
                if at < input.len() {
                    self.place = Place::Cr;
                    at = at.saturating_add(1);
                }
                continue;
            }
            at = at.saturating_add(1);
            if self.step(b, out) {
                self.place = Place::Start;
                return (at, true);
            }
        }
        (at, false)
    }

    /// One byte outside the text of a line; true for the end of the answer.
    fn step(&mut self, b: u8, out: &mut Vec<u8>) -> bool {
        self.place = match (self.place, b) {
            (Place::Start, b'.') => Place::Dot,
            (Place::Dot, b'\r') => Place::DotCr,
            (Place::DotCr, b'\n') => return true,
            (Place::Cr, b'\n') => {
                out.push(b'\n');
                Place::Start
            }
            (Place::Start, b'\r') => Place::Cr,
            (Place::Cr | Place::DotCr, b'\r') => {
                out.push(b'\r');
                Place::Cr
            }
            (Place::Cr | Place::DotCr, _) => {
                out.extend_from_slice(&[b'\r', b]);
                Place::Text
            }
            _ => {
                out.push(b);
                Place::Text
            }
        };
        false
    }
}

/// CRLF to LF; a lone CR stays.
#[derive(Debug, Default)]
pub(crate) struct LineEnds {
    cr: bool,
}

impl LineEnds {
    pub(crate) fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        while let Some(&first) = rest.first() {
            if std::mem::take(&mut self.cr) && first != b'\n' {
                out.push(b'\r');
            }
            let run = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
            out.extend_from_slice(rest.get(..run).unwrap_or_default());
            self.cr = run < rest.len();
            rest = rest.get(run.saturating_add(1)..).unwrap_or_default();
        }
    }

    /// The message is over.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.cr) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unstuffed(input: &[u8]) -> (Vec<u8>, Option<usize>) {
        let mut whole = Vec::new();
        let (used, ended) = Unstuff::new().feed(input, &mut whole);
        for cut in 0..=input.len() {
            let (mut reader, mut out) = (Unstuff::new(), Vec::new());
            let (first, mut done) = reader.feed(&input[..cut], &mut out);
            let mut total = first;
            if !done {
                let (second, end) = reader.feed(&input[cut..], &mut out);
                (total, done) = (first + second, end);
            }
            assert_eq!((total, done, &out), (used, ended, &whole), "cut at {cut}");
        }
        (whole, ended.then_some(used))
    }

    #[test]
    fn dots_and_line_ends() {
        assert_eq!(unstuffed(b"a\r\n..b\r\n.c\r\n.\r\n+OK"), (b"a\n.b\nc\n".to_vec(), Some(15)));
        assert_eq!(unstuffed(b".\r\n"), (b"".to_vec(), Some(3)));
        assert_eq!(unstuffed(b"a\r\r\nb\rc\r\n"), (b"a\r\nb\rc\n".to_vec(), None));
        assert_eq!(unstuffed(b"\r\n\r\n.\r\r\n.\r\n"), (b"\n\n\r\n".to_vec(), Some(11)));
        assert_eq!(unstuffed(b".\rx\r\n.\r\n"), (b"\rx\n".to_vec(), Some(8)));
    }

    #[test]
    fn a_bare_lf_before_a_dot_ends_nothing() {
        assert_eq!(unstuffed(b"a\n.\r\nb\n.\nc\r\n.\r\n"), (b"a\n.\nb\n.\nc\n".to_vec(), Some(15)));
    }

    #[test]
    fn line_ends_of_a_literal() {
        let input = b"a\r\nb\rc\r\r\nd\r";
        for cut in 0..=input.len() {
            let (mut ends, mut out) = (LineEnds::default(), Vec::new());
            ends.feed(&input[..cut], &mut out);
            ends.feed(&input[cut..], &mut out);
            ends.end(&mut out);
            assert_eq!(out, b"a\nb\rc\r\nd\r", "cut at {cut}");
        }
    }
}
