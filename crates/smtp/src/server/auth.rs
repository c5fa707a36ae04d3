//! SASL exchanges of SMTP AUTH (RFC 4954): PLAIN (RFC 4616) and LOGIN. Used by the session; a new exchange for every AUTH command, so
//! nothing of one mechanism is left for the next. It checks no password.

use super::Attempt;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest login name, bytes.
const LOGIN_BYTES_MAX: usize = 320;
/// Longest password, bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The mechanisms as EHLO lists them.
pub(super) const MECHANISMS: &str = "PLAIN LOGIN";

/// One exchange, between AUTH and its final reply.
pub(super) enum Exchange {
    Plain,
    LoginName,
    LoginPassword { login: Vec<u8> },
}

/// What one response of the client led to.
pub(super) enum Progress {
    /// Ask on with this challenge (base64 already).
    Challenge(&'static str, Exchange),
    /// All is there.
    Attempt(Attempt),
    /// `*`.
    Cancelled,
    /// Bad base64, or a bad message.
    Malformed,
    /// PLAIN that wants to act for somebody else.
    OtherIdentity,
}

impl Exchange {
    /// For a mechanism named in capitals.
    pub(super) fn begin(mechanism: &[u8]) -> Option<Self> {
        match mechanism {
            b"PLAIN" => Some(Self::Plain),
            b"LOGIN" => Some(Self::LoginName),
            _ => None,
        }
    }

    /// AUTH with or without initial response; `=` is the empty one (RFC 4954 4).
    pub(super) fn first(self, initial: Option<&[u8]>) -> Progress {
        match (self, initial) {
            (exchange, Some(b"=")) => exchange.take(Vec::new()),
            (exchange, Some(text)) => exchange.response(text),
            (Self::Plain, None) => Progress::Challenge("", Self::Plain),
            (exchange, None) => Progress::Challenge("VXNlcm5hbWU6", exchange),
        }
    }

    /// One line of the client.
    pub(super) fn response(self, line: &[u8]) -> Progress {
        if line == b"*" {
            return Progress::Cancelled;
        }
        match STANDARD.decode(line) {
            Ok(bytes) => self.take(bytes),
            Err(_) => Progress::Malformed,
        }
    }

    fn take(self, bytes: Vec<u8>) -> Progress {
        match self {
            Self::Plain => plain(&bytes),
            Self::LoginName => {
                if bytes.is_empty() || bytes.len() > LOGIN_BYTES_MAX || bytes.contains(&0) {
                    return Progress::Malformed;
                }
                Progress::Challenge("UGFzc3dvcmQ6", Self::LoginPassword { login: bytes })
            }
            Self::LoginPassword { login } => {
                if bytes.len() > PASSWORD_BYTES_MAX || bytes.contains(&0) {
                    return Progress::Malformed;
                }
                Progress::Attempt(Attempt { login, password: bytes })
            }
        }
    }
}

/// `authzid NUL authcid NUL password`.
fn plain(bytes: &[u8]) -> Progress {
    let mut parts = bytes.split(|&b| b == 0);
    let (Some(identity), Some(login), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Progress::Malformed;
    };
    if login.is_empty() || login.len() > LOGIN_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
        return Progress::Malformed;
    }
    if !identity.is_empty() && identity != login {
        return Progress::OtherIdentity;
    }
    Progress::Attempt(Attempt { login: login.to_vec(), password: password.to_vec() })
}
