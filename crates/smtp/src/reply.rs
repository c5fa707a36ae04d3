//! SMTP replies: code, enhanced status (RFC 2034), text; rendered into one buffer. Made by the session and by `smtpd`; holds only
//! printable ASCII, so nothing that a client sent can come back as a second line.

use postino_types::EnhancedStatus;
use postino_types::printable::{cut, printable};
use std::borrow::Cow;
use std::fmt;

/// Longest text of one reply line, bytes; with code, status and CRLF it stays below the 512 of RFC 5321 4.5.3.1.5.
pub const TEXT_BYTES_MAX: usize = 480;

/// One reply. A text with `\n` becomes several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    status: Option<EnhancedStatus>,
    text: Cow<'static, str>,
}

impl Reply {
    /// From a constant text (printable ASCII, lines parted by `\n`).
    #[must_use]
    pub const fn new(code: u16, status: (u8, u16, u16), text: &'static str) -> Self {
        Self { code, status: Some(EnhancedStatus { class: status.0, subject: status.1, detail: status.2 }), text: Cow::Borrowed(text) }
    }

    /// Without enhanced status: banner, HELO and EHLO, 3xx (RFC 2034 4).
    #[must_use]
    pub const fn plain(code: u16, text: &'static str) -> Self {
        Self { code, status: None, text: Cow::Borrowed(text) }
    }

    /// With another text: lines parted by `\n`, unprintable bytes shown as `?`, each line cut to [`TEXT_BYTES_MAX`].
    #[must_use]
    pub fn with_text(mut self, text: &str) -> Self {
        let lines: Vec<String> = text.split('\n').map(|line| cut(&printable(line.as_bytes()), TEXT_BYTES_MAX).to_owned()).collect();
        self.text = Cow::Owned(lines.join("\n"));
        self
    }

    /// The three digits.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The enhanced status.
    #[must_use]
    pub fn status(&self) -> Option<EnhancedStatus> {
        self.status
    }

    /// The text without codes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True for 4xx and 5xx.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.code >= 400
    }

    /// Appends the reply as it goes on the wire.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let mark = if lines.peek().is_some() { b'-' } else { b' ' };
            self.write_line(out, mark, line);
        }
    }

    fn write_line(&self, out: &mut Vec<u8>, mark: u8, line: &str) {
        use std::io::Write as _;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "{}", self.code);
        out.push(mark);
        if let Some(status) = self.status {
            let _ = write!(out, "{status} ");
        }
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// One line, for logs: lines of the text are joined by blanks.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(status) = self.status {
            write!(f, " {status}")?;
        }
        write!(f, " {}", self.text.replace('\n', " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_one_and_many_lines() {
        let mut out = Vec::new();
        Reply::new(250, (2, 1, 0), "ok").write_to(&mut out);
        Reply::plain(250, "a\nb\nc").write_to(&mut out);
        assert_eq!(out, b"250 2.1.0 ok\r\n250-a\r\n250-b\r\n250 c\r\n");
    }

    #[test]
    fn outside_text_cannot_break_the_line() {
        let reply = Reply::new(550, (5, 1, 1), "").with_text("no\r250 yes\x1b[2J");
        let mut out = Vec::new();
        reply.write_to(&mut out);
        assert_eq!(out, b"550 5.1.1 no?250 yes?[2J\r\n");
        assert!(Reply::plain(250, "").with_text(&"x".repeat(5000)).text().len() <= TEXT_BYTES_MAX);
    }
}
