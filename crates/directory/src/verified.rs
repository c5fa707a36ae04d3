//! Passwords that were right a moment ago: a login that comes again costs microseconds instead of a hash. Called by the login path.
//! Keeps no password, only a keyed digest of login, password and stored hash, so a changed hash ends it at once; never for more than five minutes.

use crate::password::constant_time_equal;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a right password is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(300);
/// Accounts remembered.
const ENTRIES_MAX: usize = 10_000;

/// A digest that only this process can make.
#[derive(Clone, Copy)]
pub(crate) struct Proof([u8; 32]);

/// The memory. Without random bytes from the system it remembers nothing.
pub(crate) struct Verified {
    key: Option<[u8; 32]>,
    entries: Mutex<HashMap<String, (Proof, Duration)>>,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verified(..)")
    }
}

impl Verified {
    /// An empty memory with a fresh key.
    pub(crate) fn new() -> Self {
        let mut key = [0u8; 32];
        let key = getrandom::fill(&mut key).ok().map(|()| key);
        Self { key, entries: Mutex::default() }
    }

    /// The digest of a login; `None` when nothing is remembered at all.
    pub(crate) fn proof(&self, login: &str, password: &[u8], stored: &str) -> Option<Proof> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key?).ok()?;
        for part in [login.as_bytes(), password, stored.as_bytes()] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Some(Proof(mac.finalize().into_bytes().into()))
    }

    /// Was this very login right less than five minutes ago?
    pub(crate) fn knows(&self, login: &str, proof: &Proof, now: Duration) -> bool {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(login).is_some_and(|(known, until)| *until > now && constant_time_equal(&known.0, &proof.0))
    }

    /// It was right.
    pub(crate) fn remember(&self, login: &str, proof: Proof, now: Duration) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (_, until)| *until > now);
        }
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(login.to_owned(), (proof, now.saturating_add(REMEMBERED)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_one_login_until_anything_changes() {
        let verified = Verified::new();
        let at = Duration::from_secs;
        let proof = verified.proof("a@x", b"pw", "$1$h").unwrap();
        assert!(!verified.knows("a@x", &proof, at(0)), "nothing yet");
        verified.remember("a@x", proof, at(0));
        assert!(verified.knows("a@x", &proof, at(299)));
        assert!(!verified.knows("a@x", &proof, at(300)), "five minutes");
        for (login, password, stored) in
            [("b@x", &b"pw"[..], "$1$h"), ("a@x", b"pv", "$1$h"), ("a@x", b"pw", "$1$i"), ("a@x", b"pw$", "1$h")]
        {
            let other = verified.proof(login, password, stored).unwrap();
            assert!(!verified.knows("a@x", &other, at(1)), "{login} {stored}");
        }
    }

    #[test]
    fn is_bounded() {
        let verified = Verified::new();
        for number in 0..ENTRIES_MAX + 5 {
            let login = number.to_string();
            let proof = verified.proof(&login, b"x", "y").unwrap();
            verified.remember(&login, proof, Duration::ZERO);
        }
        assert!(verified.entries.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
