//! Mail addresses as the whole house passes them: unquoted bytes, host after the last `@` (qmail's internal form).
//! The SMTP parser (crate smtp) and the injectors make them; nobody else looks inside. Never holds a NUL.

use std::fmt;

/// Longest address accepted anywhere, in bytes (qmail-queue's limit; RFC 5321 4.5.3.1 allows 64 + 1 + 255).
pub const ADDRESS_BYTES_MAX: usize = 1002;

/// Why bytes are not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than [`ADDRESS_BYTES_MAX`].
    #[error("address is longer than {ADDRESS_BYTES_MAX} bytes")]
    TooLong,
    /// Holds a NUL byte.
    #[error("address holds a NUL byte")]
    Nul,
}

/// A mailbox as unquoted bytes: local part, `@`, host. The host may be missing (local injection); the case is kept as written.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    bytes: Box<[u8]>,
}

impl Address {
    /// From internal bytes: anything but NUL, at most [`ADDRESS_BYTES_MAX`] bytes. The empty address is allowed (qmail allows it as recipient).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        if bytes.len() > ADDRESS_BYTES_MAX {
            return Err(AddressError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(AddressError::Nul);
        }
        Ok(Self { bytes: bytes.into() })
    }

    /// From unquoted local part and host.
    pub fn from_parts(local: &[u8], host: &[u8]) -> Result<Self, AddressError> {
        let mut bytes = Vec::with_capacity(local.len() + host.len() + 1);
        bytes.extend_from_slice(local);
        bytes.push(b'@');
        bytes.extend_from_slice(host);
        Self::from_bytes(&bytes)
    }

    /// The whole address, unquoted.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn at(&self) -> Option<usize> {
        self.bytes.iter().rposition(|&b| b == b'@')
    }

    /// What stands before the last `@` (all of it when there is none), case kept.
    #[must_use]
    pub fn local(&self) -> &[u8] {
        self.at().and_then(|i| self.bytes.get(..i)).unwrap_or(&self.bytes)
    }

    /// What stands after the last `@`, case kept; `None` without `@`.
    #[must_use]
    pub fn host(&self) -> Option<&[u8]> {
        self.at().and_then(|i| self.bytes.get(i + 1..))
    }

    /// The host in ASCII lower case, empty when there is none.
    #[must_use]
    pub fn host_lower(&self) -> Vec<u8> {
        self.host().unwrap_or_default().to_ascii_lowercase()
    }

    /// The address as it goes on the wire or into Return-Path, the local part quoted where RFC 5321 4.1.2 asks (QMAIL-rule:
    /// raw when it is a dot-atom of safe characters, else one quoted string). No angle brackets. Bytes ≥ 128 are left bare when
    /// `utf8` says that the path may carry them (RFC 6531), else they force quotes.
    #[must_use]
    pub fn to_quoted(&self, utf8: bool) -> Vec<u8> {
        let local = self.local();
        let mut out = Vec::with_capacity(self.bytes.len() + 2);
        if is_dot_atom(local, utf8) {
            out.extend_from_slice(local);
        } else {
            out.push(b'"');
            for &b in local {
                if matches!(b, b'\r' | b'\n' | b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(b);
            }
            out.push(b'"');
        }
        if let Some(host) = self.host() {
            out.push(b'@');
            out.extend_from_slice(host);
        }
        out
    }

    /// True when the address holds a byte outside ASCII.
    #[must_use]
    pub fn is_non_ascii(&self) -> bool {
        !self.bytes.is_ascii()
    }
}

fn is_dot_atom(local: &[u8], utf8: bool) -> bool {
    if local.is_empty() || local.first() == Some(&b'.') || local.last() == Some(&b'.') {
        return false;
    }
    let mut previous = 0u8;
    for &b in local {
        if b == b'.' && previous == b'.' {
            return false;
        }
        let safe = b.is_ascii_alphanumeric() || b"!#$%&'*+-./=?^_`{|}~".contains(&b) || (utf8 && b >= 128);
        if !safe {
            return false;
        }
        previous = b;
    }
    true
}

/// Safe for logs and texts: bytes outside printable ASCII are shown as `?`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::printable::printable(&self.bytes))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{self}>")
    }
}

/// The envelope sender.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// `<>`: bounces and notices (RFC 5321 4.5.5).
    Null,
    /// An ordinary sender; also the VERP form that ends with `-@[]`.
    Address(Address),
    /// qmail's `#@[]`: a double bounce, never answered.
    DoubleBounce,
}

impl ReversePath {
    /// From internal bytes: empty, `#@[]`, or an address.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AddressError> {
        match bytes {
            b"" => Ok(Self::Null),
            b"#@[]" => Ok(Self::DoubleBounce),
            other => Address::from_bytes(other).map(Self::Address),
        }
    }

    /// Internal bytes, the inverse of [`ReversePath::from_bytes`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Null => b"",
            Self::Address(a) => a.as_bytes(),
            Self::DoubleBounce => b"#@[]",
        }
    }

    /// True for `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// As it goes on the wire, without angle brackets (`#@[]` goes out as the null path's qmail spelling).
    #[must_use]
    pub fn to_quoted(&self, utf8: bool) -> Vec<u8> {
        match self {
            Self::Null => Vec::new(),
            Self::Address(a) => a.to_quoted(utf8),
            Self::DoubleBounce => b"#@[]".to_vec(),
        }
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::printable::printable(self.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(s: &str) -> Address {
        Address::from_bytes(s.as_bytes()).unwrap()
    }

    #[test]
    fn splits_at_the_last_at() {
        assert_eq!(a("a@b@c").local(), b"a@b");
        assert_eq!(a("a@b@c").host(), Some(&b"c"[..]));
        assert_eq!(a("plain").host(), None);
    }

    #[test]
    fn quotes_like_qmail() {
        assert_eq!(a("a..b@x").to_quoted(false), b"\"a..b\"@x");
        assert_eq!(a("joe@x").to_quoted(false), b"joe@x");
        assert_eq!(a("s p@x").to_quoted(false), b"\"s p\"@x");
        assert_eq!(a("a\"b@x").to_quoted(false), b"\"a\\\"b\"@x");
        assert_eq!(a("@x").to_quoted(false), b"\"\"@x");
        assert_eq!(a("ä@x").to_quoted(false), "\"ä\"@x".as_bytes());
        assert_eq!(a("ä@x").to_quoted(true), "ä@x".as_bytes());
    }

    #[test]
    fn refuses_nul_and_length() {
        assert_eq!(Address::from_bytes(b"a\0b"), Err(AddressError::Nul));
        assert_eq!(Address::from_bytes(&[b'a'; 1003]), Err(AddressError::TooLong));
    }
}
