//! Password hashes as vpopmail, crypt(3), LDAP and Dovecot write them: verify any of them, make new ones. Called by the login path
//! and by the administration. Pure computation: no files, no clock; it never prints or keeps a password.

mod des_crypt;
pub mod digest;
mod md5_crypt;
mod modular;
mod scheme;

#[cfg(test)]
mod tests;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Longest password that is looked at, in bytes. The sha-crypt setup is quadratic in the length, so a bound is a defence.
pub const PASSWORD_BYTES_MAX: usize = 512;

/// Most rounds of sha-crypt, memory (KiB) and passes that a stored hash may ask for: a damaged record must not stop the server.
const SHA_CRYPT_ROUNDS_MAX: u32 = 5_000_000;
const MEMORY_KIB_MAX: u64 = 512 * 1024;
const BCRYPT_COST_MAX: u32 = 17;

/// How new passwords are hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewHash {
    /// `$1$`: broken as a hash, but what vpopmail wrote; for its own programs' sake only.
    Md5Crypt,
    /// `$6$`, readable by every crypt(3) of this century, so by vpopmail's own programs too. The default, with 5000 rounds.
    Sha512Crypt {
        /// Rounds, 1000 to 5 000 000.
        rounds: u32,
    },
    /// `$y$`, Debian's own default in /etc/shadow; crypt(3) of libxcrypt reads it.
    Yescrypt,
    /// `$argon2id$` (RFC 9106, 19 MiB, 2 passes): the strongest, but no crypt(3) reads it.
    Argon2id,
}

impl Default for NewHash {
    fn default() -> Self {
        Self::Sha512Crypt { rounds: sha_crypt::Params::RECOMMENDED_ROUNDS }
    }
}

/// A password could not be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The system gave no random bytes.
    #[error("no random bytes for the salt")]
    NoRandom,
    /// The parameters are out of range.
    #[error("hash parameters out of range")]
    Parameters,
}

/// Hashes a new password with a fresh salt.
pub fn hash_password(password: &[u8], new_hash: NewHash) -> Result<String, HashError> {
    let mut salt = [0u8; 16];
    getrandom::fill(&mut salt).map_err(|_| HashError::NoRandom)?;
    match new_hash {
        NewHash::Md5Crypt => {
            let digit = |&byte: &u8| char::from(modular::crypt_digit(u32::from(byte) & 63));
            let prefix: String = "$1$".chars().chain(salt.iter().take(8).map(digit)).collect();
            md5_crypt::crypt(password, &prefix, "$1$").ok_or(HashError::Parameters)
        }
        NewHash::Sha512Crypt { rounds } => {
            if rounds > SHA_CRYPT_ROUNDS_MAX {
                return Err(HashError::Parameters);
            }
            let text: Vec<u8> = salt.iter().map(|&byte| modular::crypt_digit(u32::from(byte) & 63)).collect();
            let parameters = sha_crypt::Params::new(rounds).map_err(|_| HashError::Parameters)?;
            let body = modular::sha512_text(password, &text, parameters);
            let salt_text = String::from_utf8_lossy(&text);
            if rounds == sha_crypt::Params::RECOMMENDED_ROUNDS {
                Ok(format!("$6${salt_text}${body}"))
            } else {
                Ok(format!("$6$rounds={rounds}${salt_text}${body}"))
            }
        }
        NewHash::Yescrypt => yescrypt::Yescrypt::default()
            .hash_password_with_salt(password, &salt)
            .map(|hash| hash.as_str().to_owned())
            .map_err(|_| HashError::Parameters),
        NewHash::Argon2id => argon2::Argon2::default()
            .hash_password_with_salt(password, &salt)
            .map(|hash| hash.to_string())
            .map_err(|_| HashError::Parameters),
    }
}

/// Does `password` belong to `stored`? Unknown or damaged hashes, an empty stored value, a NUL and an overlong password are all "no".
#[must_use]
pub fn verify_password(password: &[u8], stored: &str) -> bool {
    if stored.is_empty() || password.len() > PASSWORD_BYTES_MAX || password.contains(&0) {
        return false;
    }
    if let Some(rest) = stored.strip_prefix('{') {
        return scheme::verify(password, rest);
    }
    verify_crypt(password, stored)
}

/// The modular forms (`$id$…`), and traditional DES.
fn verify_crypt(password: &[u8], stored: &str) -> bool {
    let id = stored.strip_prefix('$').and_then(|rest| rest.split('$').next());
    match id {
        Some("1") => compare_computed(md5_crypt::crypt(password, stored, "$1$"), stored),
        Some("apr1") => compare_computed(md5_crypt::crypt(password, stored, "$apr1$"), stored),
        Some("5" | "6") => compare_computed(modular::sha_crypt(password, stored), stored),
        Some("2a" | "2b" | "2y" | "2x") => verify_bcrypt(password, stored),
        Some("y") => modular::verify_yescrypt(password, stored),
        Some("7") => compare_computed(modular::scrypt7(password, stored), stored),
        Some("argon2id" | "argon2i" | "argon2d") => verify_argon2(password, stored),
        Some(_) => false,
        None => compare_computed(des_crypt::crypt(password, stored.as_bytes()), stored),
    }
}

fn compare_computed(computed: Option<String>, stored: &str) -> bool {
    computed.map(Zeroizing::new).is_some_and(|text| constant_time_equal(text.as_bytes(), stored.as_bytes()))
}

/// Equal? In time that depends on the lengths only.
pub(crate) fn constant_time_equal(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn verify_bcrypt(password: &[u8], stored: &str) -> bool {
    let cost: Option<u32> = stored.get(4..6).and_then(|text| text.parse().ok());
    // `$2x$` marks hashes of a broken old program; nothing but that program can check them.
    if stored.starts_with("$2x$") || cost.is_none_or(|cost| cost > BCRYPT_COST_MAX) {
        return false;
    }
    bcrypt::verify(password, stored).unwrap_or(false)
}

fn verify_argon2(password: &[u8], stored: &str) -> bool {
    let number = |name: &str| -> Option<u64> {
        stored.split(['$', ',']).find_map(|part| part.strip_prefix(name)).and_then(|text| text.parse().ok())
    };
    let memory = number("m=").unwrap_or(u64::MAX);
    let passes = number("t=").unwrap_or(u64::MAX);
    if memory > MEMORY_KIB_MAX || passes > 100 {
        return false;
    }
    argon2::Argon2::default().verify_password(password, stored).is_ok()
}
