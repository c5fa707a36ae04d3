//! Names of mechanisms, and which of them a server offers on which channel. Used by the configuration, EHLO, CAPA and AUTH.

use postino_types::ScramHash;

/// A mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The old two questions of draft-murchison-sasl-login.
    Login,
    /// RFC 5802, RFC 7677.
    Scram(ScramHash),
    /// The same, bound to the TLS connection.
    ScramPlus(ScramHash),
    /// RFC 7628.
    OAuthBearer,
    /// What its users had before RFC 7628.
    XOAuth2,
    /// RFC 2195.
    CramMd5,
}

/// How well the way between client and server is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// TLS.
    Encrypted,
    /// None, but nobody else can listen: the client is on this machine and may send its password.
    Loopback,
    /// Everybody may listen.
    Clear,
}

/// In the order in which they are named to clients.
const ALL: [Mechanism; 9] = [
    Mechanism::Plain,
    Mechanism::Login,
    Mechanism::ScramPlus(ScramHash::Sha256),
    Mechanism::Scram(ScramHash::Sha256),
    Mechanism::ScramPlus(ScramHash::Sha1),
    Mechanism::Scram(ScramHash::Sha1),
    Mechanism::OAuthBearer,
    Mechanism::XOAuth2,
    Mechanism::CramMd5,
];

impl Mechanism {
    /// By name, any case.
    #[must_use]
    pub fn find(name: &[u8]) -> Option<Self> {
        ALL.into_iter().find(|m| name.eq_ignore_ascii_case(m.name().as_bytes()))
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::Scram(ScramHash::Sha256) => "SCRAM-SHA-256",
            Self::ScramPlus(ScramHash::Sha256) => "SCRAM-SHA-256-PLUS",
            Self::Scram(ScramHash::Sha1) => "SCRAM-SHA-1",
            Self::ScramPlus(ScramHash::Sha1) => "SCRAM-SHA-1-PLUS",
            Self::OAuthBearer => "OAUTHBEARER",
            Self::XOAuth2 => "XOAUTH2",
            Self::CramMd5 => "CRAM-MD5",
        }
    }

    /// May it run on this channel? What others hear they could use again, or guess the password from it without asking anybody. CRAM-MD5 is as APOP:
    /// who names it wants clients that know no TLS.
    #[must_use]
    pub const fn fits(self, channel: Channel) -> bool {
        match (self, channel) {
            (_, Channel::Encrypted) | (Self::CramMd5, _) | (Self::Plain | Self::Login | Self::Scram(_), Channel::Loopback) => true,
            (Self::Plain | Self::Login | Self::Scram(_) | Self::ScramPlus(_) | Self::OAuthBearer | Self::XOAuth2, _) => false,
        }
    }
}

/// A set of mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offered(u16);

impl Default for Offered {
    /// PLAIN and LOGIN, which work with every kind of stored password. SCRAM and CRAM-MD5 need more than a hash: a client that is offered them
    /// may try nothing else.
    fn default() -> Self {
        Self::NONE.with(Mechanism::Plain).with(Mechanism::Login)
    }
}

impl Offered {
    /// None at all.
    pub const NONE: Self = Self(0);

    const fn bit(mechanism: Mechanism) -> u16 {
        match mechanism {
            Mechanism::Plain => 1,
            Mechanism::Login => 2,
            Mechanism::Scram(ScramHash::Sha1) => 4,
            Mechanism::ScramPlus(ScramHash::Sha1) => 8,
            Mechanism::Scram(ScramHash::Sha256) => 16,
            Mechanism::ScramPlus(ScramHash::Sha256) => 32,
            Mechanism::OAuthBearer => 64,
            Mechanism::XOAuth2 => 128,
            Mechanism::CramMd5 => 256,
        }
    }

    /// One more.
    #[must_use]
    pub const fn with(self, mechanism: Mechanism) -> Self {
        Self(self.0 | Self::bit(mechanism))
    }

    /// One less.
    #[must_use]
    pub const fn without(self, mechanism: Mechanism) -> Self {
        Self(self.0 & !Self::bit(mechanism))
    }

    /// Is it offered?
    #[must_use]
    pub const fn contains(self, mechanism: Mechanism) -> bool {
        self.0 & Self::bit(mechanism) != 0
    }

    /// Those that fit the channel.
    pub fn on(self, channel: Channel) -> impl Iterator<Item = Mechanism> {
        ALL.into_iter().filter(move |&m| self.contains(m) && m.fits(channel))
    }

    /// Their names, parted by blanks.
    #[must_use]
    pub fn names(self, channel: Channel) -> String {
        self.on(channel).map(Mechanism::name).collect::<Vec<_>>().join(" ")
    }

    /// The default changed by `control/authmechs`: a name adds a mechanism, `-NAME` takes it away, and so for several in a line. An unknown name is the error.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        words.into_iter().flat_map(str::split_whitespace).try_fold(Self::default(), |set, word| {
            let (name, removed) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
            let mechanism = Mechanism::find(name.as_bytes()).ok_or_else(|| name.to_owned())?;
            Ok(if removed { set.without(mechanism) } else { set.with(mechanism) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_themselves() {
        for mechanism in ALL {
            assert_eq!(Mechanism::find(mechanism.name().to_lowercase().as_bytes()), Some(mechanism));
            assert!(Offered::NONE.with(mechanism).contains(mechanism));
            assert_eq!(Offered::NONE.with(mechanism).without(mechanism), Offered::NONE);
        }
        assert_eq!(Mechanism::find(b"ANONYMOUS"), None);
    }

    #[test]
    fn what_is_offered_where() {
        assert_eq!(Offered::default().names(Channel::Encrypted), "PLAIN LOGIN");
        assert_eq!(Offered::default().names(Channel::Clear), "");
        let named = Offered::from_words(["scram-sha-256 SCRAM-SHA-256-PLUS cram-md5", "-LOGIN"]).unwrap();
        assert_eq!(named.names(Channel::Encrypted), "PLAIN SCRAM-SHA-256-PLUS SCRAM-SHA-256 CRAM-MD5");
        assert_eq!(named.names(Channel::Loopback), "PLAIN SCRAM-SHA-256 CRAM-MD5");
        assert_eq!(named.names(Channel::Clear), "CRAM-MD5");
        assert_eq!(Offered::from_words(["NTLM"]), Err("NTLM".into()));
    }
}
