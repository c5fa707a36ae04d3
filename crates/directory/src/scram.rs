//! SCRAM for accounts whose clear password is stored: salts, keys and the check of a proof. Called by the login path. Of a name that nobody has, and of
//! an account without a clear password, everything looks and costs the same; salts hold as long as the process.

use postino_ports::directory::{ScramHash, ScramParameters};
use postino_sasl::scram::{self, Keys, SALT_BYTES};
use zeroize::Zeroizing;

/// Iterations: RFC 7677 4 wants 4096. The stored password is no better protected by more, since it is stored in the clear.
const ITERATIONS: u32 = 4096;

/// What salts and the passwords of nobody are made from.
pub(crate) struct Salter(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Salter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salter(..)")
    }
}

impl Salter {
    /// Fresh. Without random bytes from the system salts can be guessed, and no proof of nobody's is taken all the same.
    pub(crate) fn new() -> Self {
        let mut secret = Zeroizing::new([0u8; 32]);
        if getrandom::fill(secret.as_mut()).is_err() {
            tracing::warn!("no random bytes for the salts of SCRAM");
        }
        Self(secret)
    }

    /// The work of one step: an account's salt and keys. `login` as the client wrote it.
    pub(crate) fn account(&self, login: &[u8], hash: ScramHash, clear: Option<&str>) -> Account {
        let login = login.to_ascii_lowercase();
        let mut salt = scram::mac(ScramHash::Sha256, self.0.as_ref(), &[b"salt ", login.as_slice()].concat());
        salt.truncate(SALT_BYTES);
        let nobody = Zeroizing::new(scram::mac(ScramHash::Sha256, self.0.as_ref(), &[b"password ", login.as_slice()].concat()));
        let clear = clear.filter(|clear| !clear.is_empty());
        let keys = Keys::derive(hash, clear.map_or(nobody.as_slice(), str::as_bytes), &salt, ITERATIONS);
        Account { hash, salt, keys, is_somebody: clear.is_some() }
    }
}

/// One account, or nobody's.
pub(crate) struct Account {
    hash: ScramHash,
    salt: Vec<u8>,
    keys: Keys,
    is_somebody: bool,
}

impl Account {
    /// For the server's first message.
    pub(crate) fn parameters(self) -> ScramParameters {
        ScramParameters { salt: self.salt, iterations: ITERATIONS, server_key: self.keys.server }
    }

    /// Is that the proof of the account's password?
    pub(crate) fn is_proven(&self, message: &[u8], proof: &[u8]) -> bool {
        self.keys.proves(self.hash, message, proof) && self.is_somebody
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stored_password_proves_and_nobody_looks_like_somebody() {
        let salter = Salter::new();
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            let known = || salter.account(b"u@D", hash, Some("sesame"));
            let parameters = known().parameters();
            let proof = |password: &[u8]| scram::client_proof(hash, password, (&parameters.salt, parameters.iterations), b"message");
            assert!(known().is_proven(b"message", &proof(b"sesame")));
            assert!(!known().is_proven(b"other", &proof(b"sesame")));
            assert!(!known().is_proven(b"message", &proof(b"wrong")));
            let nobody = salter.account(b"u@d", hash, None).parameters();
            assert_eq!(
                (nobody.salt, nobody.iterations),
                (parameters.salt.clone(), parameters.iterations),
                "the same name has the same salt"
            );
            assert!(!salter.account(b"u@d", hash, Some("")).is_proven(b"message", &proof(b"")));
        }
        assert_ne!(
            salter.account(b"v@d", ScramHash::Sha1, None).parameters().salt,
            salter.account(b"u@d", ScramHash::Sha1, None).parameters().salt
        );
    }
}
