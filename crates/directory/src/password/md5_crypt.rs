//! MD5-crypt (`$1$`, FreeBSD 2.0) and its twin `$apr1$` (Apache). Called by the dispatcher. Pure; broken as a hash, kept to read old files.

use super::modular::push_crypt_digits;
use md5::{Digest, Md5};

/// The hash of `password` with the salt in `stored`, as text; `None` when `stored` is no such hash.
pub(super) fn crypt(password: &[u8], stored: &str, magic: &str) -> Option<String> {
    let salt = stored.strip_prefix(magic)?.split('$').next()?;
    let salt = salt.as_bytes().get(..salt.len().min(8))?;
    let digest = rounds(password, salt, setup(password, salt, magic.as_bytes()));
    let mut out = String::with_capacity(magic.len() + salt.len() + 23);
    out.push_str(magic);
    out.push_str(std::str::from_utf8(salt).ok()?);
    out.push('$');
    let at = |index: usize| u32::from(digest.get(index).copied().unwrap_or_default());
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        push_crypt_digits(&mut out, at(a) << 16 | at(b) << 8 | at(c), 4);
    }
    push_crypt_digits(&mut out, at(11), 2);
    Some(out)
}

fn setup(password: &[u8], salt: &[u8], magic: &[u8]) -> [u8; 16] {
    let mut inner = Md5::new();
    inner.update(password);
    inner.update(salt);
    inner.update(password);
    let inner: [u8; 16] = inner.finalize().into();

    let mut outer = Md5::new();
    outer.update(password);
    outer.update(magic);
    outer.update(salt);
    let mut left = password.len();
    while left > 0 {
        let take = left.min(inner.len());
        outer.update(inner.get(..take).unwrap_or_default());
        left -= take;
    }
    let mut bits = password.len();
    while bits > 0 {
        // The original's famous slip: the byte of a cleared buffer, not of the digest.
        outer.update(if bits & 1 == 1 { &[0u8][..] } else { password.get(..1).unwrap_or_default() });
        bits >>= 1;
    }
    outer.finalize().into()
}

fn rounds(password: &[u8], salt: &[u8], start: [u8; 16]) -> [u8; 16] {
    let mut digest = start;
    for round in 0..1000u32 {
        let mut hash = Md5::new();
        if round & 1 == 1 {
            hash.update(password);
        } else {
            hash.update(digest);
        }
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        if round & 1 == 1 {
            hash.update(digest);
        } else {
            hash.update(password);
        }
        digest = hash.finalize().into();
    }
    digest
}
