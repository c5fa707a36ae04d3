//! File names of a Maildir: `unique[,S=bytes][,W=bytes][:2,flags]`. Pure.

/// The part that never changes while the message lives: what stands before the first `:`.
pub(super) fn unique(name: &[u8]) -> &[u8] {
    name.split(|&b| b == b':').next().unwrap_or(name)
}

/// The time of delivery, seconds, as most programs put it first in the name (`1700000000.M5P9.host`). Ten digits at least: smaller
/// numbers are counters.
pub(super) fn seconds(unique: &[u8]) -> Option<i64> {
    let digits = unique.split(|&b| b == b'.').next()?;
    if digits.len() < 9 || digits.len() > 11 {
        return None;
    }
    number(digits).and_then(|n| i64::try_from(n).ok())
}

/// `,S=`: bytes of the file.
pub(super) fn file_bytes(unique: &[u8]) -> Option<u64> {
    field(unique, b"S=")
}

/// `,W=`: bytes with every line end as CRLF.
pub(super) fn wire_bytes(unique: &[u8]) -> Option<u64> {
    field(unique, b"W=")
}

/// The UIDL of RFC 1939 7: the unique part itself (as qmail-pop3d gives it) when it is 1 to 70 bytes of 0x21 … 0x7E, else a hash of it.
pub(super) fn uidl(unique: &[u8]) -> String {
    if (1..=70).contains(&unique.len())
        && unique.iter().all(|b| (0x21..=0x7e).contains(b))
        && let Ok(text) = std::str::from_utf8(unique)
    {
        return text.to_owned();
    }
    format!("h{:032x}", fnv1a(unique))
}

fn field(unique: &[u8], key: &[u8]) -> Option<u64> {
    unique.split(|&b| b == b',').skip(1).find_map(|part| part.strip_prefix(key)).and_then(number)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// FNV-1a, 128 bits: the same on every machine and for ever, which is all that a UIDL needs.
fn fnv1a(bytes: &[u8]) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    bytes.iter().fold(BASIS, |h, &b| (h ^ u128::from(b)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_name() {
        let u = unique(b"1700000000.M5P9.host,S=120,W=125:2,RS");
        assert_eq!(u, b"1700000000.M5P9.host,S=120,W=125");
        assert_eq!((seconds(u), file_bytes(u), wire_bytes(u)), (Some(1_700_000_000), Some(120), Some(125)));
        assert_eq!(seconds(b"5.x"), None);
        assert_eq!(seconds(b"999999999999.x"), None);
        assert_eq!(file_bytes(b"S=5"), None, "the first part is never a field");
        assert_eq!(wire_bytes(b"a,W=99999999999999999999999"), None);
        assert_eq!(wire_bytes(b"a,W=-1"), None);
    }

    #[test]
    fn uidl_is_the_unique_part_or_a_stable_hash() {
        assert_eq!(uidl(b"1700000000.5.h,S=3"), "1700000000.5.h,S=3");
        assert_eq!(uidl(&[b'a'; 70]).len(), 70);
        assert_eq!(fnv1a(b"a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964, "the published test vector");
        // FNV-1a 128 of "a b": fixed for ever, or every client downloads its mail again.
        assert_eq!(uidl(b"a b"), "ha68d62c6038b5822836dbc79780dff7a".to_owned());
        assert_eq!(uidl(&[b'a'; 71]).len(), 33);
        assert_ne!(uidl(&[b'a'; 71]), uidl(&[b'a'; 72]));
        assert_ne!(uidl(b"caf\xc3\xa9"), uidl(b"caf\xc3\xa8"));
    }
}
