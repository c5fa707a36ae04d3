//! What a program or another host said about a delivery: the bytes as they came, for the bounce; made safe only where they are shown. Used by
//! everything that carries an outcome.

use std::borrow::Cow;
use std::fmt;

/// A report.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ReportText(Vec<u8>);

impl ReportText {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its length, bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As text, for where only text can stand.
    #[must_use]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// Adds a line; what stood before is ended first.
    pub fn push_line(&mut self, line: &str) {
        if !self.0.is_empty() && !self.0.ends_with(b"\n") {
            self.0.push(b'\n');
        }
        self.0.extend_from_slice(line.as_bytes());
    }

    /// At most `bytes_max` bytes of it; a character of UTF-8 is not cut in two.
    #[must_use]
    pub fn cut(&self, bytes_max: usize) -> Self {
        const CHARACTER_BYTES_MAX: usize = 4;
        let is_inside = |at: usize| self.0.get(at).is_some_and(|byte| byte & 0xC0 == 0x80);
        let steps = (0..CHARACTER_BYTES_MAX).take_while(|back| is_inside(bytes_max.saturating_sub(*back))).count();
        // More than that is no UTF-8 to be kept whole.
        let end = if steps < CHARACTER_BYTES_MAX { bytes_max.saturating_sub(steps) } else { bytes_max };
        Self(self.0.get(..end).unwrap_or(&self.0).to_vec())
    }

    /// Without `prefix`; `None` when it does not begin so.
    #[must_use]
    pub fn strip_prefix(&self, prefix: &str) -> Option<Self> {
        self.0.strip_prefix(prefix.as_bytes()).map(|rest| Self(rest.to_vec()))
    }
}

impl From<Vec<u8>> for ReportText {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for ReportText {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<String> for ReportText {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

impl From<&str> for ReportText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl PartialEq<str> for ReportText {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for ReportText {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for ReportText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for ReportText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_text(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_as_they_came() {
        let mut text = ReportText::from(&b"caf\xe9"[..]);
        text.push_line("tried enough\n");
        assert_eq!(text.as_bytes(), b"caf\xe9\ntried enough\n");
        assert_eq!(text.cut(3).as_bytes(), b"caf");
        assert_eq!(text.cut(99), text);
        assert_eq!(ReportText::from("caffè").cut(5), "caff");
        assert_eq!(ReportText::from("caffè").cut(6), "caffè");
        assert_eq!(ReportText::from(vec![0x80; 9]).cut(7).len(), 7);
    }
}
