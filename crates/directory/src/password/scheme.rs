//! `{SCHEME}` values as LDAP and Dovecot write them. Called by the dispatcher with what follows the `{`. Pure.

use super::{constant_time_equal, verify_crypt};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

/// `rest` is `SCHEME}value`; scheme names fold case, `.b64` and `.hex` suffixes as Dovecot has them.
pub(super) fn verify(password: &[u8], rest: &str) -> bool {
    let Some((name, value)) = rest.split_once('}') else { return false };
    let name = name.to_ascii_uppercase();
    let (name, hex) = match name.strip_suffix(".HEX") {
        Some(base) => (base, true),
        None => (name.strip_suffix(".B64").unwrap_or(&name), false),
    };
    match name {
        "PLAIN" | "CLEAR" | "CLEARTEXT" => constant_time_equal(password, value.as_bytes()),
        "CRYPT" | "MD5-CRYPT" | "SHA256-CRYPT" | "SHA512-CRYPT" | "BLF-CRYPT" | "DES-CRYPT" | "ARGON2ID" | "ARGON2I" => {
            !value.is_empty() && verify_crypt(password, value)
        }
        // Dovecot writes MD5-crypt under this name, LDAP a bare digest.
        "MD5" if value.starts_with('$') => verify_crypt(password, value),
        "MD5" | "LDAP-MD5" => digest_matches::<Md5>(password, value, hex),
        "PLAIN-MD5" => digest_matches::<Md5>(password, value, true),
        "SMD5" => digest_matches::<Md5>(password, value, hex),
        "SHA" | "SHA1" | "SSHA" => digest_matches::<Sha1>(password, value, hex),
        "SHA256" | "SSHA256" => digest_matches::<Sha256>(password, value, hex),
        "SHA512" | "SSHA512" => digest_matches::<Sha512>(password, value, hex),
        _ => false,
    }
}

/// A digest of password and salt, with the salt (perhaps none) behind it.
fn digest_matches<D: Digest>(password: &[u8], value: &str, hex: bool) -> bool {
    let decoded = if hex { unhex(value) } else { STANDARD.decode(value).or_else(|_| STANDARD_NO_PAD.decode(value)).ok() };
    let Some(decoded) = decoded else { return false };
    let Some((digest, salt)) = decoded.split_at_checked(<D as Digest>::output_size()) else { return false };
    let mut hash = D::new();
    hash.update(password);
    hash.update(salt);
    constant_time_equal(&hash.finalize(), digest)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect()
}
