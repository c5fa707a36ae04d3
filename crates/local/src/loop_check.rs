//! Looks for a line in a message's header: a second delivery at the same place is a loop. Called before every local delivery; reads no further
//! than the header's end and keeps nothing of it.

use std::io;

/// How lines are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    /// Byte for byte (qmail-local).
    Exact,
    /// ASCII letters fold (vdelivermail).
    FoldCase,
}

/// A running search, fed with a message's bytes in order.
#[derive(Debug)]
pub struct LineSearch<'a> {
    wanted: &'a [u8],
    compare: Compare,
    /// Bytes of the current line so far.
    column: usize,
    /// The current line is so far equal to the wanted one.
    same: bool,
    state: Search,
}

/// How a search stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Still in the header.
    Going,
    /// The line is there.
    Found,
    /// The header is over without it.
    Absent,
}

impl<'a> LineSearch<'a> {
    /// Looks for `wanted`, given with its LF.
    #[must_use]
    pub fn new(wanted: &'a [u8], compare: Compare) -> Self {
        Self { wanted, compare, column: 0, same: true, state: Search::Going }
    }

    /// Takes the next bytes; once it is not [`Search::Going`], nothing more is needed.
    pub fn feed(&mut self, bytes: &[u8]) -> Search {
        let mut rest = bytes;
        while self.state == Search::Going && !rest.is_empty() {
            let end = rest.iter().position(|&b| b == b'\n').map_or(rest.len(), |i| i + 1);
            let (piece, tail) = rest.split_at_checked(end).unwrap_or((rest, b""));
            self.piece(piece);
            rest = tail;
        }
        self.state
    }

    fn piece(&mut self, piece: &[u8]) {
        let ended = piece.last() == Some(&b'\n');
        if ended && piece.len() == 1 && self.column == 0 {
            self.state = Search::Absent;
            return;
        }
        let next = self.column.saturating_add(piece.len());
        self.same = self.same && self.wanted.get(self.column..next).is_some_and(|part| self.equal(part, piece));
        self.column = next;
        if ended {
            if self.same && self.column == self.wanted.len() {
                self.state = Search::Found;
            }
            (self.column, self.same) = (0, true);
        }
    }

    fn equal(&self, a: &[u8], b: &[u8]) -> bool {
        match self.compare {
            Compare::Exact => a == b,
            Compare::FoldCase => a.eq_ignore_ascii_case(b),
        }
    }
}

/// Searches what `read_at` gives from offset 0 on; `read_at` returns 0 at the end.
pub fn search(mut line: LineSearch<'_>, mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<usize>) -> io::Result<bool> {
    let mut buffer = [0u8; 8192];
    let mut offset = 0u64;
    loop {
        let n = read_at(offset, &mut buffer)?;
        let state = line.feed(buffer.get(..n).unwrap_or_default());
        if n == 0 || state != Search::Going {
            return Ok(state == Search::Found);
        }
        offset = offset.saturating_add(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(wanted: &[u8], compare: Compare, message: &[u8]) -> bool {
        let whole = LineSearch::new(wanted, compare).feed(message);
        for cut in 0..message.len() {
            let mut search = LineSearch::new(wanted, compare);
            search.feed(&message[..cut]);
            assert_eq!(search.feed(&message[cut..]), whole, "cut at {cut}");
        }
        whole == Search::Found
    }

    #[test]
    fn only_the_whole_line_in_the_header_counts() {
        let line = b"Delivered-To: a@x\n";
        assert!(found(line, Compare::Exact, b"X: y\nDelivered-To: a@x\nZ: 1\n\nbody\n"));
        assert!(!found(line, Compare::Exact, b"X: y\n\nDelivered-To: a@x\n"));
        assert!(!found(line, Compare::Exact, b"\nDelivered-To: a@x\n"));
        assert!(!found(line, Compare::Exact, b"Delivered-To: a@x.y\nXDelivered-To: a@x\nDelivered-To: a@x"));
        assert!(!found(line, Compare::Exact, b"delivered-to: a@x\n"));
        assert!(found(line, Compare::FoldCase, b"delivered-to: A@X\n"));
    }
}
