//! SCRAM (RFC 5802, RFC 7677): the messages, and the keys that a server keeps instead of a password. Called by the exchange and by whoever keeps
//! the keys. It makes no random bytes and prints no key.

mod message;

pub(crate) use message::{ClientFinal, ClientFirst, Flag, server_first};

use hmac::{Hmac, KeyInit, Mac};
use postino_types::ScramHash;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Iterations that new keys are made with (RFC 7677 4: 4096 at least).
pub const ITERATIONS: u32 = 10_000;
/// More than this nobody asks of a client, nor we of ourselves.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes of the salts that we make.
pub const SALT_BYTES: usize = 16;

/// What a server keeps of a password. The stored key checks a proof and cannot make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// H(ClientKey).
    pub stored: Vec<u8>,
    /// ServerKey.
    pub server: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Of a password: costs `iterations` HMACs.
    #[must_use]
    pub fn derive(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(hash, password, salt, iterations);
        let client = Zeroizing::new(mac(hash, &salted, b"Client Key"));
        Self { stored: digest(hash, &client), server: mac(hash, &salted, b"Server Key") }
    }

    fn client(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(mac(hash, &salted_password(hash, password, salt, iterations), b"Client Key"))
    }

    /// Does the proof belong to the message and to the password that these keys were made of?
    #[must_use]
    pub fn proves(&self, hash: ScramHash, message: &[u8], proof: &[u8]) -> bool {
        let mut client = Zeroizing::new(mac(hash, &self.stored, message));
        if proof.len() != client.len() {
            return false;
        }
        for (byte, given) in client.iter_mut().zip(proof) {
            *byte ^= given;
        }
        digest(hash, &client).ct_eq(&self.stored).into()
    }
}

/// ClientProof, the client's side of [`Keys::proves`].
#[must_use]
pub fn client_proof(hash: ScramHash, password: &[u8], (salt, iterations): (&[u8], u32), message: &[u8]) -> Vec<u8> {
    let client = Keys::client(hash, password, salt, iterations);
    let signature = mac(hash, &digest(hash, &client), message);
    client.iter().zip(&signature).map(|(key, byte)| key ^ byte).collect()
}

/// What the server says at last: v=, which proves that it knows the password's keys.
#[must_use]
pub fn server_signature(hash: ScramHash, server_key: &[u8], message: &[u8]) -> Vec<u8> {
    mac(hash, server_key, message)
}

/// HMAC with the mechanism's hash; also good for salts that must look alike each time.
#[must_use]
pub fn mac(hash: ScramHash, key: &[u8], text: &[u8]) -> Vec<u8> {
    match hash {
        ScramHash::Sha1 => keyed::<Hmac<Sha1>>(key).chain_update(text).finalize().into_bytes().to_vec(),
        ScramHash::Sha256 => keyed::<Hmac<Sha256>>(key).chain_update(text).finalize().into_bytes().to_vec(),
    }
}

/// SaltedPassword of RFC 5802 3.
fn salted_password(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
    let password = crate::prepared(password);
    Zeroizing::new(match hash {
        ScramHash::Sha1 => salted::<Hmac<Sha1>>(&password, salt, iterations),
        ScramHash::Sha256 => salted::<Hmac<Sha256>>(&password, salt, iterations),
    })
}

fn digest(hash: ScramHash, text: &[u8]) -> Vec<u8> {
    match hash {
        ScramHash::Sha1 => Sha1::digest(text).to_vec(),
        ScramHash::Sha256 => Sha256::digest(text).to_vec(),
    }
}

fn keyed<M: KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).expect("invariant: HMAC takes keys of any length")
}

/// Hi() of RFC 5802 2.2: PBKDF2 of one block.
fn salted<M: Mac + KeyInit + Clone>(password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let keyed: M = keyed(password);
    let mut last = keyed.clone().chain_update(salt).chain_update(1u32.to_be_bytes()).finalize().into_bytes();
    let mut sum = last.to_vec();
    for _ in 1..iterations.min(ITERATIONS_MAX) {
        last = keyed.clone().chain_update(&last).finalize().into_bytes();
        for (byte, more) in sum.iter_mut().zip(&last) {
            *byte ^= more;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// RFC 5802 5 and RFC 7677 3: message, proof and v= of user `user`, password `pencil`.
    #[test]
    fn examples_of_the_rfcs() {
        let from = |text: &str| STANDARD.decode(text).unwrap();
        let cases = [
            (
                ScramHash::Sha1,
                "QSXCR+Q6sek8bf92",
                "n=user,r=fyko+d2lbbFgONRv9qkxdawL,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096,c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
                "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                ScramHash::Sha256,
                "W22ZaJ0SNY7soEsUEjb6gQ==",
                "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
                "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ];
        for (hash, salt, message, proof, signature) in cases {
            let keys = Keys::derive(hash, b"pencil", &from(salt), 4096);
            assert!(keys.proves(hash, message.as_bytes(), &from(proof)));
            assert_eq!(server_signature(hash, &keys.server, message.as_bytes()), from(signature));
            let mut wrong = from(proof);
            wrong[0] ^= 1;
            assert!(!keys.proves(hash, message.as_bytes(), &wrong));
            assert!(!keys.proves(hash, message.as_bytes(), b""));
            assert!(!Keys::derive(hash, b"pencil2", &from(salt), 4096).proves(hash, message.as_bytes(), &from(proof)));
        }
    }

    #[test]
    fn one_password_in_two_spellings_has_the_same_keys() {
        let keys = |password: &str| Keys::derive(ScramHash::Sha256, password.as_bytes(), b"salt", 2);
        assert_eq!(keys("\u{2168}"), keys("IX"));
        assert_ne!(keys("IX"), keys("IY"));
    }
}
