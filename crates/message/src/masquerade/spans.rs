//! Where the addresses stand in an address list (RFC 5322 3.4, with the obsolete forms of 4.4). Called by the header rewriter; finds places,
//! changes nothing, and stops where the text is broken off inside a comment, a quoted string or a literal.

use postino_types::Address;
use std::ops::Range;

/// Most addresses of one field that are looked at.
const ADDRESSES_MAX: usize = 10_000;
/// Deepest nesting of comments.
const DEPTH_MAX: usize = 100;

/// One address, by its two parts: comments and blanks may stand between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Span {
    /// The local part, with its quotes.
    pub(super) local: Range<usize>,
    /// The host.
    pub(super) host: Range<usize>,
}

impl Span {
    /// The address in the house's form: without quotes, blanks and comments.
    pub(super) fn address(&self, text: &[u8]) -> Option<Address> {
        let local = plain(text.get(self.local.clone())?);
        let host = plain(text.get(self.host.clone())?);
        Address::from_parts(&local, &host).ok()
    }
}

/// The addresses of a field, in order. Of a mailbox with angle brackets only what stands inside them is an address; the rest is a name.
pub(super) fn find(text: &[u8]) -> Vec<Span> {
    let mut mailbox = Mailbox::new(text);
    let mut all = Vec::new();
    for token in (Tokens { text, at: 0 }) {
        match token.sign {
            b'<' => mailbox.open(),
            b'>' => mailbox.close(),
            b',' | b';' if !mailbox.is_open => mailbox.end(&mut all),
            b':' if !mailbox.is_open => mailbox = Mailbox::new(text),
            b'@' => mailbox.at(),
            WORD => mailbox.word(token.place),
            // The colon or comma of a source route: what stood before it is no mailbox.
            _ => mailbox.forget(),
        }
        if all.len() >= ADDRESSES_MAX {
            return all;
        }
    }
    mailbox.end(&mut all);
    all
}

/// What is known of the mailbox under way.
struct Mailbox<'a> {
    text: &'a [u8],
    /// Inside `<…>`.
    is_open: bool,
    /// There was a `<`.
    has_angle: bool,
    /// The first address outside brackets, and the first inside.
    bare: Option<Span>,
    angle: Option<Span>,
    /// The word before an `@`.
    local: Option<Range<usize>>,
    /// The last word: a host when there is a local part.
    word: Option<Range<usize>>,
}

impl<'a> Mailbox<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { text, is_open: false, has_angle: false, bare: None, angle: None, local: None, word: None }
    }

    fn open(&mut self) {
        self.settle();
        self.is_open = true;
        self.has_angle = true;
    }

    fn close(&mut self) {
        self.settle();
        self.is_open = false;
    }

    fn end(&mut self, all: &mut Vec<Span>) {
        self.settle();
        all.extend(if self.has_angle { self.angle.take() } else { self.bare.take() });
        *self = Self::new(self.text);
    }

    /// `@a,@b:` of a source route (RFC 5322 4.4) has nothing before its `@`.
    fn at(&mut self) {
        self.local = if self.local.is_some() { None } else { self.word.take() };
        self.word = None;
    }

    fn word(&mut self, place: Range<usize>) {
        match &mut self.word {
            Some(word) if goes_on(self.text, word, &place) => word.end = place.end,
            _ => {
                self.settle_whole();
                self.word = Some(place);
            }
        }
    }

    /// Behind a host the next word begins something else.
    fn settle_whole(&mut self) {
        if self.word.is_some() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let (Some(local), Some(host)) = (self.local.take(), self.word.take()) {
            let place = if self.is_open { &mut self.angle } else { &mut self.bare };
            place.get_or_insert(Span { local, host });
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.local = None;
        self.word = None;
    }
}

/// Words that touch are one, and so are words with a dot between them, with blanks or without.
fn goes_on(text: &[u8], before: &Range<usize>, next: &Range<usize>) -> bool {
    let byte = |i: usize| text.get(i).copied();
    before.end == next.start || byte(before.end.saturating_sub(1)) == Some(b'.') || byte(next.start) == Some(b'.')
}

/// Without quotes, backslashes, blanks and comments.
fn plain(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for token in (Tokens { text, at: 0 }) {
        let word = text.get(token.place).unwrap_or_default();
        match word {
            [b'"', inner @ .., b'"'] => {
                let mut bytes = inner.iter();
                while let Some(&b) = bytes.next() {
                    match b {
                        b'\\' => out.extend(bytes.next()),
                        // Only the line's end of a fold: its blank counts.
                        b'\r' | b'\n' => {}
                        _ => out.push(b),
                    }
                }
            }
            _ => out.extend_from_slice(word),
        }
    }
    out
}

/// The sign of an atom with its dots, a quoted string or a literal.
const WORD: u8 = b'w';

struct Token {
    sign: u8,
    place: Range<usize>,
}

/// Tokens; blanks and comments are left out. Ends where a comment, string or literal has no end.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let start = self.at;
            let (sign, end) = match *self.text.get(start)? {
                b' ' | b'\t' | b'\r' | b'\n' => (b' ', start + 1),
                b'(' => (b' ', comment_end(self.text, start)?),
                b'"' => (WORD, closed_by(self.text, start, b'"')?),
                b'[' => (WORD, closed_by(self.text, start, b']')?),
                special if is_special(special) => (special, start + 1),
                _ => (WORD, atom_end(self.text, start)),
            };
            self.at = end;
            if sign != b' ' {
                return Some(Token { sign, place: start..end });
            }
        }
    }
}

const fn is_special(b: u8) -> bool {
    matches!(b, b'<' | b'>' | b'@' | b',' | b';' | b':' | b')' | b']')
}

fn atom_end(text: &[u8], start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let ends = |b: &u8| is_special(*b) || matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b'"' | b'[');
    rest.iter().position(ends).map_or(text.len(), |n| start + n.max(1))
}

/// Behind the closing sign; a backslash takes the next byte's meaning away.
fn closed_by(text: &[u8], start: usize, sign: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match *text.get(at)? {
            b'\\' => at += 2,
            b if b == sign => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn comment_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut depth = 0usize;
    loop {
        match *text.get(at)? {
            b'\\' => at += 1,
            b'(' if depth >= DEPTH_MAX => return None,
            b'(' => depth += 1,
            b')' if depth == 1 => return Some(at + 1),
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}
