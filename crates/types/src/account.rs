//! The data of virtual accounts as vpopmail has it: a record (`name:passwd:uid:gid:gecos:dir:quota[:clear]` in `vpasswd`), a domain's limits,
//! the state of directory hashing. Called by login, delivery, administration and the databases. Pure bytes ↔ fields; never prints a password.

mod hash_state;
mod limits;
mod quota;

pub use hash_state::{HASH_STATE_BYTES_MAX, HashState};
pub use limits::{DomainLimits, Permissions};
pub use quota::{Quota, Usage};

use std::fmt;

/// May not change the password.
pub const FLAG_NO_PASSWORD_CHANGE: u32 = 0x01;
/// No POP3.
pub const FLAG_NO_POP: u32 = 0x02;
/// No webmail.
pub const FLAG_NO_WEBMAIL: u32 = 0x04;
/// No IMAP.
pub const FLAG_NO_IMAP: u32 = 0x08;
/// All incoming mail is bounced; the login works.
pub const FLAG_BOUNCE_MAIL: u32 = 0x10;
/// A login does not open the relay.
pub const FLAG_NO_RELAY: u32 = 0x20;
/// No dial-up.
pub const FLAG_NO_DIALUP: u32 = 0x40;
/// Free for the site, first of four (0x80, 0x100, 0x200, 0x400).
pub const FLAG_USER0: u32 = 0x80;
/// No SMTP AUTH.
pub const FLAG_NO_SMTP: u32 = 0x800;
/// Administrator of the domain (qmailadmin's role).
pub const FLAG_DOMAIN_ADMIN: u32 = 0x1000;
/// The domain's limit flags do not count for this account.
pub const FLAG_OVERRIDE: u32 = 0x2000;
/// No spam check.
pub const FLAG_NO_SPAM_CHECK: u32 = 0x4000;
/// Spam is thrown away.
pub const FLAG_DELETE_SPAM: u32 = 0x8000;
/// Administrator of the system.
pub const FLAG_SYSTEM_ADMIN: u32 = 0x1_0000;
/// May edit `.qmail` files.
pub const FLAG_EXPERT: u32 = 0x2_0000;
/// No maildrop.
pub const FLAG_NO_MAILDROP: u32 = 0x4_0000;

/// An account as the file has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// User name, lower case.
    pub name: String,
    /// Password hash; empty = no login.
    pub password: String,
    /// 1 (POP) or 2 (APOP): history, unused.
    pub kind: u32,
    /// Flag bits.
    pub flags: u32,
    /// Comment, any bytes but `:` and LF.
    pub gecos: Vec<u8>,
    /// The user's directory.
    pub directory: String,
    /// `NOQUOTA` or a quota text.
    pub quota: String,
    /// Clear password when the site keeps it.
    pub clear: Option<String>,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}, flags {:#x}, {}, {}, ..)", self.name, self.flags, self.directory, self.quota)
    }
}

impl Record {
    /// Reads a line without its LF; `None` when it is none (fewer than six fields, or bytes that are not UTF-8 outside the comment).
    #[must_use]
    pub fn parse(line: &[u8]) -> Option<Self> {
        let colon = line.iter().position(|&b| b == b':')?;
        Self::from_parts(line.get(..colon)?, line.get(colon + 1..)?)
    }

    /// Reads name and the rest of the line, as `vpasswd.cdb` keeps them.
    #[must_use]
    pub fn from_parts(name: &[u8], rest: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let mut fields = rest.splitn(7, |&b| b == b':');
        let password = text(fields.next()?)?;
        let kind = number(fields.next()?);
        let flags = number(fields.next()?);
        let gecos = fields.next()?.to_vec();
        let directory = text(fields.next()?)?;
        let quota = fields.next().map_or_else(|| Some(String::new()), text)?;
        let clear = match fields.next() {
            None => None,
            Some(bytes) => Some(text(bytes)?),
        };
        if name.is_empty() {
            return None;
        }
        Some(Self { name: text(name)?, password, kind, flags, gecos, directory, quota, clear })
    }

    /// What stands after the first colon of the line.
    #[must_use]
    pub fn rest(&self) -> Vec<u8> {
        let mut out = format!("{}:{}:{}:", self.password, self.kind, self.flags).into_bytes();
        out.extend_from_slice(&self.gecos);
        out.extend_from_slice(format!(":{}:{}", self.directory, self.quota).as_bytes());
        if let Some(clear) = &self.clear {
            out.push(b':');
            out.extend_from_slice(clear.as_bytes());
        }
        out
    }

    /// The line, without LF.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        let mut out = self.name.clone().into_bytes();
        out.push(b':');
        out.extend_from_slice(&self.rest());
        out
    }

    /// The flags in force: the record's own, and those of its domain's limits unless it is exempt from them.
    #[must_use]
    pub fn effective_flags(&self, limits: &DomainLimits) -> u32 {
        if self.flags & FLAG_OVERRIDE == 0 { self.flags | limits.flags } else { self.flags }
    }

    /// The quota, `NOQUOTA` when the column is empty.
    #[must_use]
    pub fn quota_or_none(&self) -> &str {
        if self.quota.is_empty() { "NOQUOTA" } else { &self.quota }
    }
}

/// Like atoi(3): leading digits, 0 when there are none; saturates.
fn number(text: &[u8]) -> u32 {
    text.iter().take_while(|b| b.is_ascii_digit()).fold(0u32, |n, &d| n.saturating_mul(10).saturating_add(u32::from(d - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_vpopmail_writes() {
        let record =
            Record::parse(b"pippo:$1$saltsalt$x:1:0:pippo:/home/vpopmail/domains/example.org/pippo:5000000S,1000C:cl:ear").unwrap();
        assert_eq!((record.name.as_str(), record.kind, record.flags), ("pippo", 1, 0));
        assert_eq!(record.directory, "/home/vpopmail/domains/example.org/pippo");
        assert_eq!(record.quota, "5000000S,1000C");
        assert_eq!(record.clear.as_deref(), Some("cl:ear"), "the last column may hold colons");
        assert!(!format!("{record:?}").contains("saltsalt"), "no hash in a log");
        assert!(!format!("{record:?}").contains("ear"), "no password in a log");
    }

    #[test]
    fn a_domain_closes_services_unless_the_account_is_exempt() {
        let mut record = Record::parse(b"ann:x:1:2:g:/d:NOQUOTA").unwrap();
        let limits = DomainLimits { flags: FLAG_NO_IMAP, ..DomainLimits::default() };
        assert_eq!(record.effective_flags(&limits), FLAG_NO_POP | FLAG_NO_IMAP);
        record.flags |= FLAG_OVERRIDE;
        assert_eq!(record.effective_flags(&limits), FLAG_NO_POP | FLAG_OVERRIDE);
    }

    #[test]
    fn damaged_lines_are_none() {
        for bad in [&b""[..], b"x", b"x:y", b":p:1:0:g:/d:NOQUOTA", b"x:p:1:0:g", b"\xff:p:1:0:g:/d:NOQUOTA", b"x:\xff:1:0:g:/d:q"] {
            assert_eq!(Record::parse(bad), None, "{bad:?}");
        }
        let short = Record::parse(b"x:p:1:0:\xffg:/d").unwrap();
        assert_eq!(short.quota_or_none(), "NOQUOTA");
    }

    proptest! {
        #[test]
        fn parse_undoes_print(name in "[a-z0-9.-]{1,32}", password in "[!-9;-~]{0,40}", flags: u32, gecos in "[^:\n]{0,20}", directory in "/[a-z/]{0,40}", quota in "(NOQUOTA|[0-9]{1,9}S,[0-9]{1,4}C|)", clear in proptest::option::of("[ -~]{0,20}")) {
            let record = Record { name, password, kind: 1, flags, gecos: gecos.into_bytes(), directory, quota, clear };
            prop_assert_eq!(Record::parse(&record.line()), Some(record));
        }

        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(record) = Record::parse(&line) {
                prop_assert_eq!(Record::parse(&record.line()), Some(record));
            }
        }
    }
}
