//! Rust source with comments, texts and characters blanked out, so that braces and `fn` can be counted without a parser.
//! Used by tidy; never fails: an unfinished literal ends with the file.

/// The source as bytes of the same length: bytes inside comments become `~`, bytes of literals become spaces, line ends stay.
pub(crate) fn mask(source: &str) -> Vec<u8> {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut i = 0;
    while i < bytes.len() {
        let (end, with) = token(bytes, i);
        if let Some(with) = with {
            for b in out.iter_mut().take(end).skip(i).filter(|b| **b != b'\n') {
                *b = with;
            }
        }
        i = end.max(i + 1);
    }
    out
}

/// The end of what begins at `i`, and what to fill it with (nothing for code).
fn token(bytes: &[u8], i: usize) -> (usize, Option<u8>) {
    let rest = bytes.get(i..).unwrap_or_default();
    let after_word = i.checked_sub(1).and_then(|p| bytes.get(p)).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    match rest {
        [b'/', b'/', ..] => (rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| i + n), Some(b'~')),
        [b'/', b'*', ..] => (i + block_comment(rest), Some(b'~')),
        [b'r', b'"' | b'#', ..] if !after_word => raw_text(rest, 1).map_or((i + 1, None), |n| (i + n, Some(b' '))),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw_text(rest, 2).map_or((i + 1, None), |n| (i + n, Some(b' '))),
        [b'"', ..] => (i + quoted(rest, b'"'), Some(b' ')),
        [b'\'', ..] => match rest {
            [_, b'\\', ..] => (i + quoted(rest, b'\''), Some(b' ')),
            _ => character(rest).map_or((i + 1, None), |n| (i + n, Some(b' '))),
        },
        _ => (i + 1, None),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut i = 0;
    while i < rest.len() {
        match rest.get(i..i + 2) {
            Some(b"/*") => (depth, i) = (depth + 1, i + 2),
            Some(b"*/") => (depth, i) = (depth.saturating_sub(1), i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

fn raw_text(rest: &[u8], prefix: usize) -> Option<usize> {
    let hashes = rest.iter().skip(prefix).take_while(|b| **b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    let start = prefix + hashes + 1;
    let body = rest.get(start..)?;
    Some(body.windows(end.len()).position(|w| w == end).map_or(rest.len(), |n| start + n + end.len()))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut i = 1;
    while let Some(b) = rest.get(i) {
        match *b {
            b'\\' => i += 2,
            b if b == quote => return i + 1,
            _ => i += 1,
        }
    }
    rest.len()
}

/// `'x'` of one character; a lifetime is none.
fn character(rest: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(rest.get(1..rest.len().min(8))?)
        .or_else(|e| std::str::from_utf8(rest.get(1..1 + e.valid_up_to()).unwrap_or_default()))
        .ok()?;
    let first = text.chars().next()?;
    let end = 1 + first.len_utf8();
    (rest.get(end) == Some(&b'\'')).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        String::from_utf8_lossy(&mask(source)).replace(['~', ' '], "")
    }

    #[test]
    fn literals_and_comments_are_blanked() {
        assert_eq!(code("a{ // }\nb }"), "a{\nb}");
        assert_eq!(code("/* { /* { */ } */ x"), "x");
        assert_eq!(code(r##"f("}\"}", r"}", r#"}"}"#, b"}", br#"}"#, '}', '\'', '\u{7d}', b'}')"##), "f(,,,b,,,,,b)");
        assert_eq!(code("fn a<'x>(y: &'x str) {}"), "fna<'x>(y:&'xstr){}");
        assert_eq!(code("'é' \"ü}\""), "");
        assert_eq!(code("\"never ends }"), "");
        assert_eq!(code("let r = for_r#x;"), "letr=for_r#x;");
    }
}
