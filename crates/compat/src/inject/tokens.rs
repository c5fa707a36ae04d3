//! RFC 822 tokens: header fields and addresses taken apart and put together again. Called by the address rules and qmail-inject. Pure; never
//! decides what an address means.

/// Fields are folded at commas so that lines do not become longer than this, bytes.
const LINE_BYTES: usize = 80;

/// A lexical token (RFC 822 3.3). Texts are without quotes, brackets and backslashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Atom(Vec<u8>),
    Quote(Vec<u8>),
    Literal(Vec<u8>),
    Comment(Vec<u8>),
    Left,
    Right,
    At,
    Comma,
    Semi,
    Colon,
    Dot,
}

impl Token {
    const fn special(byte: u8) -> Option<Self> {
        Some(match byte {
            b'<' => Self::Left,
            b'>' => Self::Right,
            b'@' => Self::At,
            b',' => Self::Comma,
            b';' => Self::Semi,
            b':' => Self::Colon,
            b'.' => Self::Dot,
            _ => return None,
        })
    }

    const fn sign(&self) -> u8 {
        match self {
            Self::Left => b'<',
            Self::Right => b'>',
            Self::At => b'@',
            Self::Comma => b',',
            Self::Semi => b';',
            Self::Colon => b':',
            Self::Dot => b'.',
            Self::Atom(_) | Self::Quote(_) | Self::Literal(_) | Self::Comment(_) => b' ',
        }
    }

    const fn is_word(&self) -> bool {
        matches!(self, Self::Atom(_) | Self::Quote(_) | Self::Literal(_) | Self::Comment(_))
    }

    fn print(&self, out: &mut Vec<u8>) {
        let (open, text, close) = match self {
            Self::Atom(text) => (None, text, None),
            Self::Quote(text) => (Some(b'"'), text, Some(b'"')),
            Self::Literal(text) => (Some(b'['), text, Some(b']')),
            Self::Comment(text) => (Some(b'('), text, Some(b')')),
            _ => return out.push(self.sign()),
        };
        out.extend(open);
        for &byte in text {
            if matches!(byte, b'"' | b'[' | b']' | b'(' | b')' | b'\\' | b'\r' | b'\n') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.extend(close);
    }
}

/// The tokens of `text`; `None` when a comment, a quoted string or a literal has no end, or ends without a beginning.
pub(crate) fn lex(text: &[u8]) -> Option<Vec<Token>> {
    let mut input = text.iter().copied().peekable();
    let mut tokens = Vec::new();
    while let Some(byte) = input.next() {
        tokens.push(match byte {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b')' | b']' => return None,
            b'(' => Token::Comment(comment(&mut input)?),
            b'"' => Token::Quote(until(&mut input, b'"')?),
            b'[' => Token::Literal(until(&mut input, b']')?),
            _ => match Token::special(byte) {
                Some(token) => token,
                None => Token::Atom(atom(byte, &mut input)),
            },
        });
    }
    Some(tokens)
}

fn until(input: &mut impl Iterator<Item = u8>, end: u8) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        match input.next()? {
            byte if byte == end => return Some(text),
            b'\\' => text.push(input.next()?),
            byte => text.push(byte),
        }
    }
}

fn comment(input: &mut impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let (mut text, mut depth) = (Vec::new(), 1usize);
    loop {
        let mut byte = input.next()?;
        match byte {
            b'(' => depth += 1,
            b')' => depth -= 1,
            b'\\' => byte = input.next()?,
            _ => {}
        }
        if depth == 0 {
            return Some(text);
        }
        text.push(byte);
    }
}

fn atom(first: u8, input: &mut std::iter::Peekable<impl Iterator<Item = u8>>) -> Vec<u8> {
    let (mut text, mut next) = (Vec::new(), Some(first));
    while let Some(byte) = next {
        if byte == b'\\' {
            text.extend(input.next());
        } else {
            text.push(byte);
        }
        next = input
            .next_if(|b| !matches!(b, b' ' | b'\t' | b'\r' | b'\n' | b'(' | b')' | b'[' | b']' | b'"') && Token::special(*b).is_none());
    }
    text
}

/// The field that the tokens make, folded behind commas, with its line end.
pub(crate) fn unparse(tokens: &[Token]) -> Vec<u8> {
    let (mut out, mut piece, mut line_bytes) = (Vec::new(), Vec::new(), 0usize);
    let mut last = None;
    for token in tokens {
        if last.is_some_and(|last| needs_space(last, token)) {
            piece.push(b' ');
        }
        token.print(&mut piece);
        last = Some(token);
        if *token == Token::Comma {
            put_piece(&mut out, &mut line_bytes, &mut piece);
        }
    }
    put_piece(&mut out, &mut line_bytes, &mut piece);
    out.push(b'\n');
    out
}

/// Puts a piece on the current line, or on a new one when it would become too long.
fn put_piece(out: &mut Vec<u8>, line_bytes: &mut usize, piece: &mut Vec<u8>) {
    if !out.is_empty() && *line_bytes + piece.len() + 2 > LINE_BYTES && !piece.is_empty() {
        out.extend_from_slice(b"\n ");
        *line_bytes = 1;
    }
    *line_bytes += piece.len();
    out.append(piece);
}

const fn needs_space(before: &Token, after: &Token) -> bool {
    matches!(before, Token::Colon | Token::Comma) || matches!(after, Token::Left) || (before.is_word() && after.is_word())
}

/// The address that the tokens mean, as it stands in an envelope.
pub(crate) fn unquote(tokens: &[Token]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Token::Comment(_) => {}
            Token::Atom(text) | Token::Quote(text) => out.extend_from_slice(text),
            Token::Literal(text) => {
                out.push(b'[');
                out.extend_from_slice(text);
                out.push(b']');
            }
            sign => out.push(sign.sign()),
        }
    }
    out
}

/// An envelope address as it stands in a header: its local part quoted where it must be.
pub(crate) fn quote(address: &[u8]) -> Vec<u8> {
    if address.is_empty() {
        return Vec::new();
    }
    let at = address.iter().rposition(|&b| b == b'@').unwrap_or(address.len());
    let (local, host) = address.split_at(at);
    if is_plain(local) {
        return address.to_vec();
    }
    let mut out = vec![b'"'];
    for &byte in local {
        if matches!(byte, b'\r' | b'\n' | b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
    out.extend_from_slice(host);
    out
}

/// True for what needs no quotes: safe characters with single dots between them.
pub(crate) fn is_plain(local: &[u8]) -> bool {
    local.split(|&b| b == b'.').all(|part| {
        let safe = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(b);
        !part.is_empty() && part.iter().all(safe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_has_the_same_tokens() {
        for text in ["To: a, \"b c\"@d, (x (y) \\) z) <e@[1.2.3.4]>; g: ;", "a\\ b@c", "x...y@@:,<>", "\"\\\"\\\\\" (\\[)"] {
            let tokens = lex(text.as_bytes()).unwrap();
            let printed = unparse(&tokens);
            let again = lex(&printed).unwrap();
            assert_eq!(unparse(&again), printed, "{text}");
        }
        for bad in ["(x", "\"x", "[x", ")", "]", "\"x\\"] {
            assert_eq!(lex(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn folding_keeps_lines_within_eighty_columns() {
        let list: Vec<String> = (0..40).map(|n| format!("user{n}@host{n}.test")).collect();
        let text = format!("To: {}", list.join(", "));
        let printed = unparse(&lex(text.as_bytes()).unwrap());
        for (n, line) in printed.split(|&b| b == b'\n').enumerate() {
            assert!(line.len() <= 80, "{}", String::from_utf8_lossy(line));
            assert!(n == 0 || line.is_empty() || line.starts_with(b"  "));
        }
    }

    #[test]
    fn quotes_where_they_must_be() {
        for (raw, quoted) in [("a@b", "a@b"), ("a b@c", "\"a b\"@c"), ("a..b@c", "\"a..b\"@c"), ("", ""), ("a\"@b@c", "\"a\\\"@b\"@c")] {
            assert_eq!(quote(raw.as_bytes()), quoted.as_bytes());
            assert_eq!(unquote(&lex(quoted.as_bytes()).unwrap()), raw.as_bytes());
        }
    }
}
