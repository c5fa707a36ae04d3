//! A message read through the header rewriter. Used by `qmail-remote` and `qmail-masq`; keeps one field of the header and one buffer.

use postino_control::masquerade::Masquerade;
use postino_message::masquerade::{Fields, HeaderRewriter};
use std::io::{self, Read};

const BUFFER_BYTES: usize = 8192;

/// The message with the addresses of the table.
pub(crate) struct Masked<'a, R> {
    inner: R,
    table: &'a Masquerade,
    /// While the header lasts.
    rewriter: Option<HeaderRewriter>,
    ready: Vec<u8>,
    /// Bytes of `ready` that were given out.
    given: usize,
}

impl<'a, R: Read> Masked<'a, R> {
    /// With an empty table the bytes go through as they are.
    pub(crate) fn new(inner: R, table: &'a Masquerade) -> Self {
        let fields = if table.rewrites_recipients() { Fields::All } else { Fields::Senders };
        let rewriter = (!table.is_empty()).then(|| HeaderRewriter::new(fields));
        Self { inner, table, rewriter, ready: Vec::new(), given: 0 }
    }

    /// Reads on until something is ready or the message is over.
    fn fill(&mut self) -> io::Result<()> {
        self.ready.clear();
        self.given = 0;
        let mut buffer = [0u8; BUFFER_BYTES];
        while let Some(rewriter) = self.rewriter.as_mut().filter(|_| self.ready.is_empty()) {
            let map = |address: &_| self.table.outside(address);
            let got = self.inner.read(&mut buffer)?;
            rewriter.feed(buffer.get(..got).unwrap_or_default(), &map, &mut self.ready);
            if got == 0 {
                rewriter.finish(&map, &mut self.ready);
            }
            if rewriter.is_done() {
                self.rewriter = None;
            }
        }
        Ok(())
    }
}

impl<R: Read> Read for Masked<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.given == self.ready.len() {
            self.fill()?;
        }
        let mut rest = self.ready.get(self.given..).unwrap_or_default();
        if rest.is_empty() {
            return self.inner.read(out);
        }
        let n = rest.read(out)?;
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_and_body_come_whole() {
        let table = Masquerade::parse(b"@a.test:@b.test\n").unwrap();
        let body = "From: x@a.test\n".repeat(5000);
        let message = format!("From: x@a.test\nTo: y@a.test\n\n{body}");
        let mut got = String::new();
        Masked::new(message.as_bytes(), &table).read_to_string(&mut got).unwrap();
        assert_eq!(got, format!("From: x@b.test\nTo: y@a.test\n\n{body}"));
        got.clear();
        Masked::new(&b"From: x@a.test"[..], &table).read_to_string(&mut got).unwrap();
        assert_eq!(got, "From: x@b.test");
    }
}
