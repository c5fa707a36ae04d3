//! SCRAM's messages (RFC 5802 7). Pure: bytes in, parts out; what is not understood is no message.

use crate::{plain, prep};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest nonce of a client, bytes.
const NONCE_BYTES_MAX: usize = 256;

/// What the client says about channel binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Flag {
    /// `n`: it has none.
    None,
    /// `y`: it has, and believes that the server has not.
    NotSeen,
    /// `p=`: it binds with this type.
    Bound(Vec<u8>),
}

/// client-first-message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientFirst {
    pub(crate) flag: Flag,
    /// gs2-header as sent: it comes again in c=.
    pub(crate) header: Vec<u8>,
    pub(crate) identity: Vec<u8>,
    pub(crate) login: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    /// client-first-message-bare.
    pub(crate) bare: Vec<u8>,
}

impl ClientFirst {
    /// `None`: malformed.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut parts = message.splitn(3, |&b| b == b',');
        let (flag, identity, bare) = (parts.next()?, parts.next()?, parts.next()?);
        let header = message.get(..message.len().checked_sub(bare.len())?)?.to_vec();
        let flag = match flag {
            b"n" => Flag::None,
            b"y" => Flag::NotSeen,
            other => Flag::Bound(other.strip_prefix(b"p=").filter(|name| is_binding_name(name))?.to_vec()),
        };
        let identity = match identity {
            b"" => Vec::new(),
            other => saslname(other.strip_prefix(b"a=")?)?,
        };
        let mut attributes = bare.split(|&b| b == b',');
        // An m= in front would be an extension that we must understand (RFC 5802 5.1), and we know none.
        let login = saslname(attributes.next()?.strip_prefix(b"n=")?)?;
        let nonce = attributes.next()?.strip_prefix(b"r=")?;
        if !is_nonce(nonce) || nonce.len() > NONCE_BYTES_MAX || !attributes.all(is_attribute) {
            return None;
        }
        Some(Self { flag, header, identity, login, nonce: nonce.to_vec(), bare: bare.to_vec() })
    }
}

/// server-first-message.
pub(crate) fn server_first(first: &ClientFirst, nonce: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let mut message = b"r=".to_vec();
    message.extend_from_slice(&first.nonce);
    message.extend_from_slice(nonce);
    message.extend_from_slice(format!(",s={},i={iterations}", STANDARD.encode(salt)).as_bytes());
    message
}

/// client-final-message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientFinal {
    /// gs2-header and the channel's data.
    pub(crate) binding: Vec<u8>,
    pub(crate) nonce: Vec<u8>,
    pub(crate) proof: Vec<u8>,
    pub(crate) without_proof: Vec<u8>,
}

impl ClientFinal {
    /// `None`: malformed.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let comma = message.iter().rposition(|&b| b == b',')?;
        let (without_proof, last) = (message.get(..comma)?, message.get(comma + 1..)?);
        let proof = STANDARD.decode(last.strip_prefix(b"p=")?).ok()?;
        let mut attributes = without_proof.split(|&b| b == b',');
        let binding = STANDARD.decode(attributes.next()?.strip_prefix(b"c=")?).ok()?;
        let nonce = attributes.next()?.strip_prefix(b"r=")?.to_vec();
        attributes.all(is_attribute).then(|| Self { binding, nonce, proof, without_proof: without_proof.to_vec() })
    }
}

/// An extension that may be passed over: `x=value`. `m=` may not.
fn is_attribute(text: &[u8]) -> bool {
    matches!(text, [name, b'=', _, ..] if name.is_ascii_alphabetic() && *name != b'm')
}

fn is_binding_name(name: &[u8]) -> bool {
    (1..=64).contains(&name.len()) && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
}

fn is_nonce(nonce: &[u8]) -> bool {
    !nonce.is_empty() && nonce.iter().all(u8::is_ascii_graphic)
}

/// `=2C` and `=3D` stand for comma and equals sign; any other `=` is an error.
fn saslname(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'=' {
            out.push(byte);
        } else if let Some(after) = rest.strip_prefix(b"2C") {
            out.push(b',');
            rest = after;
        } else {
            rest = rest.strip_prefix(b"3D")?;
            out.push(b'=');
        }
    }
    prep::name(&out).filter(|name| plain::is_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages() {
        let first = ClientFirst::parse(b"p=tls-exporter,a=u=2C=3D,n=u=2C=3D,r=abc,x=1").unwrap();
        assert_eq!(first.flag, Flag::Bound(b"tls-exporter".to_vec()));
        assert_eq!(first.header, b"p=tls-exporter,a=u=2C=3D,");
        assert_eq!((first.identity.as_slice(), first.login.as_slice()), (&b"u,="[..], &b"u,="[..]));
        assert_eq!(first.bare, b"n=u=2C=3D,r=abc,x=1");
        for bad in [
            &b""[..],
            b"n",
            b"n,,",
            b"n,,n=u",
            b"n,,n=,r=a",
            b"n,,n=u,r=",
            b"n,,n=u=2c,r=a",
            b"n,,n=u,r=a b",
            b"n,,m=x,n=u,r=a",
            b"n,,n=u,r=a,m=x",
            b"x,,n=u,r=a",
            b"p=,,n=u,r=a",
            b"p=a b,,n=u,r=a",
            b"n,b=u,n=u,r=a",
            b"n,,n=\xff,r=a",
            b"n,,n=u\x00,r=a",
        ] {
            assert!(ClientFirst::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn final_messages() {
        let last = ClientFinal::parse(b"c=biws,r=abc,p=AAAA").unwrap();
        assert_eq!((last.binding.as_slice(), last.nonce.as_slice(), last.proof.as_slice()), (&b"n,,"[..], &b"abc"[..], &[0u8, 0, 0][..]));
        assert_eq!(last.without_proof, b"c=biws,r=abc");
        for bad in [&b""[..], b"c=biws,r=abc", b"c=biws,r=abc,p=A", b"c=!,r=abc,p=AAAA", b"r=abc,c=biws,p=AAAA", b"c=biws,r=abc,m=1,p=AAAA"]
        {
            assert!(ClientFinal::parse(bad).is_none(), "{bad:?}");
        }
    }
}
