//! Passwords that `-r` makes. Called by the programs that set one. Letters and digits that are not taken for one another.

use crate::complaint::Complaint;

const LETTERS: &[u8; 56] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters of a password where `-r` names no number.
pub(crate) const LENGTH: usize = 8;
/// Most letters that may be asked for.
const LENGTH_MAX: usize = 128;

/// `-r` or `-r12`.
pub(crate) fn asked(length: Option<&str>) -> Result<String, Complaint> {
    let length = length.and_then(|text| text.parse().ok()).filter(|length| (1..=LENGTH_MAX).contains(length)).unwrap_or(LENGTH);
    let mut password = String::with_capacity(length);
    let mut bytes = [0u8; 64];
    while password.len() < length {
        getrandom::fill(&mut bytes).map_err(|_| Complaint::error("no random bytes"))?;
        // Bytes above the last whole multiple are thrown away: each letter is as likely as any other.
        let fair = bytes.iter().filter(|byte| usize::from(**byte) < LETTERS.len() * (256 / LETTERS.len()));
        let letters = fair.filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len())).map(|letter| char::from(*letter));
        password.extend(letters.take(length - password.len()));
    }
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_length_that_is_asked_for() {
        for (asked_for, length) in [(None, 8), (Some("12"), 12), (Some("0"), 8), (Some("x"), 8), (Some("128"), 128), (Some("9999"), 8)] {
            let password = asked(asked_for).unwrap();
            assert_eq!(password.len(), length);
            assert!(password.bytes().all(|b| LETTERS.contains(&b)));
        }
        assert_ne!(asked(None).unwrap(), asked(None).unwrap());
    }
}
