//! The client's side of the login mechanisms: PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), XOAUTH2, OAUTHBEARER (RFC 7628) and POP3's APOP
//! (RFC 1939 7). Pure; decides which one is used, never sends a password in clear unless that was asked for.

use crate::session::Options;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use postino_control::fetch::{FetchAuth, FetchTls};
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// Who logs in. `Debug` shows no secret.
#[derive(Clone)]
pub struct Credentials {
    /// Login name.
    pub user: String,
    /// Password or token.
    pub secret: Zeroizing<Vec<u8>>,
    /// The secret is an OAuth 2 token.
    pub kind: SecretKind,
    /// Server's name and port (OAUTHBEARER names them).
    pub server: (String, u16),
}

/// What the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// A password.
    Password,
    /// An OAuth 2 access token.
    Token,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, ..)", self.user)
    }
}

/// A way to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    /// SASL.
    Plain,
    /// SASL.
    Login,
    /// SASL.
    CramMd5,
    /// SASL.
    XOAuth2,
    /// SASL.
    OAuthBearer,
    /// APOP.
    Apop,
    /// USER and PASS, or LOGIN.
    User,
}

impl Mechanism {
    /// Its name after AUTH or AUTHENTICATE; `None` for the commands of the protocols.
    pub(crate) fn sasl(self) -> Option<&'static str> {
        match self {
            Self::Plain => Some("PLAIN"),
            Self::Login => Some("LOGIN"),
            Self::CramMd5 => Some("CRAM-MD5"),
            Self::XOAuth2 => Some("XOAUTH2"),
            Self::OAuthBearer => Some("OAUTHBEARER"),
            Self::Apop | Self::User => None,
        }
    }
}

/// What a server offers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offer {
    /// SASL mechanisms, upper case.
    pub(crate) sasl: Vec<String>,
    /// APOP.
    pub(crate) apop: bool,
    /// USER and PASS, or LOGIN.
    pub(crate) user: bool,
}

impl Offer {
    fn has(&self, mechanism: Mechanism) -> bool {
        match mechanism.sasl() {
            Some(name) => self.sasl.iter().any(|offered| offered == name),
            None if mechanism == Mechanism::Apop => self.apop,
            None => self.user,
        }
    }

    /// What comes next when `failed` was refused: a server may offer CRAM-MD5 or APOP and keep no clear password to check them by. `None` when the
    /// mechanism was the administrator's choice, or the password itself was refused.
    pub(crate) fn after(&mut self, failed: Mechanism, options: &Options) -> Option<Mechanism> {
        if options.auth != FetchAuth::Auto || !matches!(failed, Mechanism::CramMd5 | Mechanism::Apop) {
            return None;
        }
        self.sasl.retain(|name| failed.sasl() != Some(name));
        self.apop &= failed != Mechanism::Apop;
        choose(self, options.auth, options.credentials.kind, options.tls)
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        let mut words = self.sasl.clone();
        words.extend(self.apop.then(|| "APOP".to_owned()));
        words.extend(self.user.then(|| "USER".to_owned()));
        let all = words.join(" ");
        if all.is_empty() { "nothing".into() } else { crate::session::words(all.as_bytes()) }
    }
}

/// The mechanism, if there is one. Under TLS the plain ones come first: CRAM-MD5 fails at servers that keep no clear passwords, and adds nothing there.
/// In clear (which the administrator must have asked for) those come first that do not show the password.
pub(crate) fn choose(offer: &Offer, auth: FetchAuth, kind: SecretKind, tls: FetchTls) -> Option<Mechanism> {
    use Mechanism::{Apop, CramMd5, Login, OAuthBearer, Plain, User, XOAuth2};
    let wanted = match auth {
        FetchAuth::Auto => None,
        FetchAuth::Plain => Some(Plain),
        FetchAuth::Login => Some(Login),
        FetchAuth::CramMd5 => Some(CramMd5),
        FetchAuth::Apop => Some(Apop),
        FetchAuth::User => Some(User),
        FetchAuth::XOAuth2 => Some(XOAuth2),
        FetchAuth::OAuthBearer => Some(OAuthBearer),
    };
    if let Some(mechanism) = wanted {
        return Some(mechanism).filter(|m| offer.has(*m));
    }
    let order: &[Mechanism] = match (kind, tls) {
        (SecretKind::Token, _) => &[OAuthBearer, XOAuth2],
        (SecretKind::Password, FetchTls::None) => &[CramMd5, Apop, Plain, User, Login],
        (SecretKind::Password, _) => &[Plain, User, Login, CramMd5, Apop],
    };
    order.iter().copied().find(|m| offer.has(*m))
}

/// A running exchange.
#[derive(Debug)]
pub(crate) struct Exchange {
    mechanism: Mechanism,
    step: u32,
}

impl Exchange {
    pub(crate) fn new(mechanism: Mechanism) -> Self {
        Self { mechanism, step: 0 }
    }

    /// The answer (base64, without CRLF) to a challenge (base64).
    pub(crate) fn answer(&mut self, challenge: &[u8], credentials: &Credentials) -> Zeroizing<Vec<u8>> {
        let user = credentials.user.as_bytes();
        let secret: &[u8] = &credentials.secret;
        self.step = self.step.saturating_add(1);
        let clear = match (self.mechanism, self.step) {
            (Mechanism::Plain, 1) => [b"\0", user, b"\0", secret].concat(),
            (Mechanism::Login, 1) => user.to_vec(),
            (Mechanism::Login, 2) => secret.to_vec(),
            (Mechanism::CramMd5, 1) => cram_md5(&STANDARD.decode(challenge.trim_ascii()).unwrap_or_default(), user, secret),
            (Mechanism::XOAuth2, 1) => [b"user=", user, b"\x01auth=Bearer ", secret, b"\x01\x01"].concat(),
            (Mechanism::OAuthBearer, 1) => oauth_bearer(credentials),
            // A failure is told in a second challenge, which wants an empty answer (XOAUTH2) or one byte (RFC 7628 3.2.3).
            (Mechanism::XOAuth2, 2) => Vec::new(),
            (Mechanism::OAuthBearer, 2) => b"\x01".to_vec(),
            // Whatever else it wants, it does not get.
            _ => return Zeroizing::new(b"*".to_vec()),
        };
        Zeroizing::new(STANDARD.encode(Zeroizing::new(clear).as_slice()).into_bytes())
    }
}

fn oauth_bearer(credentials: &Credentials) -> Vec<u8> {
    // RFC 5801 4: "," and "=" in a name are written "=2C" and "=3D".
    let name = credentials.user.replace('=', "=3D").replace(',', "=2C");
    let (host, port) = &credentials.server;
    let mut out = format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer ").into_bytes();
    out.extend_from_slice(&credentials.secret);
    out.extend_from_slice(b"\x01\x01");
    out
}

fn cram_md5(challenge: &[u8], user: &[u8], secret: &[u8]) -> Vec<u8> {
    let Ok(mut mac) = Hmac::<Md5>::new_from_slice(secret) else { return Vec::new() }; // HMAC takes keys of any length
    mac.update(challenge);
    [user, b" ", hex(&mac.finalize().into_bytes()).as_bytes()].concat()
}

/// The digest of APOP.
pub(crate) fn apop(timestamp: &[u8], secret: &[u8]) -> String {
    hex(&Md5::new().chain_update(timestamp).chain_update(secret).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut out, b| {
        let _ = write!(out, "{b:02x}"); // writing to a String cannot fail
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(user: &str, secret: &str, kind: SecretKind) -> Credentials {
        let secret = Zeroizing::new(secret.as_bytes().to_vec());
        Credentials { user: user.into(), secret, kind, server: ("server.example.com".into(), 143) }
    }

    fn answer(mechanism: Mechanism, who: &Credentials, challenge: &[u8]) -> Vec<u8> {
        STANDARD.decode(Exchange::new(mechanism).answer(challenge, who).as_slice()).unwrap()
    }

    #[test]
    fn examples_of_the_standards() {
        let tim = credentials("tim", "tanstaaftanstaaf", SecretKind::Password);
        assert_eq!(answer(Mechanism::Plain, &tim, b""), b"\0tim\0tanstaaftanstaaf");
        // RFC 2195 2.
        let challenge = b"PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+";
        assert_eq!(answer(Mechanism::CramMd5, &tim, challenge), b"tim b913a602c7eda7a495b4e6e7334d3890");
        // RFC 1939 7.
        assert_eq!(apop(b"<1896.697170952@dbc.mtview.ca.us>", b"tanstaaf"), "c4c9334bac560ecc979e58001b3e22fb");
        // RFC 7628 4.1.
        let bearer = credentials("user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", SecretKind::Token);
        assert_eq!(
            answer(Mechanism::OAuthBearer, &bearer, b""),
            b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
        );
        assert_eq!(
            answer(Mechanism::XOAuth2, &bearer, b""),
            b"user=user@example.com\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
        );
    }

    #[test]
    fn a_server_that_asks_on_gets_no_more() {
        let who = credentials("a", "b", SecretKind::Token);
        let mut exchange = Exchange::new(Mechanism::Plain);
        exchange.answer(b"", &who);
        assert_eq!(exchange.answer(b"", &who).as_slice(), b"*");
    }

    #[test]
    fn in_clear_the_password_is_shown_last() {
        let offer = |sasl: &[&str], apop| Offer { sasl: sasl.iter().map(|s| (*s).into()).collect(), apop, user: true };
        let chosen = |offer: &Offer, tls| choose(offer, FetchAuth::Auto, SecretKind::Password, tls);
        assert_eq!(chosen(&offer(&["PLAIN", "CRAM-MD5"], false), FetchTls::None), Some(Mechanism::CramMd5));
        assert_eq!(chosen(&offer(&["PLAIN"], true), FetchTls::None), Some(Mechanism::Apop));
        assert_eq!(chosen(&offer(&["PLAIN", "CRAM-MD5"], true), FetchTls::Implicit), Some(Mechanism::Plain));
        assert_eq!(chosen(&offer(&[], true), FetchTls::Starttls), Some(Mechanism::User));
        assert_eq!(
            choose(&offer(&["PLAIN"], true), FetchAuth::Auto, SecretKind::Token, FetchTls::Implicit),
            None,
            "a token is no password"
        );
        assert_eq!(choose(&offer(&["PLAIN"], true), FetchAuth::CramMd5, SecretKind::Password, FetchTls::Implicit), None);
    }
}
