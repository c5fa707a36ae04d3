//! What several fuzz targets share: cutting an input into pieces and reading small numbers from it. Called by the targets only; the same input
//! always gives the same pieces, so that a finding can be repeated.

pub use libfuzzer_sys::fuzz_target;

/// Reads values from the front of an input; gives zeros when it is used up.
pub struct Source<'a> {
    rest: &'a [u8],
}

impl<'a> Source<'a> {
    /// Over the whole input.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { rest: input }
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        first
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Up to 255 bytes, their number first.
    pub fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte()).min(self.rest.len());
        let (head, rest) = self.rest.split_at(n);
        self.rest = rest;
        head
    }

    /// As [`Source::bytes`], made text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// True when nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Cuts `input` into pieces; `seed` says how. Seed 0 gives single bytes, 1 the whole.
pub fn pieces(input: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    let mut dice = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        dice ^= dice << 13;
        dice ^= dice >> 17;
        dice ^= dice << 5;
        let n = match seed {
            0 => 1,
            1 => rest.len(),
            _ => 1 + (dice as usize) % (1 + usize::from(seed)),
        };
        let (piece, after) = rest.split_at(n.min(rest.len()));
        rest = after;
        Some(piece)
    })
}
