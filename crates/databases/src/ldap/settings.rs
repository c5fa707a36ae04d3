//! Settings of the LDAP keeper: from vpopmail's own `etc/vpopmail.ldap` or from server.toml. Called by whoever opens the directory. Pure.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// How the connection is made secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Not at all: for a socket or the same machine.
    #[default]
    None,
    /// Asked for on the plain connection before anything else is said (RFC 4511 4.14). No way back to plain text.
    StartTls,
    /// From the first byte (`ldaps`).
    Ldaps,
}

/// As whom the server itself binds.
#[derive(Clone, PartialEq, Eq)]
pub enum Bind {
    /// As nobody.
    Anonymous,
    /// By DN and password.
    Simple {
        /// The DN.
        dn: String,
        /// Its password.
        password: Zeroizing<String>,
    },
    /// As the operating system's user, over a Unix socket (SASL EXTERNAL).
    External,
}

impl fmt::Debug for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Simple { dn, .. } => write!(f, "Simple({dn}, ..)"),
            Self::External => f.write_str("External"),
        }
    }
}

/// How a password is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authentication {
    /// The entry's `userPassword` is read and compared here.
    #[default]
    Hash,
    /// The directory is asked, by a bind as the user's entry: no hash leaves it.
    Bind,
}

/// Where entries are and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// `uid=NAME,ou=DOMAIN,BASE`, read and written.
    Vpopmail,
    /// Somebody else's entries below the base, only read.
    Existing(Existing),
}

/// How accounts are found in a directory that was there before. `{user}`, `{domain}` stand for the parts of the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// One account's filter, e.g. `(&(objectClass=inetOrgPerson)(mail={user}@{domain}))`. For a list, `{user}` is `*`.
    pub filter: String,
    /// Directory of an account whose entry names none, e.g. `/home/vpopmail/domains/{domain}/{user}`.
    pub directory: String,
}

/// Names of the attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// The user's name; an address in it (`mail`) counts by its local part.
    pub user: String,
    /// Password hash.
    pub password: String,
    /// vpopmail's "uid" (1).
    pub kind: String,
    /// Flags.
    pub flags: String,
    /// Comment.
    pub gecos: String,
    /// Mail directory.
    pub directory: String,
    /// Quota.
    pub quota: String,
    /// Clear password.
    pub clear: String,
}

impl Default for Names {
    fn default() -> Self {
        let name = str::to_owned;
        Self {
            user: name("uid"),
            password: name("userPassword"),
            kind: name("qmailUID"),
            flags: name("qmailGID"),
            gecos: name("qmaildomain"),
            directory: name("mailMessageStore"),
            quota: name("mailQuota"),
            clear: name("clearPassword"),
        }
    }
}

/// All that is settable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapSettings {
    /// `ldap://host[:port]`, `ldaps://…` or `ldapi://%2Fpath`.
    pub url: String,
    /// TLS.
    pub tls: Tls,
    /// PEM bundle of the authorities that are trusted; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// As whom we bind.
    pub bind: Bind,
    /// Where everything is below.
    pub base: String,
    /// Layout.
    pub layout: Layout,
    /// Names of attributes.
    pub names: Names,
    /// How passwords are checked.
    pub authentication: Authentication,
    /// Nothing is ever written.
    pub read_only: bool,
    /// Longest wait for a connection, and for one answer.
    pub timeout: Duration,
    /// Connections at once.
    pub connections_max: usize,
}

/// `vpopmail.ldap` cannot be read as such.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Fewer than five fields, or none at all.
    #[error("vpopmail.ldap: a line host|port|binddn|password|basedn is wanted")]
    Fields,
    /// The port is none.
    #[error("vpopmail.ldap: {0:?} is no port")]
    Port(String),
}

impl LdapSettings {
    /// Vpopmail's layout at `url`, everything else by default.
    #[must_use]
    pub fn new(url: &str, base: &str, bind: Bind) -> Self {
        Self {
            url: url.to_owned(),
            tls: if url.starts_with("ldaps:") { Tls::Ldaps } else { Tls::None },
            ca_file: None,
            bind,
            base: base.to_owned(),
            layout: Layout::Vpopmail,
            names: Names::default(),
            authentication: Authentication::Hash,
            read_only: false,
            timeout: Duration::from_secs(5),
            connections_max: 4,
        }
    }

    /// Reads `etc/vpopmail.ldap`: the first line that is no comment, `host|port|binddn|password|basedn`; port 0 is 389, a host that begins with
    /// `/` is a Unix socket.
    pub fn from_vpopmail(text: &str) -> Result<Self, SettingsError> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).ok_or(SettingsError::Fields)?;
        let mut fields = line.splitn(5, '|');
        let mut field = || fields.next().ok_or(SettingsError::Fields);
        let (host, port, dn, password, base) = (field()?, field()?, field()?, field()?, field()?);
        let port: u16 = match port {
            "" => 0,
            text => text.parse().map_err(|_| SettingsError::Port(text.to_owned()))?,
        };
        let bind = match dn {
            "" => Bind::Anonymous,
            dn => Bind::Simple { dn: dn.to_owned(), password: Zeroizing::new(password.to_owned()) },
        };
        Ok(Self::new(&url(host, port), base, bind))
    }
}

fn url(host: &str, port: u16) -> String {
    let port = if port == 0 { 389 } else { port };
    if host.starts_with('/') {
        format!("ldapi://{}", percent(host))
    } else if host.contains(':') && !host.starts_with('[') {
        format!("ldap://[{host}]:{port}")
    } else {
        format!("ldap://{}:{port}", if host.is_empty() { "localhost" } else { host })
    }
}

/// A path as the host part of a URL.
fn percent(path: &str) -> String {
    let mut out = String::with_capacity(path.len() * 3);
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vpopmail_ldap_is_read() {
        let settings = LdapSettings::from_vpopmail("# ours\n\nldap.example.org|0|cn=vpopmail,o=x|pass|ou=mail,o=x\nignored\n").unwrap();
        assert_eq!((settings.url.as_str(), settings.base.as_str()), ("ldap://ldap.example.org:389", "ou=mail,o=x"));
        assert_eq!(settings.bind, Bind::Simple { dn: "cn=vpopmail,o=x".into(), password: Zeroizing::new("pass".into()) });
        assert!(!format!("{settings:?}").contains("pass\""), "no password in a log");
        let socket = LdapSettings::from_vpopmail("/run/slapd/ldapi||||o=x").unwrap();
        assert_eq!((socket.url.as_str(), socket.bind), ("ldapi://%2Frun%2Fslapd%2Fldapi", Bind::Anonymous));
        assert_eq!(LdapSettings::from_vpopmail("::1|3890|||o=x").unwrap().url, "ldap://[::1]:3890");
        assert_eq!(LdapSettings::from_vpopmail("a|b|c"), Err(SettingsError::Fields));
        assert_eq!(LdapSettings::from_vpopmail("a|x|c|d|e"), Err(SettingsError::Port("x".into())));
        assert_eq!(LdapSettings::from_vpopmail(""), Err(SettingsError::Fields));
    }
}
