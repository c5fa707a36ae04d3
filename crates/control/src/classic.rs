//! The syntax of qmail's control files (qmail-control(5)): single lines, numbers, lists, `key:value` lists. Pure: bytes in, values out.
//! Called by the loader and the editors; never opens a file and never decides what a value means.

/// Without the blanks, tabs and line feeds at the end. A carriage return is kept: it is data, as in the original.
#[must_use]
pub fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t' | b'\n')).map_or(0, |i| i + 1);
    line.get(..end).unwrap_or_default()
}

/// A single-line file: the first line without its trailing blanks.
#[must_use]
pub fn line(bytes: &[u8]) -> &[u8] {
    trim_end(bytes.split(|&b| b == b'\n').next().unwrap_or_default())
}

/// A number: the decimal digits at the start of the first line; `None` when it starts with none, which counts as absent.
/// Saturates at `u64::MAX`.
#[must_use]
pub fn number(bytes: &[u8]) -> Option<u64> {
    let digits: Vec<u64> = line(bytes).iter().take_while(|b| b.is_ascii_digit()).map(|b| u64::from(b - b'0')).collect();
    (!digits.is_empty()).then(|| digits.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(*d)))
}

/// A list: each line (with its number, from 1) without trailing blanks; empty lines and lines that begin with `#` are left out.
/// Leading blanks are part of the entry.
pub fn list(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    bytes.split(|&b| b == b'\n').enumerate().map(|(i, l)| (i + 1, trim_end(l))).filter(|(_, l)| !l.is_empty() && l.first() != Some(&b'#'))
}

/// A list of a file that qmail never had: blanks before an entry, or before `#`, mean nothing.
pub fn list_indented(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    list(bytes).map(|(number, l)| (number, l.trim_ascii_start())).filter(|(_, l)| l.first() != Some(&b'#'))
}

/// A `key:value` list: split at the first colon; lines without a colon are left out. Keys in lower case.
pub fn pairs(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>, &[u8])> {
    list(bytes).filter_map(|(number, l)| {
        let colon = l.iter().position(|&b| b == b':')?;
        Some((number, l.get(..colon)?.to_ascii_lowercase(), l.get(colon + 1..)?))
    })
}

/// The keys under which lists of hosts may have `host`, most exact first: the whole of it, then each suffix that begins with a dot. Who has a
/// default adds the empty key.
pub fn host_keys(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    let dots = host.iter().enumerate().filter(|(_, b)| **b == b'.');
    std::iter::once(host).chain(dots.filter_map(|(i, _)| host.get(i..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_lines() {
        assert_eq!(line(b"host.test \t\nrest"), b"host.test");
        assert_eq!(line(b"host.test"), b"host.test");
        assert_eq!(line(b" x\n"), b" x");
        assert_eq!(line(b"\nx\n"), b"");
        assert_eq!(line(b"a\r\n"), b"a\r");
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"120x\n"), Some(120));
        assert_eq!(number(b" 1\n"), None);
        assert_eq!(number(b"\n5"), None);
        assert_eq!(number(b"-1"), None);
        assert_eq!(number(b"99999999999999999999999"), Some(u64::MAX));
    }

    #[test]
    fn lists() {
        let got: Vec<_> = list(b"a.test \n#c\n\n b\nc #d\n").collect();
        assert_eq!(got, [(1, &b"a.test"[..]), (4, b" b"), (5, b"c #d")]);
    }

    #[test]
    fn key_and_value() {
        let got: Vec<_> = pairs(b"V.test:a:b\nnone\n x:y\n:d\n").collect();
        assert_eq!(got, [(1, b"v.test".to_vec(), &b"a:b"[..]), (3, b" x".to_vec(), b"y"), (4, b"".to_vec(), b"d")]);
    }
}
