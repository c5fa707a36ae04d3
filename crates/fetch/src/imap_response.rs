//! What an IMAP server says, line by line (RFC 3501 7). A line comes with its literals taken out. Pure; called by the session.

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Response<'a> {
    /// `+ …`.
    Continue(&'a [u8]),
    /// `* OK …`, or a tagged one: status word and text.
    Status {
        /// The tag; `None` for an untagged one.
        tag: Option<&'a [u8]>,
        /// Which.
        status: Status,
        /// What follows: `[CODE] text`.
        text: &'a [u8],
    },
    /// `* CAPABILITY …`.
    Capability(&'a [u8]),
    /// `* N FETCH (…)`: what stands within the parentheses.
    Fetch(&'a [u8]),
    /// `* N EXISTS`.
    Exists(u64),
    /// Anything else.
    Other,
}

/// A status word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    No,
    Bad,
    PreAuth,
    Bye,
}

/// Reads a line; `None` for what is no response.
pub(crate) fn parse(line: &[u8]) -> Option<Response<'_>> {
    if let Some(rest) = line.strip_prefix(b"+") {
        return rest.first().is_none_or(|b| *b == b' ').then_some(Response::Continue(rest.trim_ascii()));
    }
    let (tag, rest) = word(line)?;
    let (second, text) = word(rest)?;
    let tag = (tag != b"*").then_some(tag);
    if let Some(status) = status(second) {
        return Some(Response::Status { tag, status, text });
    }
    if tag.is_some() {
        return None;
    }
    if second.eq_ignore_ascii_case(b"CAPABILITY") {
        return Some(Response::Capability(text));
    }
    let Some((number, (name, items))) = crate::pop3::number_of(second).zip(word(text)) else { return Some(Response::Other) };
    if name.eq_ignore_ascii_case(b"FETCH") {
        return Some(Response::Fetch(items.trim_ascii().strip_prefix(b"(")?.strip_suffix(b")")?));
    }
    Some(if name.eq_ignore_ascii_case(b"EXISTS") { Response::Exists(number) } else { Response::Other })
}

/// True when a literal may end this line: texts for people may look like one.
pub(crate) fn may_have_literals(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return false };
    word(rest).is_some_and(|(second, _)| status(second).is_none())
}

/// The number in `{n}` at the end of a line.
pub(crate) fn literal_bytes(line: &[u8]) -> Option<u64> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|&b| b == b'{')?;
    crate::pop3::number_of(inner.get(open.saturating_add(1)..)?)
}

/// Does the line end where the literal of `BODY[]` begins?
pub(crate) fn begins_body(line: &[u8]) -> bool {
    let Some(open) = line.iter().rposition(|&b| b == b'{') else { return false };
    let before = line.get(..open).unwrap_or_default().trim_ascii_end();
    let name = b"BODY[]";
    before.len() > name.len()
        && before.get(before.len().saturating_sub(name.len())..).is_some_and(|end| end.eq_ignore_ascii_case(name))
        && before.get(before.len().saturating_sub(name.len()).saturating_sub(1)).is_some_and(|b| matches!(b, b' ' | b'('))
}

fn status(word: &[u8]) -> Option<Status> {
    let words =
        [(&b"OK"[..], Status::Ok), (b"NO", Status::No), (b"BAD", Status::Bad), (b"PREAUTH", Status::PreAuth), (b"BYE", Status::Bye)];
    words.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, status)| status)
}

/// The first word and the rest after one blank.
fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let (first, rest) = line.split_at_checked(end)?;
    (!first.is_empty()).then(|| (first, rest.strip_prefix(b" ").unwrap_or(rest)))
}

/// The argument of `[CODE argument]` at the beginning of a status text.
pub(crate) fn code<'a>(text: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let inner = text.strip_prefix(b"[")?;
    let inner = inner.get(..inner.iter().position(|&b| b == b']')?)?;
    let (first, argument) = word(inner)?;
    first.eq_ignore_ascii_case(name).then_some(argument)
}

/// What a FETCH response says of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Fetched {
    pub(crate) uid: Option<u32>,
    pub(crate) size: Option<u64>,
    /// `\Deleted` is set.
    pub(crate) is_deleted: bool,
    /// `BODY[]`, when it stands here and not in a literal.
    pub(crate) body: Option<Short>,
}

/// A short body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Short {
    /// NIL: the message is gone.
    Nil,
    /// A quoted string, unquoted.
    Quoted(Vec<u8>),
    /// It was a literal, which the session took out.
    Literal,
}

/// What stands for a literal that was taken out.
pub(crate) const LITERAL: &[u8] = b"{}";

/// Reads the items of a FETCH response; `None` for nonsense.
pub(crate) fn fetched(items: &[u8]) -> Option<Fetched> {
    let mut out = Fetched::default();
    let mut rest = items.trim_ascii();
    while !rest.is_empty() {
        let (key, after) = key(rest)?;
        let (value, after) = value(after)?;
        rest = after.trim_ascii_start();
        if key.eq_ignore_ascii_case(b"UID") {
            out.uid = Some(crate::pop3::number_of(value).and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)?);
        } else if key.eq_ignore_ascii_case(b"RFC822.SIZE") {
            out.size = crate::pop3::number_of(value);
        } else if key.eq_ignore_ascii_case(b"FLAGS") {
            out.is_deleted = value.split(|b| matches!(b, b' ' | b'(' | b')')).any(|flag| flag.eq_ignore_ascii_case(b"\\Deleted"));
        } else if key.eq_ignore_ascii_case(b"BODY[]") {
            out.body = Some(short(value)?);
        }
    }
    Some(out)
}

fn short(value: &[u8]) -> Option<Short> {
    if value.eq_ignore_ascii_case(b"NIL") {
        return Some(Short::Nil);
    }
    if value == LITERAL {
        return Some(Short::Literal);
    }
    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let (mut out, mut escaped) = (Vec::with_capacity(inner.len()), false);
    for &b in inner {
        if b == b'\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            out.push(b);
        }
    }
    Some(Short::Quoted(out))
}

/// A name up to the blank; brackets may hold blanks.
fn key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut within = false;
    for (i, &b) in text.iter().enumerate() {
        match b {
            b'[' => within = true,
            b']' => within = false,
            b' ' if !within => return text.get(..i).filter(|k| !k.is_empty()).zip(text.get(i.saturating_add(1)..)),
            _ => {}
        }
    }
    None
}

/// An atom, a quoted string or a list with everything in it.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (i, &b) in text.iter().enumerate() {
        if quoted {
            if escaped {
                escaped = false;
            } else if b == b'\\' {
                escaped = true;
            } else {
                quoted = b != b'"';
            }
            continue;
        }
        match b {
            b'"' => quoted = true,
            b'(' => depth = depth.saturating_add(1),
            b')' => depth = depth.checked_sub(1)?,
            b' ' if depth == 0 => return text.split_at_checked(i),
            _ => {}
        }
    }
    (depth == 0 && !quoted && !text.is_empty()).then_some((text, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses() {
        assert_eq!(parse(b"+ idling"), Some(Response::Continue(b"idling")));
        assert_eq!(parse(b"+"), Some(Response::Continue(b"")));
        let ok = Response::Status { tag: None, status: Status::Ok, text: b"[UIDVALIDITY 7] fine" };
        assert_eq!(parse(b"* ok [UIDVALIDITY 7] fine"), Some(ok));
        assert_eq!(code(b"[UIDVALIDITY 7] fine", b"uidvalidity"), Some(&b"7"[..]));
        assert_eq!(parse(b"p1 NO"), Some(Response::Status { tag: Some(b"p1"), status: Status::No, text: b"" }));
        assert_eq!(parse(b"* 3 FETCH (UID 9)"), Some(Response::Fetch(b"UID 9")));
        assert_eq!(parse(b"* 3 EXISTS"), Some(Response::Exists(3)));
        assert_eq!(parse(b"* 3 RECENT"), Some(Response::Other));
        for bad in [&b""[..], b"nonsense", b"p1 CAPABILITY x", b"* 3 FETCH UID 9"] {
            assert_eq!(parse(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn items_of_a_fetch() {
        let all = fetched(b"FLAGS (\\Seen \\Deleted) UID 9 RFC822.SIZE 44 ENVELOPE (\"a (b\" NIL (\"\\\"\"))").unwrap();
        assert_eq!(all, Fetched { uid: Some(9), size: Some(44), is_deleted: true, body: None });
        assert_eq!(fetched(b"BODY[] \"a\\\"b\" UID 1").unwrap().body, Some(Short::Quoted(b"a\"b".to_vec())));
        assert_eq!(fetched(b"UID 1 BODY[] NIL").unwrap().body, Some(Short::Nil));
        assert_eq!(fetched(b"UID 1 BODY[HEADER.FIELDS (DATE FROM)] {} BODY[] {}").unwrap().body, Some(Short::Literal));
        for bad in [&b"UID -1"[..], b"UID 0", b"UID 4294967296", b"UID", b"FLAGS (", b"X \"", b"UID 1)"] {
            assert_eq!(fetched(bad), None, "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn literals() {
        assert_eq!(literal_bytes(b"* 1 FETCH (BODY[] {12}"), Some(12));
        assert_eq!(literal_bytes(b"* 1 FETCH (BODY[] {-1}"), None);
        assert_eq!(literal_bytes(b"* 1 FETCH (BODY[] {99999999999999999999999}"), None);
        assert!(begins_body(b"* 1 FETCH (UID 2 body[] {12}") && begins_body(b"* 1 FETCH (BODY[] {12}"));
        assert!(!begins_body(b"* 1 FETCH (XBODY[] {12}") && !begins_body(b"* 1 FETCH (BODY[1] {12}"));
        assert!(may_have_literals(b"* LIST () {3}") && !may_have_literals(b"* OK look {3}") && !may_have_literals(b"p1 OK {3}"));
    }
}
