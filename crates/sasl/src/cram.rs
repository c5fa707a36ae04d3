//! CRAM-MD5 (RFC 2195): HMAC-MD5 of a stamp, from the password or from a prepared secret (the two inner states of HMAC-MD5, which open accounts by
//! CRAM-MD5 only). Called by the exchange and by whoever knows the secrets; it keeps none.

use hmac::{Hmac, KeyInit, Mac};
use md5::block_api::compress;
use md5::{Digest, Md5};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const BLOCK: usize = 64;
const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// What a prepared secret holds: the states of MD5 after the padded key. It is worth no less than a password to CRAM-MD5, and no more than its hash
/// to anything else.
#[derive(Clone, PartialEq, Eq)]
pub struct CramKeys {
    outer: [u32; 4],
    inner: [u32; 4],
}

impl std::fmt::Debug for CramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CramKeys(..)")
    }
}

impl CramKeys {
    /// Of a password.
    #[must_use]
    pub fn of(password: &[u8]) -> Self {
        let mut key = Zeroizing::new([0u8; BLOCK]);
        let hashed = Md5::digest(password);
        let short = if password.len() > BLOCK { hashed.as_slice() } else { password };
        for (to, from) in key.iter_mut().zip(short) {
            *to = *from;
        }
        let state = |pad: u8| {
            let mut state = START;
            compress(&mut state, &[key.map(|b| b ^ pad)]);
            state
        };
        Self { outer: state(0x5c), inner: state(0x36) }
    }

    /// As 64 hex digits: outer state, then inner, the words' low bytes first (other servers write `{CRAM-MD5}` so).
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.outer.iter().chain(&self.inner).flat_map(|word| word.to_le_bytes()))
    }

    /// Back again.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let word = |at: usize| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::swap_bytes);
        let half = |from: usize| Some([word(from)?, word(from + 1)?, word(from + 2)?, word(from + 3)?]);
        Some(Self { outer: half(0)?, inner: half(4)? })
    }

    /// The answer to a challenge, in hex.
    #[must_use]
    pub fn respond(&self, challenge: &[u8]) -> String {
        let inner = finish(self.inner, challenge);
        hex(finish(self.outer, &inner))
    }
}

/// The answer to a challenge, in hex.
#[must_use]
pub fn respond(password: &[u8], challenge: &[u8]) -> String {
    let mut mac = Hmac::<Md5>::new_from_slice(password).expect("invariant: HMAC takes keys of any length");
    mac.update(challenge);
    hex(mac.finalize().into_bytes())
}

/// Are these hex digits, in any case, that answer? In a time that tells nothing.
#[must_use]
pub fn is_same(expected: &str, given: &[u8]) -> bool {
    expected.as_bytes().ct_eq(&given.to_ascii_lowercase()).into()
}

/// The client's response: `user SP digest`; the user may hold blanks.
pub(crate) fn response(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = message.iter().rposition(|&b| b == b' ')?;
    let (name, digest) = (message.get(..blank)?, message.get(blank + 1..)?);
    (crate::plain::is_name(name) && digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit)).then_some((name, digest))
}

/// MD5 of a block that led to `state`, then `rest`.
fn finish(mut state: [u32; 4], rest: &[u8]) -> [u8; 16] {
    let bits = (BLOCK as u64).wrapping_add(rest.len() as u64).wrapping_mul(8);
    let mut padded = rest.to_vec();
    padded.push(0x80);
    while padded.len() % BLOCK != BLOCK - 8 {
        padded.push(0);
    }
    padded.extend_from_slice(&bits.to_le_bytes());
    let (blocks, _) = padded.as_chunks::<BLOCK>();
    compress(&mut state, blocks);
    let mut out = [0u8; 16];
    for (to, from) in out.iter_mut().zip(state.iter().flat_map(|word| word.to_le_bytes())) {
        *to = from;
    }
    out
}

fn hex(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_2195_example() {
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert_eq!(respond(b"tanstaaftanstaaf", challenge), "b913a602c7eda7a495b4e6e7334d3890");
        assert!(is_same("b913a602c7eda7a495b4e6e7334d3890", b"B913A602C7EDA7A495B4E6E7334D3890"));
        assert_eq!(response(b"tim b913a602c7eda7a495b4e6e7334d3890").unwrap().0, b"tim");
        for bad in [&b"tim"[..], b" b913a602c7eda7a495b4e6e7334d3890", b"tim b913", b"tim zz13a602c7eda7a495b4e6e7334d3890"] {
            assert_eq!(response(bad), None);
        }
    }

    proptest! {
        #[test]
        fn a_prepared_secret_answers_like_the_password(password in proptest::collection::vec(any::<u8>(), 0..200), challenge in proptest::collection::vec(any::<u8>(), 0..200)) {
            let keys = CramKeys::of(&password);
            prop_assert_eq!(keys.respond(&challenge), respond(&password, &challenge));
            prop_assert_eq!(CramKeys::from_hex(&keys.to_hex()), Some(keys));
        }
    }
}
