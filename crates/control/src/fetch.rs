//! `[[fetch]]` of server.toml: accounts on other servers whose mail is brought here. Typed and checked key by key, so that each mistake is told with
//! its line. Called by the reader of server.toml; never opens a socket or a secret.

use crate::server_toml::{self, line_of};
use postino_types::Address;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most accounts.
pub const ACCOUNTS_MAX: usize = 10_000;

/// Which protocol an account speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchProtocol {
    /// POP3 (RFC 1939).
    Pop3,
    /// IMAP4rev1 (RFC 3501).
    Imap,
}

/// How the connection is made secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchTls {
    /// From the first byte (RFC 8314): ports 995 and 993.
    Implicit,
    /// By STLS or STARTTLS; a server that does not offer it is not talked to any further.
    Starttls,
    /// Clear text, because the administrator says so.
    None,
}

/// Whose certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchTrust {
    /// One that the system trusts, for the server's name.
    System,
    /// One that these roots (PEM) certify, for the server's name.
    Roots(PathBuf),
    /// The certificate with this SHA-256, whatever its name and date.
    Pinned([u8; 32]),
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchAuth {
    /// What the server offers and the connection allows.
    Auto,
    /// SASL PLAIN.
    Plain,
    /// SASL LOGIN.
    Login,
    /// SASL CRAM-MD5.
    CramMd5,
    /// APOP (POP3).
    Apop,
    /// USER and PASS, or the LOGIN command.
    User,
    /// SASL XOAUTH2.
    XOAuth2,
    /// SASL OAUTHBEARER (RFC 7628).
    OAuthBearer,
}

/// Where the secret is. Never the secret itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchSecret {
    /// First line of a file.
    PasswordFile(PathBuf),
    /// First line that a program prints.
    PasswordCommand(Vec<String>),
    /// First line that a program prints: an OAuth 2 access token.
    TokenCommand(Vec<String>),
}

/// One mailbox for several recipients: who a message is for stands in a header line that the last server wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multidrop {
    /// Name of the field.
    pub header: String,
    /// Which of several, 1 the topmost.
    pub nth: usize,
    /// What is taken off the beginning of its local part.
    pub strip: String,
    /// The domain put in place of the address's own.
    pub domain: Option<String>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchAccount {
    /// Its name here: a-z, 0-9, `.`, `_`, `-`.
    pub name: String,
    /// Protocol.
    pub protocol: FetchProtocol,
    /// Server.
    pub host: String,
    /// Port.
    pub port: u16,
    /// TLS.
    pub tls: FetchTls,
    /// Certificates.
    pub trust: FetchTrust,
    /// Login name.
    pub user: String,
    /// Mechanism.
    pub auth: FetchAuth,
    /// Password or token.
    pub secret: FetchSecret,
    /// Who gets the mail (with `multidrop`: what nobody else gets).
    pub to: Address,
    /// Several recipients.
    pub multidrop: Option<Multidrop>,
    /// IMAP mailboxes.
    pub folders: Vec<String>,
    /// Days that a fetched message stays on the other server; `None`: for ever.
    pub keep_days: Option<u32>,
    /// Between two looks; `None`: by command only.
    pub every: Option<Duration>,
    /// Messages in one run.
    pub messages_max: usize,
    /// Silence after which a connection is given up.
    pub idle: Duration,
}

impl FetchAccount {
    /// The files that it names, each with its key.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let password = match &self.secret {
            FetchSecret::PasswordFile(file) => Some(("password_file", file.as_path())),
            FetchSecret::PasswordCommand(_) | FetchSecret::TokenCommand(_) => None,
        };
        let roots = match &self.trust {
            FetchTrust::Roots(file) => Some(("ca_file", file.as_path())),
            FetchTrust::System | FetchTrust::Pinned(_) => None,
        };
        password.into_iter().chain(roots)
    }
}

const KNOWN: &str = "name, server, protocol, tls, user, auth, password_file, password_command, token_command, to, multidrop_header, \
     multidrop_strip, multidrop_domain, folders, keep_days, every_s, messages_max, idle_s, ca_file, fingerprint";

/// A mistake: the line, if one is to blame, and the reason.
type Wrong = (Option<usize>, String);

/// Reads all `[[fetch]]` tables; the mistakes with their lines.
pub(crate) fn accounts(text: &str, value: &DeValue<'_>, home: &Path) -> Result<Vec<FetchAccount>, Vec<Wrong>> {
    let one = |reason: &str| vec![(None, reason.to_owned())];
    let array = value.as_array().ok_or_else(|| one("must be written as [[fetch]] tables"))?;
    if array.len() > ACCOUNTS_MAX {
        return Err(one("holds too many accounts"));
    }
    let (mut out, mut wrong) = (Vec::<FetchAccount>::new(), Vec::new());
    for item in array {
        let line = line_of(text, item.span().start);
        let Some(table) = item.get_ref().as_table() else {
            wrong.push((Some(line), "must be written as [[fetch]] tables".into()));
            continue;
        };
        let reader = Reader { text, table, line, home };
        match reader.account() {
            Ok(account) if out.iter().any(|other| other.name == account.name) => {
                wrong.push((Some(line), format!("has two accounts named \"{}\"", account.name)));
            }
            Ok(account) => out.push(account),
            Err(mistake) => wrong.push(mistake),
        }
    }
    if wrong.is_empty() { Ok(out) } else { Err(wrong) }
}

struct Reader<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    line: usize,
    home: &'a Path,
}

impl Reader<'_> {
    fn account(&self) -> Result<FetchAccount, Wrong> {
        self.only_known()?;
        let protocol = self.choice("protocol", &[("imap", FetchProtocol::Imap), ("pop3", FetchProtocol::Pop3)])?;
        let protocol = protocol.ok_or_else(|| self.lacks("protocol"))?;
        let tls = [("implicit", FetchTls::Implicit), ("starttls", FetchTls::Starttls), ("none", FetchTls::None)];
        let tls = self.choice("tls", &tls)?.unwrap_or(FetchTls::Implicit);
        let (host, port) = self.server(standard_port(protocol, tls))?;
        let secret = self.secret()?;
        let account = FetchAccount {
            name: self.name()?,
            protocol,
            host,
            port,
            tls,
            trust: self.trust(tls)?,
            user: self.required("user")?,
            auth: self.auth(protocol, &secret)?,
            secret,
            to: self.address()?,
            multidrop: self.multidrop()?,
            folders: self.folders(protocol)?,
            keep_days: self.number("keep_days", (0, 36_500))?.map(small),
            every: Some(self.number("every_s", (0, 604_800))?.unwrap_or(300)).filter(|s| *s != 0).map(Duration::from_secs),
            messages_max: usize::try_from(self.number("messages_max", (1, 1_000_000))?.unwrap_or(1000)).unwrap_or(1000),
            idle: Duration::from_secs(self.number("idle_s", (1, 86_400))?.unwrap_or(120)),
        };
        Ok(account)
    }

    fn only_known(&self) -> Result<(), Wrong> {
        let is_known = |key: &str| KNOWN.split(", ").any(|known| known == key);
        match self.table.iter().find(|(key, _)| !is_known(key.get_ref())) {
            Some((key, _)) => {
                let name = postino_types::printable::printable(key.get_ref().as_bytes());
                Err((Some(line_of(self.text, key.span().start)), format!("has an unknown key \"{name}\"; known are {KNOWN}")))
            }
            None => Ok(()),
        }
    }

    fn get(&self, key: &str) -> Option<&Spanned<DeValue<'_>>> {
        self.table.iter().find(|(k, _)| k.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// The line of a key, else that of the table.
    fn at(&self, key: &str, reason: impl Into<String>) -> Wrong {
        let line = self.get(key).map_or(self.line, |value| line_of(self.text, value.span().start));
        (Some(line), format!("{key} {}", reason.into()))
    }

    fn lacks(&self, key: &str) -> Wrong {
        (Some(self.line), format!("lacks \"{key}\""))
    }

    fn string(&self, key: &str) -> Result<Option<String>, Wrong> {
        self.get(key).map(|value| server_toml::string(value.get_ref()).map_err(|reason| self.at(key, reason))).transpose()
    }

    fn required(&self, key: &str) -> Result<String, Wrong> {
        let found = self.string(key)?.ok_or_else(|| self.lacks(key))?;
        if found.is_empty() { Err(self.at(key, "is empty")) } else { Ok(found) }
    }

    fn strings(&self, key: &str) -> Result<Option<Vec<String>>, Wrong> {
        self.get(key).map(|value| server_toml::strings(value.get_ref()).map_err(|reason| self.at(key, reason))).transpose()
    }

    fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<Option<T>, Wrong> {
        let Some(word) = self.string(key)? else { return Ok(None) };
        let found = words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value);
        let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        found.map(Some).ok_or_else(|| self.at(key, format!("must be one of: {}", known.join(", "))))
    }

    fn number(&self, key: &str, (min, max): (u64, u64)) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.get_ref().as_integer().and_then(|i| u64::from_str_radix(i.as_str().trim_start_matches('+'), i.radix()).ok());
        let number = number.filter(|n| (min..=max).contains(n));
        number.map(Some).ok_or_else(|| self.at(key, format!("must be a number from {min} to {max}")))
    }

    fn name(&self) -> Result<String, Wrong> {
        let name = self.required("name")?;
        let fits = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
        if !fits || name.len() > 64 || name.starts_with('.') {
            return Err(self.at("name", "must be 1 to 64 of a-z, 0-9, dot, _ and -, and not begin with a dot"));
        }
        Ok(name)
    }

    fn server(&self, standard: u16) -> Result<(String, u16), Wrong> {
        let text = self.required("server")?;
        let bad = || self.at("server", "must be host, host:port or [address]:port");
        let bare = text.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match text.rsplit_once(':').filter(|_| !bare && !text.ends_with(']')) {
            Some((host, port)) => (host, port.parse::<u16>().ok().filter(|p| *p != 0).ok_or_else(bad)?),
            None => (text.as_str(), standard),
        };
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let fits = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b) || !b.is_ascii());
        if host.is_empty() || host.len() > 255 || !fits { Err(bad()) } else { Ok((host.to_owned(), port)) }
    }

    fn secret(&self) -> Result<FetchSecret, Wrong> {
        let file = self.string("password_file")?.map(|p| FetchSecret::PasswordFile(self.home.join(p)));
        let password = self.command("password_command")?.map(FetchSecret::PasswordCommand);
        let token = self.command("token_command")?.map(FetchSecret::TokenCommand);
        let mut given = [file, password, token].into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(one), None) => Ok(one),
            _ => Err((Some(self.line), "wants exactly one of password_file, password_command and token_command".into())),
        }
    }

    fn command(&self, key: &str) -> Result<Option<Vec<String>>, Wrong> {
        let Some(words) = self.strings(key)? else { return Ok(None) };
        match words.first() {
            Some(program) if program.starts_with('/') => Ok(Some(words)),
            _ => Err(self.at(key, "must be a list: the program's absolute path, then its arguments")),
        }
    }

    fn auth(&self, protocol: FetchProtocol, secret: &FetchSecret) -> Result<FetchAuth, Wrong> {
        let words = [
            ("auto", FetchAuth::Auto),
            ("plain", FetchAuth::Plain),
            ("login", FetchAuth::Login),
            ("cram-md5", FetchAuth::CramMd5),
            ("apop", FetchAuth::Apop),
            ("user", FetchAuth::User),
            ("xoauth2", FetchAuth::XOAuth2),
            ("oauthbearer", FetchAuth::OAuthBearer),
        ];
        let auth = self.choice("auth", &words)?.unwrap_or(FetchAuth::Auto);
        let wants_token = matches!(auth, FetchAuth::XOAuth2 | FetchAuth::OAuthBearer);
        let has_token = matches!(secret, FetchSecret::TokenCommand(_));
        if auth != FetchAuth::Auto && wants_token != has_token {
            return Err(self.at("auth", "does not fit: xoauth2 and oauthbearer want a token_command, the others a password"));
        }
        if auth == FetchAuth::Apop && protocol == FetchProtocol::Imap {
            return Err(self.at("auth", "apop is POP3's"));
        }
        Ok(auth)
    }

    fn trust(&self, tls: FetchTls) -> Result<FetchTrust, Wrong> {
        let roots = self.string("ca_file")?.map(|p| FetchTrust::Roots(self.home.join(p)));
        let pinned = match self.string("fingerprint")? {
            Some(text) => Some(FetchTrust::Pinned(fingerprint(&text).ok_or_else(|| {
                self.at("fingerprint", "must be a SHA-256: sha256: and 64 hexadecimal digits (colons between them are fine)")
            })?)),
            None => None,
        };
        if roots.is_some() && pinned.is_some() {
            return Err(self.at("fingerprint", "and ca_file exclude each other"));
        }
        let trust = roots.or(pinned);
        if trust.is_some() && tls == FetchTls::None {
            return Err((Some(self.line), "names a certificate, but tls = \"none\" has none".into()));
        }
        Ok(trust.unwrap_or(FetchTrust::System))
    }

    fn address(&self) -> Result<Address, Wrong> {
        let text = self.required("to")?;
        let address =
            Address::from_bytes(text.as_bytes()).ok().filter(|a| !a.local().is_empty() && a.host().is_some_and(|h| !h.is_empty()));
        address.ok_or_else(|| self.at("to", "must be an address: box@domain"))
    }

    fn multidrop(&self) -> Result<Option<Multidrop>, Wrong> {
        let strip = self.string("multidrop_strip")?;
        let domain = self.string("multidrop_domain")?;
        let Some(text) = self.string("multidrop_header")? else {
            return match strip.or(domain) {
                Some(_) => Err((Some(self.line), "has multidrop_strip or multidrop_domain without multidrop_header".into())),
                None => Ok(None),
            };
        };
        let bad = || self.at("multidrop_header", "must be a header's name, or name:n (1 is the topmost)");
        let (header, nth) = match text.split_once(':') {
            Some((header, nth)) => (header, nth.trim().parse::<usize>().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(bad)?),
            None => (text.as_str(), 1),
        };
        if header.is_empty() || header.len() > 100 || !header.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(bad());
        }
        Ok(Some(Multidrop { header: header.to_owned(), nth, strip: strip.unwrap_or_default(), domain }))
    }

    fn folders(&self, protocol: FetchProtocol) -> Result<Vec<String>, Wrong> {
        match self.strings("folders")? {
            Some(_) if protocol == FetchProtocol::Pop3 => Err(self.at("folders", "are IMAP's; POP3 has one mailbox")),
            Some(list) if list.is_empty() || list.len() > 1000 || list.iter().any(String::is_empty) => {
                Err(self.at("folders", "must be a list of 1 to 1000 names"))
            }
            Some(list) => Ok(list),
            None => Ok(vec!["INBOX".into()]),
        }
    }
}

fn standard_port(protocol: FetchProtocol, tls: FetchTls) -> u16 {
    match (protocol, tls) {
        (FetchProtocol::Pop3, FetchTls::Implicit) => 995,
        (FetchProtocol::Pop3, _) => 110,
        (FetchProtocol::Imap, FetchTls::Implicit) => 993,
        (FetchProtocol::Imap, _) => 143,
    }
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text.strip_prefix("sha256:").unwrap_or(text).bytes().filter(|b| *b != b':').collect();
    let mut out = [0u8; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|p| !p.starts_with('+'))?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
