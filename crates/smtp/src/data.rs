//! Message content from the wire: the DATA and BDAT decoders and the hop counter. They work in place in the read buffer, chunk by chunk,
//! and allocate nothing. Called by the session and by the fuzzer; they never keep content and never decide a reply.

use memchr::{memchr, memchr2};

/// A line end that is no CRLF. The message is read to its true end and refused: another hop might see a second message in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BareByte {
    /// CR without LF.
    Cr,
    /// LF without CR.
    Lf,
}

/// What one call of a decoder did with its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the buffer that are used up.
    pub consumed: usize,
    /// Decoded bytes: they stand at the start of the buffer. 0 once a bare CR or LF was seen.
    pub bytes: usize,
    /// The end of the content was seen.
    pub done: bool,
}

/// DATA (RFC 5321 4.1.1.4, 4.5.2): CRLF becomes LF, one leading dot is dropped, only CRLF `.` CRLF ends.
#[derive(Debug, Clone)]
pub struct DataDecoder {
    at: At,
    bare: Option<BareByte>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    LineStart,
    Text,
    /// CR seen inside or at the start of a line.
    Cr,
    /// A dot seen at the start of a line.
    Dot,
    /// Dot and CR seen at the start of a line.
    DotCr,
}

impl Default for DataDecoder {
    fn default() -> Self {
        Self { at: At::LineStart, bare: None }
    }
}

impl DataDecoder {
    /// The first bare CR or LF, if there was one.
    #[must_use]
    pub fn bare(&self) -> Option<BareByte> {
        self.bare
    }

    /// Decodes `buffer` in place, up to its end or the end of the message.
    pub fn decode(&mut self, buffer: &mut [u8]) -> Decoded {
        let mut run = Run::default();
        let mut done = false;
        while let Some(&byte) = buffer.get(run.read) {
            match (self.at, byte) {
                (At::LineStart, b'.') => {
                    self.at = At::Dot;
                    run.skip(1);
                }
                (At::LineStart | At::Text, _) => self.at = text(buffer, &mut run, &mut self.bare),
                (At::Cr, b'\n') => {
                    self.at = At::LineStart;
                    run.put_lf(buffer);
                }
                (At::Dot, b'\r') => {
                    self.at = At::DotCr;
                    run.skip(1);
                }
                (At::DotCr, b'\n') => {
                    run.skip(1);
                    done = true;
                    self.at = At::LineStart;
                    break;
                }
                (At::Dot, _) => self.at = At::Text,
                (At::Cr | At::DotCr, _) => {
                    // The byte is looked at again as text: CR CR LF is a bare CR and a line end.
                    self.bare.get_or_insert(BareByte::Cr);
                    self.at = At::Text;
                }
            }
        }
        Decoded { consumed: run.read, bytes: if self.bare.is_some() { 0 } else { run.written }, done }
    }
}

/// BDAT (RFC 3030): CRLF becomes LF and nothing else happens; a CR may wait for its LF in the next chunk.
#[derive(Debug, Clone, Default)]
pub struct BdatDecoder {
    cr: bool,
    bare: Option<BareByte>,
}

impl BdatDecoder {
    /// The first bare CR or LF, if there was one.
    #[must_use]
    pub fn bare(&self) -> Option<BareByte> {
        self.bare
    }

    /// Decodes all of `buffer` in place.
    pub fn decode(&mut self, buffer: &mut [u8]) -> Decoded {
        let mut run = Run::default();
        while let Some(&byte) = buffer.get(run.read) {
            if self.cr {
                self.cr = false;
                if byte == b'\n' {
                    run.put_lf(buffer);
                } else {
                    self.bare.get_or_insert(BareByte::Cr);
                }
            } else {
                self.cr = text(buffer, &mut run, &mut self.bare) == At::Cr;
            }
        }
        Decoded { consumed: run.read, bytes: if self.bare.is_some() { 0 } else { run.written }, done: false }
    }

    /// Tells that no chunk follows: a CR still waiting is a bare one.
    pub fn finish(&mut self) {
        if self.cr {
            self.cr = false;
            self.bare.get_or_insert(BareByte::Cr);
        }
    }
}

/// Copies text up to the next CR or LF; goes past whole CRLF line ends as long as the next line begins with no dot.
fn text(buffer: &mut [u8], run: &mut Run, bare: &mut Option<BareByte>) -> At {
    let rest = buffer.get(run.read..).unwrap_or_default();
    let Some(n) = memchr2(b'\r', b'\n', rest) else {
        let n = rest.len();
        run.keep(buffer, n);
        return At::Text;
    };
    let (first, second) = (rest.get(n).copied(), rest.get(n + 1).copied());
    if first == Some(b'\n') {
        bare.get_or_insert(BareByte::Lf);
        run.skip(n + 1);
        return At::Text;
    }
    run.keep(buffer, n);
    run.skip(1);
    if second == Some(b'\n') {
        run.put_lf(buffer);
        return At::LineStart;
    }
    At::Cr
}

/// Read and write positions in the buffer; `written` never passes `read`, since nothing grows.
#[derive(Default)]
struct Run {
    read: usize,
    written: usize,
}

impl Run {
    fn skip(&mut self, n: usize) {
        self.read += n;
    }

    fn keep(&mut self, buffer: &mut [u8], n: usize) {
        if self.read != self.written && n > 0 {
            buffer.copy_within(self.read..self.read + n, self.written);
        }
        self.read += n;
        self.written += n;
    }

    /// The byte at `read` is the LF of a CRLF.
    fn put_lf(&mut self, buffer: &mut [u8]) {
        if let Some(to) = buffer.get_mut(self.written) {
            *to = b'\n';
        }
        self.read += 1;
        self.written += 1;
    }
}

/// Counts `Received` and `Delivered-To` lines of the header as qmail-smtpd does (lines that start with `received` or `delivered`).
#[derive(Debug, Clone)]
pub struct HopCounter {
    hops: usize,
    /// First bytes of the current line, lower case.
    start: [u8; 9],
    /// Bytes seen of the current line, at most 9.
    seen: usize,
    header: bool,
}

impl Default for HopCounter {
    fn default() -> Self {
        Self { hops: 0, start: [0; 9], seen: 0, header: true }
    }
}

impl HopCounter {
    /// Hops so far.
    #[must_use]
    pub fn hops(&self) -> usize {
        self.hops
    }

    /// Looks at decoded bytes (LF line ends); does nothing once the header ended.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while self.header && !bytes.is_empty() {
            let end = memchr(b'\n', bytes);
            let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            for &byte in line {
                let Some(to) = self.start.get_mut(self.seen) else { break };
                *to = byte.to_ascii_lowercase();
                self.seen += 1;
                if self.start.get(..self.seen).is_some_and(|s| s == b"received" || s == b"delivered") {
                    self.hops += 1;
                }
            }
            let Some(end) = end else { return };
            // An empty line ends the header; so does a line that cannot be one, but qmail counts on, and a loop must be seen.
            self.header = self.seen > 0;
            self.seen = 0;
            bytes = bytes.get(end + 1..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests;
