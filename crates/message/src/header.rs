//! Headers: a scanner that is fed chunks and keeps almost nothing (loops, hops, where the header ends), and an iterator over the fields of
//! a header held in memory. Called by smtpd, send and local; never fails: what it does not understand it passes over.

use memchr::memchr;

/// Most fields that [`fields`] yields; what follows is left alone.
pub const FIELDS_MAX: usize = 10_000;

/// Where a scan stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The header goes on.
    More,
    /// The header is over (an empty line was seen); later chunks are passed over.
    Done,
}

/// Reads a header in chunks. Counts hops as qmail-smtpd does (lines that begin with `received` or `delivered`, any case), compares
/// whole lines with one wanted line as qmail-local does, and tells where the header ends.
#[derive(Debug, Clone)]
pub struct HeaderScanner {
    /// The line looked for, with its LF; empty = none.
    wanted: Vec<u8>,
    hops: usize,
    found: bool,
    header_bytes: u64,
    done: bool,
    /// Bytes of the current line so far, saturating.
    line_bytes: usize,
    /// Does the current line still begin like `received`, `delivered`, `wanted`?
    received: bool,
    delivered: bool,
    same: bool,
}

impl Default for HeaderScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderScanner {
    /// Counts hops only.
    #[must_use]
    pub fn new() -> Self {
        Self::watching(Vec::new())
    }

    /// Looks for `line` too, byte for byte (give it with its LF, e.g. `Delivered-To: joe@example.org\n`).
    #[must_use]
    pub fn watching(line: impl Into<Vec<u8>>) -> Self {
        Self {
            wanted: line.into(),
            hops: 0,
            found: false,
            header_bytes: 0,
            done: false,
            line_bytes: 0,
            received: true,
            delivered: true,
            same: true,
        }
    }

    /// Takes the next bytes of the message. How they are cut into chunks makes no difference.
    pub fn feed(&mut self, chunk: &[u8]) -> Progress {
        let mut rest = chunk;
        while !self.done && !rest.is_empty() {
            let end = memchr(b'\n', rest).map_or(rest.len(), |i| i + 1);
            let (piece, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            self.take_piece(piece);
            rest = after;
        }
        if self.done { Progress::Done } else { Progress::More }
    }

    /// Lines that begin with `received` or `delivered`.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.hops
    }

    /// The wanted line was seen.
    #[must_use]
    pub fn found(&self) -> bool {
        self.found
    }

    /// Bytes of the header so far; at the end this includes the empty line.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        self.header_bytes
    }

    /// True when the empty line was seen.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// A piece of one line; holds LF at most as its last byte.
    fn take_piece(&mut self, piece: &[u8]) {
        let before = self.line_bytes;
        self.header_bytes = self.header_bytes.saturating_add(piece.len() as u64);
        self.received = self.received && begins(b"received", before, piece);
        self.delivered = self.delivered && begins(b"delivered", before, piece);
        self.same = self.same && goes_on(&self.wanted, before, piece);
        self.line_bytes = before.saturating_add(piece.len());
        self.count_hop(before);
        if piece.last() == Some(&b'\n') {
            self.end_line();
        }
    }

    /// Counts as soon as the last byte of the name is there, so that a line cut off by the end of the message counts as well.
    fn count_hop(&mut self, before: usize) {
        let crossed = |length: usize| before < length && self.line_bytes >= length;
        if (self.received && crossed(8)) || (self.delivered && crossed(9)) {
            self.hops = self.hops.saturating_add(1);
        }
    }

    fn end_line(&mut self) {
        self.done = self.line_bytes == 1;
        self.found = self.found || (self.same && !self.wanted.is_empty() && self.line_bytes == self.wanted.len());
        self.line_bytes = 0;
        self.received = true;
        self.delivered = true;
        self.same = true;
    }
}

/// Does `piece`, which stands `before` bytes into its line, agree with `name` as far as both reach? Any case.
fn begins(name: &[u8], before: usize, piece: &[u8]) -> bool {
    let rest = name.get(before..).unwrap_or_default();
    rest.iter().zip(piece).all(|(n, b)| b.to_ascii_lowercase() == *n)
}

/// Is the line so far a beginning of `wanted`, byte for byte?
fn goes_on(wanted: &[u8], before: usize, piece: &[u8]) -> bool {
    wanted.get(before..).is_some_and(|rest| rest.starts_with(piece))
}

/// One header field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Name without the colon, as written; empty for a line that is no field.
    pub name: &'a [u8],
    /// What follows the colon, folding and the final LF included.
    pub value: &'a [u8],
    /// The whole field with its line ends.
    pub raw: &'a [u8],
    /// What is wrong with it.
    pub defect: Option<Defect>,
}

impl Field<'_> {
    /// Is this the field `name` (any case)?
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line: folds become one blank, outer white space and line ends go.
    #[must_use]
    pub fn unfolded(&self) -> Vec<u8> {
        let joined: Vec<u8> = self.value.iter().copied().filter(|b| !matches!(b, b'\n' | b'\r')).collect();
        joined.trim_ascii().to_vec()
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// No colon, or nothing before it: not a field at all.
    NoName,
    /// White space before the colon (RFC 5322 4.5).
    BlankBeforeColon,
    /// A byte in the name that RFC 5322 2.2 forbids.
    BadName,
    /// The first line begins with white space: a continuation of nothing.
    LeadingBlank,
    /// The message ends inside the header.
    Unterminated,
}

/// The fields of a header, in order; stops at the empty line, at the end, or after [`FIELDS_MAX`] fields.
pub fn fields(header: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = header;
    std::iter::from_fn(move || {
        if rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            return None;
        }
        let (raw, after) = rest.split_at_checked(field_end(rest)).unwrap_or((rest, &[]));
        rest = after;
        Some(field(raw))
    })
    .take(FIELDS_MAX)
}

/// Length of the field at the start of `bytes`: up to the first LF that no white space follows.
fn field_end(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(at) = bytes.get(end..).and_then(|r| memchr(b'\n', r)) {
        end += at + 1;
        if !matches!(bytes.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    bytes.len()
}

fn field(raw: &[u8]) -> Field<'_> {
    let first_line = memchr(b'\n', raw).map_or(raw.len(), |i| i + 1);
    let colon = memchr(b':', raw.get(..first_line).unwrap_or(raw)).filter(|&i| i > 0);
    let parts = colon.and_then(|i| Some((raw.get(..i)?, raw.get(i + 1..)?)));
    let Some((name, value)) = parts else {
        return Field { name: &[], value: raw, raw, defect: Some(Defect::NoName) };
    };
    let trimmed = name.trim_ascii_end();
    let defect = if raw.starts_with(b" ") || raw.starts_with(b"\t") {
        Some(Defect::LeadingBlank)
    } else if trimmed.iter().any(|b| !(33..127).contains(b)) || trimmed.is_empty() {
        Some(Defect::BadName)
    } else if trimmed.len() != name.len() {
        Some(Defect::BlankBeforeColon)
    } else if raw.last() != Some(&b'\n') {
        Some(Defect::Unterminated)
    } else {
        None
    };
    Field { name: trimmed, value, raw, defect }
}

#[cfg(test)]
mod tests;
