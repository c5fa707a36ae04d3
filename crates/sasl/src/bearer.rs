//! The messages of OAUTHBEARER (RFC 7628) and XOAUTH2. Called by the exchange; the token is looked at by nobody here.

use crate::plain;

/// Longest token, bytes.
const TOKEN_BYTES_MAX: usize = 8192;

/// A login name (may be empty with OAUTHBEARER: the token knows) and its token.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub(crate) login: Vec<u8>,
    pub(crate) token: Vec<u8>,
}

/// RFC 7628 3.1: `n,a=USER,^Ahost=…^Aport=…^Aauth=Bearer TOKEN^A^A`. `None`: malformed.
pub(crate) fn oauth_bearer(message: &[u8]) -> Option<Bearer> {
    let mut parts = message.splitn(3, |&b| b == b',');
    let (flag, identity, rest) = (parts.next()?, parts.next()?, parts.next()?);
    // `p=` is not for this mechanism.
    if !matches!(flag, b"n" | b"y") {
        return None;
    }
    let login = match identity {
        b"" => Vec::new(),
        other => unescaped(other.strip_prefix(b"a=")?)?,
    };
    let pairs = rest.strip_prefix(b"\x01")?.strip_suffix(b"\x01\x01")?;
    Some(Bearer { login, token: token_of(pairs)? })
}

/// `user=USER^Aauth=Bearer TOKEN^A^A`. `None`: malformed.
pub(crate) fn xoauth2(message: &[u8]) -> Option<Bearer> {
    let pairs = message.strip_suffix(b"\x01\x01")?;
    let (user, pairs) = pairs.strip_prefix(b"user=")?.split_at_checked(pairs.iter().position(|&b| b == 1)?.checked_sub(5)?)?;
    Some(Bearer { login: Some(user).filter(|user| plain::is_name(user))?.to_vec(), token: token_of(pairs.strip_prefix(b"\x01")?)? })
}

/// Keys and values parted by ^A; unknown ones are passed over.
fn token_of(pairs: &[u8]) -> Option<Vec<u8>> {
    let auth = pairs.split(|&b| b == 1).find_map(|pair| pair.strip_prefix(b"auth="))?;
    let (kind, token) = auth.split_at_checked(7)?;
    let is_bearer = kind.eq_ignore_ascii_case(b"Bearer ");
    let token = token.trim_ascii();
    (is_bearer && (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.iter().all(is_token_byte)).then(|| token.to_vec())
}

/// RFC 6750 2.1: b64token.
fn is_token_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte)
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let name = text.replace("=2C", ",").replace("=3D", "=").into_bytes();
    plain::is_name(&name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_7628_example() {
        let message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01";
        let bearer = oauth_bearer(message).unwrap();
        assert_eq!(bearer.login, b"user@example.com");
        assert_eq!(bearer.token, b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        assert_eq!(oauth_bearer(b"n,,\x01auth=Bearer t\x01\x01").unwrap().login, b"");
        for bad in [
            &b""[..],
            b"n,,",
            b"n,,\x01\x01",
            b"n,,\x01auth=Basic dTpw\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Bearer a b\x01\x01",
            b"p=x,,\x01auth=Bearer t\x01\x01",
            b"n,a=,\x01auth=Bearer t\x01\x01",
            b"n,,\x01auth=Bearer t",
        ] {
            assert!(oauth_bearer(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_older_form() {
        let bearer = xoauth2(b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01").unwrap();
        assert_eq!(bearer.login, b"someuser@example.com");
        assert_eq!(bearer.token, b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg");
        for bad in [&b""[..], b"user=\x01auth=Bearer t\x01\x01", b"user=u\x01\x01", b"auth=Bearer t\x01\x01", b"user=u", b"us\x01\x01"] {
            assert!(xoauth2(bad).is_none(), "{bad:?}");
        }
    }
}
