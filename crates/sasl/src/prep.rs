//! SASLprep (RFC 4013): the one spelling of a name or password that has several. Called by SCRAM on both ends of a password's way.

use std::borrow::Cow;

/// The prepared form of a password; bytes that are no text, or that the profile forbids, stay as they are (so both sides still agree).
#[must_use]
pub fn prepared(password: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok()) {
        Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
        Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        None => Cow::Borrowed(password),
    }
}

/// The prepared form of a login name; `None`: a name that nobody can have.
pub(crate) fn name(name: &[u8]) -> Option<Vec<u8>> {
    let prepared = stringprep::saslprep(std::str::from_utf8(name).ok()?).ok()?;
    (!prepared.is_empty()).then(|| prepared.into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4013_examples() {
        assert_eq!(&*prepared("I\u{ad}X".as_bytes()), b"IX");
        assert_eq!(&*prepared(b"user"), b"user");
        assert_eq!(&*prepared(b"USER"), b"USER");
        assert_eq!(&*prepared("\u{aa}".as_bytes()), b"a");
        assert_eq!(&*prepared("\u{2168}".as_bytes()), b"IX");
        assert_eq!(&*prepared(b"\x07"), b"\x07", "forbidden: as it is");
        assert_eq!(name("\u{627}1".as_bytes()), None);
        assert_eq!(name(b""), None);
    }
}
