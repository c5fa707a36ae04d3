//! SASL PLAIN (RFC 4616) and LOGIN as POP3 carries them (RFC 5034): lines in, credentials out. Pure; it prints no secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A mechanism that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The old two questions of draft-murchison-sasl-login.
    Login,
}

impl Mechanism {
    /// By name, any case.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"PLAIN") {
            Some(Self::Plain)
        } else if name.eq_ignore_ascii_case(b"LOGIN") {
            Some(Self::Login)
        } else {
            None
        }
    }
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    /// Login name as sent.
    pub login: Vec<u8>,
    /// Its password.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// An exchange on the way.
#[derive(Clone, PartialEq, Eq)]
pub enum Exchange {
    /// PLAIN waits for its message.
    Plain,
    /// LOGIN waits for the name.
    Name,
    /// LOGIN waits for the password of this name.
    Password(Vec<u8>),
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exchange(..)")
    }
}

/// What a line from the client leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send `+ ` and this (base64 already), then read on.
    Ask(&'static str, Exchange),
    /// Complete.
    Done(Password),
    /// `*`: the client gave up.
    Cancelled,
    /// Not base64, or not what the mechanism wants.
    Malformed,
    /// An authorization identity that is another user's.
    OtherIdentity,
}

/// Begins an exchange; `initial` is the initial response as sent (`=` is the empty one).
#[must_use]
pub fn start(mechanism: Mechanism, initial: Option<&[u8]>) -> Step {
    let (exchange, question) = match mechanism {
        Mechanism::Plain => (Exchange::Plain, ""),
        Mechanism::Login => (Exchange::Name, "VXNlcm5hbWU6"),
    };
    match initial {
        None => Step::Ask(question, exchange),
        Some(b"=") => proceed(exchange, b""),
        Some(b"*") => Step::Malformed,
        Some(text) => proceed(exchange, text),
    }
}

/// Takes the client's next line.
#[must_use]
pub fn proceed(exchange: Exchange, line: &[u8]) -> Step {
    if line == b"*" {
        return Step::Cancelled;
    }
    let Ok(message) = STANDARD.decode(line) else { return Step::Malformed };
    match exchange {
        Exchange::Plain => plain(&message),
        Exchange::Name if is_text(&message) => Step::Ask("UGFzc3dvcmQ6", Exchange::Password(message)),
        Exchange::Password(login) if !message.contains(&0) => Step::Done(Password { login, password: message }),
        Exchange::Name | Exchange::Password(_) => Step::Malformed,
    }
}

/// RFC 4616 2: `[authzid] NUL authcid NUL passwd`.
fn plain(message: &[u8]) -> Step {
    let mut parts = message.split(|&b| b == 0);
    let (Some(identity), Some(login), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Step::Malformed;
    };
    if !is_text(login) || password.is_empty() {
        return Step::Malformed;
    }
    if !identity.is_empty() && identity != login {
        return Step::OtherIdentity;
    }
    Step::Done(Password { login: login.to_vec(), password: password.to_vec() })
}

/// A login name: not empty, no control bytes.
fn is_text(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(u8::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_of(message: &[u8]) -> Step {
        start(Mechanism::Plain, Some(STANDARD.encode(message).as_bytes()))
    }

    #[test]
    fn plain_takes_its_three_parts() {
        let granted = Step::Done(Password { login: b"u@d".to_vec(), password: b"p w".to_vec() });
        assert_eq!(plain_of(b"\0u@d\0p w"), granted);
        assert_eq!(plain_of(b"u@d\0u@d\0p w"), granted);
        assert_eq!(plain_of(b"root\0u@d\0p w"), Step::OtherIdentity);
        for bad in [&b""[..], b"\0u", b"\0u\0", b"\0\0p", b"\0u\0p\0", b"u p", b"\0u\n\0p"] {
            assert_eq!(plain_of(bad), Step::Malformed, "{bad:?}");
        }
        assert_eq!(start(Mechanism::Plain, Some(b"=")), Step::Malformed);
        assert_eq!(start(Mechanism::Plain, Some(b"!!")), Step::Malformed);
        assert_eq!(proceed(Exchange::Plain, b"*"), Step::Cancelled);
    }

    #[test]
    fn login_asks_twice() {
        assert_eq!(start(Mechanism::Login, None), Step::Ask("VXNlcm5hbWU6", Exchange::Name));
        let Step::Ask(_, next) = start(Mechanism::Login, Some(b"dUBk")) else { panic!() };
        assert_eq!(proceed(next.clone(), b"cA=="), Step::Done(Password { login: b"u@d".to_vec(), password: b"p".to_vec() }));
        assert_eq!(proceed(next, b"*"), Step::Cancelled);
        assert_eq!(start(Mechanism::Login, Some(b"=")), Step::Malformed, "an empty name");
        assert_eq!(proceed(Exchange::Name, b"dQBk"), Step::Malformed, "a NUL in the name");
    }

    #[test]
    fn nothing_prints_a_secret() {
        let step = plain_of(b"\0u\0sesame");
        assert!(!format!("{step:?}").contains("sesame"));
        assert!(!format!("{:?}", Exchange::Password(b"name".to_vec())).contains("name"));
    }
}
