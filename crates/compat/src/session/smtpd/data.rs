//! The text after DATA: CR LF becomes LF, dots are unstuffed, hops and bytes are counted, and a bare LF ends the session: it is how messages are
//! smuggled in. Called by the session with the message going straight to the queue; keeps no more of it than a buffer.

use crate::qq::Qq;
use crate::session::net::{Gone, Net};

/// How the text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blasted {
    /// With CR LF dot CR LF.
    Whole,
    /// At a bare LF.
    BareLf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Line,
    LineStart,
    Dot,
    DotCr,
    Cr,
}

/// The decoder.
#[derive(Debug)]
pub(super) struct Blast {
    state: State,
    hops: Hops,
    limit: u64,
    bytes: u64,
}

impl Blast {
    /// At most `limit` bytes after decoding; 0: any number.
    pub(super) fn new(limit: u64) -> Self {
        Self { state: State::LineStart, hops: Hops::new(), limit: if limit == 0 { u64::MAX } else { limit }, bytes: 0 }
    }

    /// Received and Delivered-To lines in the header.
    pub(super) fn hops(&self) -> usize {
        self.hops.count
    }

    /// More than the limit has come.
    pub(super) fn is_too_long(&self) -> bool {
        self.bytes > self.limit
    }

    /// Decodes up to the end of the text or of `input` into `out`; says how much it took, and how the text ended if it did.
    fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Option<Blasted>) {
        let before = out.len();
        let mut ended = None;
        let mut taken = 0;
        for &b in input {
            taken += 1;
            self.hops.byte(b);
            ended = self.byte(b, out);
            if ended.is_some() {
                break;
            }
        }
        self.bytes = self.bytes.saturating_add((out.len() - before) as u64);
        (taken, ended)
    }

    fn byte(&mut self, b: u8, out: &mut Vec<u8>) -> Option<Blasted> {
        self.state = match (self.state, b) {
            (State::DotCr, b'\n') => return Some(Blasted::Whole),
            (State::Cr, b'\n') => {
                out.push(b'\n');
                State::LineStart
            }
            (_, b'\n') => return Some(Blasted::BareLf),
            (State::LineStart, b'.') => State::Dot,
            (State::Dot, b'\r') => State::DotCr,
            (State::Line | State::LineStart, b'\r') => State::Cr,
            (State::Cr, b'\r') => {
                out.push(b'\r');
                State::Cr
            }
            (State::DotCr, b'\r') => {
                out.extend_from_slice(b".\r");
                State::Cr
            }
            (held, b) => {
                match held {
                    State::Cr => out.push(b'\r'),
                    State::DotCr => out.extend_from_slice(b".\r"),
                    State::Line | State::LineStart | State::Dot => {}
                }
                out.push(b);
                State::Line
            }
        };
        None
    }
}

/// Counts header lines by their first bytes, in any mixture of cases, of what comes over the wire.
#[derive(Debug)]
struct Hops {
    count: usize,
    start: [u8; 9],
    column: usize,
    in_header: bool,
}

impl Hops {
    fn new() -> Self {
        Self { count: 0, start: [0; 9], column: 0, in_header: true }
    }

    fn byte(&mut self, b: u8) {
        if !self.in_header {
            return;
        }
        if let Some(place) = self.start.get_mut(self.column) {
            *place = b.to_ascii_lowercase();
            self.column += 1;
            let seen = self.start.get(..self.column).unwrap_or_default();
            if seen == b"received" || seen == b"delivered" {
                self.count += 1;
            } else if seen == b"\r\n" {
                self.in_header = false;
            }
        }
        if b == b'\n' {
            self.column = 0;
        }
    }
}

/// Reads the text from the client into the queue. After too many bytes nothing is passed on any more.
pub(super) fn read(net: &mut Net, blast: &mut Blast, qq: &mut Qq) -> Result<Blasted, Gone> {
    let mut out = Vec::new();
    loop {
        let input = net.available()?;
        let (taken, ended) = blast.feed(input, &mut out);
        net.take(taken);
        if blast.is_too_long() {
            qq.fail();
        }
        qq.put(&out);
        out.clear();
        if let Some(how) = ended {
            return Ok(how);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &[u8]) -> (Vec<u8>, Option<Blasted>, usize) {
        let mut whole = Vec::new();
        let mut blast = Blast::new(0);
        let (taken, ended) = blast.feed(text, &mut whole);
        // Byte by byte it must come out the same.
        let mut single = Vec::new();
        let mut slow = Blast::new(0);
        let slowly = text.iter().find_map(|&b| slow.feed(&[b], &mut single).1);
        assert_eq!((&whole, ended, blast.hops()), (&single, slowly, slow.hops()));
        (whole, ended, taken)
    }

    #[test]
    fn line_ends_and_dots() {
        let good = |text: &[u8], message: &[u8]| {
            assert_eq!(decode(text), (message.to_vec(), Some(Blasted::Whole), text.len()));
        };
        good(b"a\r\nb\r\n.\r\n", b"a\nb\n");
        good(b".\r\n", b"");
        good(b"..\r\n.a\r\n...\r\n.\r\n", b".\na\n..\n");
        good(b"a\rb\r\r\n.\rx\r\n.\r\r\n.\r\n", b"a\rb\r\n.\rx\n.\r\n");
        for stray in [&b"a\n"[..], b"\n", b".\n", b"a\r\n.\n", b"a\n.\r\n", b"a\r\n\n.\r\n"] {
            assert_eq!(decode(stray).1, Some(Blasted::BareLf));
        }
    }

    #[test]
    fn hops_and_bytes() {
        let mut blast = Blast::new(20);
        let text = b"RECEIVED: a\r\nreCeivedx: b\r\nDelivered-To: c\r\nx: received\r\n\r\nReceived: d\r\n.\r\n";
        blast.feed(text, &mut Vec::new());
        assert_eq!(blast.hops(), 3);
        assert!(blast.is_too_long());
        let mut blast = Blast::new(2);
        blast.feed(b"a\r\n.\r\n", &mut Vec::new());
        assert!(!blast.is_too_long());
    }
}
