//! Counts hops: header lines that begin with `received` or `delivered` in any case, as qmail-smtpd(8) does. Called while a message comes in.
//! Never keeps the message.

const RECEIVED: &[u8] = b"received";
const DELIVERED: &[u8] = b"delivered";

/// A running count over a message with LF line ends (CRLF is taken too), fed in pieces of any size.
#[derive(Debug, Clone)]
pub struct Hops {
    count: usize,
    start: [u8; 9],
    column: usize,
    in_header: bool,
}

impl Default for Hops {
    fn default() -> Self {
        Self { count: 0, start: [0; 9], column: 0, in_header: true }
    }
}

impl Hops {
    /// At the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next bytes. After the header nothing is looked at.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &b in bytes {
            if !self.in_header {
                return;
            }
            self.byte(b);
        }
    }

    fn byte(&mut self, b: u8) {
        if b == b'\n' {
            let empty = self.column == 0 || (self.column == 1 && self.start.first() == Some(&b'\r'));
            self.in_header = !empty;
            self.column = 0;
            return;
        }
        if let Some(place) = self.start.get_mut(self.column) {
            *place = b.to_ascii_lowercase();
            self.column += 1;
            if (self.column == RECEIVED.len() && self.start.starts_with(RECEIVED))
                || (self.column == DELIVERED.len() && self.start == *DELIVERED)
            {
                self.count += 1;
            }
        }
    }

    /// Hops so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// False once the empty line after the header was seen.
    #[must_use]
    pub fn in_header(&self) -> bool {
        self.in_header
    }
}

/// The hops of a whole message.
#[must_use]
pub fn count(message: &[u8]) -> usize {
    let mut hops = Hops::new();
    hops.feed(message);
    hops.count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn header_lines_only() {
        assert_eq!(count(b"Received: a\nreCEIVEDx\n received: no\nDelivered-To: b\nDELIVERED\nDeliver: n\n\nReceived: body\n"), 4);
        assert_eq!(count(b"Received: a\r\n\r\nReceived: body\r\n"), 1);
        assert_eq!(count(b"\nReceived: body\n"), 0);
        assert_eq!(count(b"X: y Received\n"), 0);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "(Received|Delivered|x|:|\n|\r\n){0,40}", cut in 0usize..200) {
            let bytes = text.as_bytes();
            let cut = cut.min(bytes.len());
            let mut hops = Hops::new();
            hops.feed(&bytes[..cut]);
            hops.feed(&bytes[cut..]);
            prop_assert_eq!(hops.count(), count(bytes));
        }
    }
}
