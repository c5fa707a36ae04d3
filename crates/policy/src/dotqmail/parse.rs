//! The lines of a dot-qmail file, as qmail-local(8) reads them. Pure; never decides what happens.

/// One instruction. Paths, commands and addresses are bytes as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `./Maildir/`: a name that begins with `.` or `/` and ends with `/`.
    Maildir(Vec<u8>),
    /// `./Mailbox`: a name that begins with `.` or `/`.
    Mbox(Vec<u8>),
    /// `|command`, for `/bin/sh -c`.
    Program(Vec<u8>),
    /// `&address`, or a line that begins with anything else. Raw: nothing is trimmed at its start.
    Forward(Vec<u8>),
    /// `+list`: from here on only forwards are allowed.
    List,
    /// `#…`, an unknown `+…`, or an empty line that is not the first.
    Comment,
}

/// `Uh-oh: first line of .qmail file is blank. (#4.2.1)`, temporary: somebody is editing the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Uh-oh: first line of .qmail file is blank. (#4.2.1)")]
pub struct BlankFirstLine;

/// Splits a file at LF; blanks and tabs at the end of a line go, a CR stays. Text after a NUL is not seen. An empty file gives no line:
/// the caller then uses the default delivery.
pub fn parse(text: &[u8]) -> Result<Vec<Line>, BlankFirstLine> {
    let mut lines = Vec::new();
    if text.is_empty() {
        return Ok(lines);
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (number, raw) in text.split(|&b| b == b'\n').enumerate() {
        let line = trim(raw);
        if number == 0 && line.is_empty() {
            return Err(BlankFirstLine);
        }
        lines.push(one(line));
    }
    Ok(lines)
}

fn trim(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |i| i + 1);
    let line = line.get(..end).unwrap_or_default();
    line.split(|&b| b == 0).next().unwrap_or_default()
}

fn one(line: &[u8]) -> Line {
    let Some((first, rest)) = line.split_first() else { return Line::Comment };
    match first {
        b'#' => Line::Comment,
        b'.' | b'/' if line.last() == Some(&b'/') => Line::Maildir(line.to_vec()),
        b'.' | b'/' => Line::Mbox(line.to_vec()),
        b'|' => Line::Program(rest.to_vec()),
        b'+' if rest == b"list" => Line::List,
        b'+' => Line::Comment,
        b'&' => Line::Forward(rest.to_vec()),
        _ => Line::Forward(line.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_first_byte() {
        let text =
            b"./Maildir/ \t\n/var/mail/joe\n| prog 'x'\n&a@b\n& c@d\nplain@x\n lead@x\n# no\n+list\n+other\n\n./Maildir/\r\na\0b\n.\n/";
        let want = [
            Line::Maildir(b"./Maildir/".to_vec()),
            Line::Mbox(b"/var/mail/joe".to_vec()),
            Line::Program(b" prog 'x'".to_vec()),
            Line::Forward(b"a@b".to_vec()),
            Line::Forward(b" c@d".to_vec()),
            Line::Forward(b"plain@x".to_vec()),
            Line::Forward(b" lead@x".to_vec()),
            Line::Comment,
            Line::List,
            Line::Comment,
            Line::Comment,
            Line::Mbox(b"./Maildir/\r".to_vec()),
            Line::Forward(b"a".to_vec()),
            Line::Mbox(b".".to_vec()),
            Line::Maildir(b"/".to_vec()),
        ];
        assert_eq!(parse(text).unwrap(), want);
    }

    #[test]
    fn blank_first_line() {
        for text in [&b"\n./Maildir/\n"[..], b"  \t\n./Maildir/\n", b" ", b"\n"] {
            assert_eq!(parse(text), Err(BlankFirstLine));
        }
        assert_eq!(parse(b""), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn never_panics_and_counts_lines(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(lines) = parse(&text) {
                prop_assert!(lines.len() <= text.iter().filter(|b| **b == b'\n').count() + 1);
            }
        }
    }
}
