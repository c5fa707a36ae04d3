//! Addresses as vpopmail's programs take them: `@`, `%` or `/` between user and domain, all in lower case, a default domain where none is named.
//! Called by the programs for accounts and aliases. Pure but for its two complaints on standard error.

use crate::World;
use crate::complaint::{Complaint, number};
use postino_directory::names;
use std::fmt;
use std::io::Write;

/// Longest name of a user, bytes.
pub(crate) const USER_BYTES_MAX: usize = 32;
/// Longest name of a domain, bytes.
pub(crate) const DOMAIN_BYTES_MAX: usize = 96;

/// A user of a domain, both checked for their bytes and in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Before the separator.
    pub(crate) user: String,
    /// After it.
    pub(crate) domain: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.domain)
    }
}

/// Splits an address; a wrong part is told on standard error besides.
pub(crate) fn parse(world: &World, text: &str) -> Result<Address, Complaint> {
    let at = ['@', '%', '/'].into_iter().find_map(|separator| text.find(separator));
    let (user, domain) = match at {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default().to_owned()),
        None => (text, default_domain(world)),
    };
    if user.is_empty() || !user.bytes().all(names::is_user_byte) {
        let _ = writeln!(std::io::stderr().lock(), "user invalid {user}");
        return Err(Complaint::numbered(number::ILLEGAL_USERNAME));
    }
    let domain = domain_name(&domain).inspect_err(|_| {
        let _ = writeln!(std::io::stderr().lock(), "domain invalid {domain}");
    })?;
    Ok(Address { user: user.to_ascii_lowercase(), domain })
}

/// A domain's name in lower case.
pub(crate) fn domain_name(text: &str) -> Result<String, Complaint> {
    if text.len() > DOMAIN_BYTES_MAX {
        return Err(Complaint::numbered(number::DOMAIN_NAME_TOO_LONG));
    }
    names::domain(text).map_err(|_| Complaint::numbered(number::INVALID_DOMAIN))
}

/// The rule for a name that is to be made: not too long, and more than one byte where directories are hashed by single letters.
pub(crate) fn new_user(user: &str) -> Result<(), Complaint> {
    if user.len() > USER_BYTES_MAX {
        return Err(Complaint::numbered(number::USER_NAME_TOO_LONG));
    }
    if user.len() == 1 || names::user(user).is_err() {
        return Err(Complaint::numbered(number::ILLEGAL_USERNAME));
    }
    Ok(())
}

fn default_domain(world: &World) -> String {
    let named = std::env::var("VPOPMAIL_DOMAIN").ok().filter(|domain| !domain.is_empty());
    let mapped = || {
        let keepers = world.keepers().ok().filter(|_| world.config.vpopmail.ip_alias_domains)?;
        let address = std::env::var("TCPLOCALIP").ok()?.parse().ok()?;
        keepers.domains.domain_of(address).ok().flatten()
    };
    named.or_else(mapped).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_separator_of_the_list_counts() {
        let world = World::new("vadduser", postino_control::Config::default(), None);
        let parsed = |text: &str| parse(&world, text).map(|address| address.to_string()).map_err(|complaint| complaint.code);
        assert_eq!(parsed("Joe@Example.TEST"), Ok("joe@example.test".to_owned()));
        assert_eq!(parsed("joe%d.test"), Ok("joe@d.test".to_owned()));
        assert_eq!(parsed("joe/d.test"), Ok("joe@d.test".to_owned()));
        assert_eq!(parsed("bad name@d.test"), Err(255));
        assert_eq!(parsed("@d.test"), Err(255));
        assert_eq!(parsed("joe@-d.test"), Err(244));
        assert_eq!(parsed(&format!("joe@{}", "a".repeat(97))), Err(230));
        assert_eq!(new_user("x").map_err(|c| c.code), Err(255));
        assert_eq!(new_user(&"a".repeat(33)).map_err(|c| c.code), Err(231));
        assert_eq!(new_user("xy"), Ok(()));
    }
}
