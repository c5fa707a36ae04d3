//! Answers to a challenge that only the holder of the clear password can give: APOP (RFC 1939 7) and CRAM-MD5 (RFC 2195). Called by logins. Pure.

use super::constant_time_equal;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};

/// Is `answer` the hex MD5 of stamp and password?
#[must_use]
pub fn apop_matches(clear: &[u8], stamp: &[u8], answer: &[u8]) -> bool {
    let digest = Md5::new().chain_update(stamp).chain_update(clear).finalize();
    is_hex_of(&digest, answer)
}

/// Is `answer` the hex HMAC-MD5 of the challenge, keyed with the password?
#[must_use]
pub fn cram_md5_matches(clear: &[u8], challenge: &[u8], answer: &[u8]) -> bool {
    let Ok(mac) = Hmac::<Md5>::new_from_slice(clear) else { return false };
    is_hex_of(&mac.chain_update(challenge).finalize().into_bytes(), answer)
}

fn is_hex_of(digest: &[u8], answer: &[u8]) -> bool {
    let computed: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    constant_time_equal(computed.as_bytes(), &answer.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfcs() {
        assert!(apop_matches(b"tanstaaf", b"<1896.697170952@dbc.mtview.ca.us>", b"c4c9334bac560ecc979e58001b3e22fb"));
        let challenge = b"<1896.697170952@postoffice.reston.mci.net>";
        assert!(cram_md5_matches(b"tanstaaftanstaaf", challenge, b"b913a602c7eda7a495b4e6e7334d3890"));
        assert!(!cram_md5_matches(b"tanstaaftanstaaf", b"<x@y>", b"b913a602c7eda7a495b4e6e7334d3890"));
        assert!(!apop_matches(b"tanstaaf", b"", b""));
    }
}
