//! The message of PLAIN (RFC 4616), and what a login name may be in any mechanism. Called by the exchange.

use crate::exchange::{Attempt, End};
use postino_types::Secret;

/// Longest login name, bytes.
pub(crate) const LOGIN_BYTES_MAX: usize = 320;
/// Longest password, bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 1024;

/// RFC 4616 2: `[authzid] NUL authcid NUL passwd`.
pub(crate) fn message(message: &[u8]) -> Result<Attempt, End> {
    let mut parts = message.split(|&b| b == 0);
    let (Some(identity), Some(login), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(End::Malformed);
    };
    if !is_name(login) || !is_password(password) {
        return Err(End::Malformed);
    }
    own_identity(identity, login)?;
    Ok(Attempt { login: login.to_vec(), secret: Secret::Plain(password.to_vec()) })
}

/// Nobody acts for somebody else here.
pub(crate) fn own_identity(identity: &[u8], login: &[u8]) -> Result<(), End> {
    if identity.is_empty() || identity == login { Ok(()) } else { Err(End::OtherIdentity) }
}

/// A login name: not empty, no NUL. What else it holds is for the directory to refuse.
pub(crate) fn is_name(name: &[u8]) -> bool {
    (1..=LOGIN_BYTES_MAX).contains(&name.len()) && !name.contains(&0)
}

/// A password: not empty, no NUL.
pub(crate) fn is_password(password: &[u8]) -> bool {
    (1..=PASSWORD_BYTES_MAX).contains(&password.len()) && !password.contains(&0)
}
