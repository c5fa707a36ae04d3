//! Bytes from outside made safe for logs, terminals and reply texts. Used wherever outside data is shown; never for data that is stored.

/// Printable ASCII kept, every other byte shown as `?`: no control byte reaches a log or a terminal.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| if (32..127).contains(&b) { char::from(b) } else { '?' }).collect()
}

/// A text of several lines on one, for logs and terminals: line ends shown as ` / `, the rest as [`printable`] shows it.
#[must_use]
pub fn one_line(text: &str) -> String {
    printable(text.trim_end().replace('\n', " / ").as_bytes())
}

/// qmail's report form: bytes outside 33..=126 shown as `_`, LF as `/` (the log lines of qmail-send).
#[must_use]
pub fn report(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|&b| match b {
            b'\n' => '/',
            33..=126 => char::from(b),
            _ => '_',
        })
        .collect()
}

/// Cuts to at most `bytes_max` bytes at a character boundary.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while end > 0 && !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_line_stays_one() {
        assert_eq!(super::one_line("a\nstatus: \x1b[2J\r\n\n"), "a / status: ?[2J");
    }
}
