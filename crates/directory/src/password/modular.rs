//! sha-crypt (`$5$`, `$6$`), yescrypt (`$y$`) and scrypt (`$7$`) as crypt(3) writes them, on top of the hash crates' raw functions.
//! Called by the dispatcher. Pure; parameters beyond a bound are refused, since a damaged record must not eat the memory.

use super::{MEMORY_KIB_MAX, SHA_CRYPT_ROUNDS_MAX};
use yescrypt::PasswordVerifier;

const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The crypt(3) digit for a value below 64.
pub(super) fn crypt_digit(value: u32) -> u8 {
    usize::try_from(value & 63).ok().and_then(|index| DIGITS.get(index)).copied().unwrap_or(b'.')
}

/// The value of a crypt(3) digit.
fn digit_value(digit: u8) -> Option<u32> {
    DIGITS.iter().position(|&d| d == digit).and_then(|index| u32::try_from(index).ok())
}

/// Appends `count` digits, lowest six bits first.
pub(super) fn push_crypt_digits(out: &mut String, value: u32, count: usize) {
    let mut rest = value;
    for _ in 0..count {
        out.push(char::from(crypt_digit(rest)));
        rest >>= 6;
    }
}

/// `$5$` or `$6$` with the salt and rounds in `stored`; `None` when malformed.
pub(super) fn sha_crypt(password: &[u8], stored: &str) -> Option<String> {
    let (magic, rest) = stored.split_at_checked(3)?;
    let (rounds_text, rounds, rest) = match rest.strip_prefix("rounds=") {
        None => (None, sha_crypt::Params::RECOMMENDED_ROUNDS, rest),
        Some(after) => {
            let (number, after) = after.split_once('$')?;
            let rounds = number.parse::<u32>().ok()?.clamp(sha_crypt::Params::ROUNDS_MIN, sha_crypt::Params::ROUNDS_MAX);
            (Some(number), rounds, after)
        }
    };
    if rounds > SHA_CRYPT_ROUNDS_MAX {
        return None;
    }
    let salt = rest.split('$').next()?;
    let salt = salt.get(..salt.len().min(16))?;
    let parameters = sha_crypt::Params::new(rounds).ok()?;
    let body = match magic {
        "$5$" => sha256_text(password, salt.as_bytes(), parameters),
        "$6$" => sha512_text(password, salt.as_bytes(), parameters),
        _ => return None,
    };
    Some(match rounds_text {
        None => format!("{magic}{salt}${body}"),
        Some(_) => format!("{magic}rounds={rounds}${salt}${body}"),
    })
}

/// The 86 digits of SHA-512-crypt.
pub(super) fn sha512_text(password: &[u8], salt: &[u8], parameters: sha_crypt::Params) -> String {
    let digest = sha_crypt::sha512_crypt(password, salt, parameters);
    let mut out = String::with_capacity(86);
    // The order walks (0,21,42) and turns each step: (22,43,1), (44,2,23), …
    let (mut a, mut b, mut c) = (0usize, 21usize, 42usize);
    for _ in 0..21 {
        push_three(&mut out, &digest, (a, b, c));
        (a, b, c) = (b + 1, c + 1, a + 1);
    }
    push_crypt_digits(&mut out, byte(&digest, 63), 2);
    out
}

fn sha256_text(password: &[u8], salt: &[u8], parameters: sha_crypt::Params) -> String {
    let digest = sha_crypt::sha256_crypt(password, salt, parameters);
    let mut out = String::with_capacity(43);
    let (mut a, mut b, mut c) = (0usize, 10usize, 20usize);
    for _ in 0..10 {
        push_three(&mut out, &digest, (a, b, c));
        (a, b, c) = (c + 1, a + 1, b + 1);
    }
    push_crypt_digits(&mut out, byte(&digest, 31) << 8 | byte(&digest, 30), 3);
    out
}

fn byte(digest: &[u8], index: usize) -> u32 {
    u32::from(digest.get(index).copied().unwrap_or_default())
}

fn push_three(out: &mut String, digest: &[u8], (a, b, c): (usize, usize, usize)) {
    push_crypt_digits(out, byte(digest, a) << 16 | byte(digest, b) << 8 | byte(digest, c), 4);
}

/// `$y$parameters$salt$hash`.
pub(super) fn verify_yescrypt(password: &[u8], stored: &str) -> bool {
    let Some(parameters) = stored.split('$').nth(2) else { return false };
    let Ok(parsed) = parameters.parse::<yescrypt::Params>() else { return false };
    if !memory_is_sane(parsed.n(), parsed.r(), parsed.p()) {
        return false;
    }
    yescrypt::Yescrypt::default().verify_password(password, stored).is_ok()
}

fn memory_is_sane(n: u64, r: u32, p: u32) -> bool {
    p <= 16 && n.checked_mul(u64::from(r)).is_some_and(|blocks| blocks <= MEMORY_KIB_MAX * 8)
}

/// `$7$NrrrrrpppppSALT$hash`: classic scrypt.
pub(super) fn scrypt7(password: &[u8], stored: &str) -> Option<String> {
    let rest = stored.strip_prefix("$7$")?;
    let setting = rest.split('$').next()?;
    let digits = setting.as_bytes();
    let n_log2 = digit_value(*digits.first()?)?;
    let r = number(digits.get(1..6)?)?;
    let p = number(digits.get(6..11)?)?;
    let salt = digits.get(11..)?;
    let n = 1u64.checked_shl(n_log2)?;
    if n_log2 == 0 || r == 0 || p == 0 || !memory_is_sane(n, r, p) {
        return None;
    }
    let parameters = yescrypt::Params::new(yescrypt::Mode::Classic, n, r, p).ok()?;
    let mut out = [0u8; 32];
    yescrypt::yescrypt(password, salt, &parameters, &mut out).ok()?;
    let mut text = String::with_capacity(stored.len());
    text.push_str("$7$");
    text.push_str(setting);
    text.push('$');
    for chunk in out.chunks(3) {
        let value = chunk.iter().rev().fold(0u32, |value, &b| value << 8 | u32::from(b));
        push_crypt_digits(&mut text, value, chunk.len() + 1);
    }
    Some(text)
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().rev().try_fold(0u32, |value, &digit| Some(value << 6 | digit_value(digit)?))
}
