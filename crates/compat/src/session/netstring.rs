//! Netstrings (`5:hello,`) to and from the client: what QMTP and QMQP are made of. Used by the sessions of both; lengths are bounded, and nothing
//! long is kept.

use super::net::{Gone, Net};
use postino_types::exit;

/// Longest message, bytes; a longer netstring is refused before it is read.
const LENGTH_MAX: u64 = 200_000_000;
/// Longest address, bytes.
pub(super) const ADDRESS_BYTES_MAX: u64 = 999;

/// Not the protocol: the exit code of the originals.
pub(super) const PROTOCOL: i32 = exit::HARD;

/// `bytes` as a netstring.
pub(crate) fn netstring(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes, b","].concat()
}

/// Reads netstrings inside a number of bytes. Errors are exit codes.
pub(super) struct Reader<'a> {
    net: &'a mut Net,
    left: u64,
}

impl<'a> Reader<'a> {
    /// Up to the client's end.
    pub(super) fn new(net: &'a mut Net) -> Self {
        Self { net, left: u64::MAX }
    }

    /// Nothing may be read beyond the next `bytes` bytes.
    pub(super) fn limit(&mut self, bytes: u64) {
        self.left = bytes;
    }

    /// No limit any more.
    pub(super) fn unlimit(&mut self) {
        self.left = u64::MAX;
    }

    /// What may still be read.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    fn byte(&mut self) -> Result<u8, i32> {
        self.left = self.left.checked_sub(1).ok_or(PROTOCOL)?;
        let byte = self.net.available().map_err(gone)?.first().copied().ok_or(exit::SOFT)?;
        self.net.take(1);
        Ok(byte)
    }

    /// The number in front of a netstring.
    pub(super) fn length(&mut self) -> Result<u64, i32> {
        let mut length = 0u64;
        loop {
            match self.byte()? {
                b':' => return Ok(length),
                digit if digit.is_ascii_digit() => length = length * 10 + u64::from(digit - b'0'),
                _ => return Err(PROTOCOL),
            }
            if length > LENGTH_MAX {
                return Err(exit::SOFT);
            }
        }
    }

    /// The end of a netstring.
    pub(super) fn comma(&mut self) -> Result<(), i32> {
        if self.byte()? == b',' { Ok(()) } else { Err(PROTOCOL) }
    }

    /// The inside of a netstring, in pieces.
    pub(super) fn bytes(&mut self, length: u64, take: &mut dyn FnMut(&[u8])) -> Result<(), i32> {
        let mut rest = length;
        self.left = self.left.checked_sub(length).ok_or(PROTOCOL)?;
        while rest > 0 {
            let seen = self.net.available().map_err(gone)?;
            let n = usize::try_from(rest).unwrap_or(usize::MAX).min(seen.len());
            take(seen.get(..n).unwrap_or_default());
            self.net.take(n);
            rest = rest.saturating_sub(n as u64);
        }
        Ok(())
    }

    /// A whole netstring that is an address; `None` when no queue would take it.
    pub(super) fn address(&mut self) -> Result<Option<Vec<u8>>, i32> {
        let length = self.length()?;
        let mut address = Vec::new();
        let fits = length <= ADDRESS_BYTES_MAX;
        self.bytes(length, &mut |bytes| {
            if fits {
                address.extend_from_slice(bytes);
            }
        })?;
        self.comma()?;
        Ok(Some(address).filter(|address| fits && !address.contains(&0)))
    }
}

/// A client that goes is nothing to complain about: what it did not end was not taken.
fn gone(gone: Gone) -> i32 {
    match gone {
        Gone::Closed => exit::OK,
        Gone::Timeout => exit::SOFT,
    }
}
