//! vpopmail's rules for the names of domains and users, and the splitting of addresses that people type. Called by login and administration.
//! Pure; what passes here is safe as one path component.

/// Longest domain, in bytes.
pub const DOMAIN_BYTES_MAX: usize = 96;
/// Longest user name, in bytes.
pub const USER_BYTES_MAX: usize = 32;

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a domain.
    #[error("a domain name is 3 to {DOMAIN_BYTES_MAX} letters, digits, `-` and `.`, without empty labels and without `-` at its ends")]
    Domain,
    /// Not a user name.
    #[error(
        "a user name is 1 to {USER_BYTES_MAX} letters, digits and the signs ! # $ & ' * + - . = ? ^ _ ` {{ | }} ~, not beginning with a dot"
    )]
    User,
    /// A file of the domain directory has this name.
    #[error("this name is taken by a file of the domain itself")]
    Reserved,
    /// Not `user@domain`.
    #[error("an address is user@domain")]
    Address,
}

/// Checks a domain name and gives it in lower case.
pub fn domain(text: &str) -> Result<String, NameError> {
    let good_length = (3..=DOMAIN_BYTES_MAX).contains(&text.len());
    let good_bytes = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    let good_ends = !text.starts_with('-') && !text.ends_with('-');
    if good_length && good_bytes && good_ends && text.split('.').all(|label| !label.is_empty()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(NameError::Domain)
    }
}

/// Checks the name of a user or alias to be made and gives it in lower case. Stricter than what is looked up:
/// a `/` or a leading dot, which vpopmail would take, could leave the domain directory.
pub fn user(text: &str) -> Result<String, NameError> {
    let good_length = (1..=USER_BYTES_MAX).contains(&text.len());
    if !good_length || !text.bytes().all(|b| b != b'/' && is_user_byte(b)) || text.starts_with('.') {
        return Err(NameError::User);
    }
    let name = text.to_ascii_lowercase();
    if name == "vpasswd" || name.starts_with("vpasswd.") {
        return Err(NameError::Reserved);
    }
    Ok(name)
}

/// The bytes that vpopmail takes in a user name (upper-case letters fold).
#[must_use]
pub fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$&'*+-./=?^_`{|}~".contains(&byte)
}

/// Splits `user@domain` (both checked, lower case).
pub fn address(text: &str) -> Result<(String, String), NameError> {
    let (local, host) = text.rsplit_once('@').ok_or(NameError::Address)?;
    Ok((user(local)?, domain(host)?))
}

/// Splits a login name at the first of the separators `@`, `%`, `/` that occurs in it, in that order of preference, lower-cased.
/// No separator: the domain is `None`.
#[must_use]
pub fn split_login(login: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let login = login.to_ascii_lowercase();
    let at = b"@%/".iter().find_map(|separator| login.iter().rposition(|b| b == separator));
    match at {
        None => (login, None),
        Some(at) => {
            let host = login.get(at + 1..).unwrap_or_default().to_vec();
            (login.get(..at).unwrap_or_default().to_vec(), Some(host))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        assert_eq!(domain("Example.ORG").unwrap(), "example.org");
        for bad in ["", "ab", "...", "a..b", ".ab", "ab.", "-ab", "ab-", "a/b", "../x", "a b", "a\nb", "é.it", &"a".repeat(97)] {
            assert!(domain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn users() {
        assert_eq!(user("Mario.Rossi+x").unwrap(), "mario.rossi+x");
        for bad in ["", ".", "..", ".qmail", "a/b", "../x", "a:b", "a\nb", "a\0b", "a b", "a@b", "a%b", "é", &"a".repeat(33)] {
            assert_eq!(user(bad), Err(NameError::User), "{bad:?}");
        }
        assert_eq!(user("vpasswd.cdb"), Err(NameError::Reserved));
    }

    #[test]
    fn logins_split_by_separator_priority() {
        let split = |text: &str| {
            let (user, host) = split_login(text.as_bytes());
            (String::from_utf8(user).unwrap(), host.map(|h| String::from_utf8(h).unwrap()))
        };
        assert_eq!(split("Joe@D.test"), ("joe".into(), Some("d.test".into())));
        assert_eq!(split("joe%d.test"), ("joe".into(), Some("d.test".into())));
        assert_eq!(split("joe/d.test"), ("joe".into(), Some("d.test".into())));
        assert_eq!(split("a%b@d.test"), ("a%b".into(), Some("d.test".into())));
        assert_eq!(split("joe"), ("joe".into(), None));
    }
}
