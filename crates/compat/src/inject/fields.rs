//! The header fields that qmail-inject knows, and how a header is cut into fields. Pure.

/// What is done with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Its addresses are recipients.
    Recipient,
    /// Its addresses are recipients of a message sent again.
    ResentRecipient,
    /// Its addresses are completed.
    Sender,
    /// Its address is the envelope sender.
    ReturnPath,
    /// Looked for, nothing else.
    Plain,
}

/// A field by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Not part of the message that is sent.
    pub(crate) private: bool,
}

impl Known {
    /// True for `Resent-…`.
    pub(crate) fn is_resent(self) -> bool {
        self.name.starts_with("resent-")
    }
}

const fn known(name: &'static str, role: Role) -> Known {
    Known { name, role, private: false }
}

const fn private(name: &'static str, role: Role) -> Known {
    Known { name, role, private: true }
}

const FIELDS: &[Known] = &[
    known("to", Role::Recipient),
    known("cc", Role::Recipient),
    private("bcc", Role::Recipient),
    known("apparently-to", Role::Recipient),
    known("resent-to", Role::ResentRecipient),
    known("resent-cc", Role::ResentRecipient),
    private("resent-bcc", Role::ResentRecipient),
    private("return-path", Role::ReturnPath),
    known("sender", Role::Sender),
    known("from", Role::Sender),
    known("reply-to", Role::Sender),
    known("return-receipt-to", Role::Sender),
    known("errors-to", Role::Sender),
    known("resent-sender", Role::Sender),
    known("resent-from", Role::Sender),
    known("resent-reply-to", Role::Sender),
    private("content-length", Role::Plain),
    known("date", Role::Plain),
    known("message-id", Role::Plain),
    known("resent-date", Role::Plain),
    known("resent-message-id", Role::Plain),
    known("mail-followup-to", Role::Plain),
];

/// The name of the field that begins with this line; `None` when it is no field.
pub(crate) fn name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|&b| b == b':')?;
    let name = line.get(..colon)?;
    let end = name.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |last| last + 1);
    let name = name.get(..end)?;
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// What is known of a field.
pub(crate) fn find(name: &[u8]) -> Option<Known> {
    FIELDS.iter().find(|field| name.eq_ignore_ascii_case(field.name.as_bytes())).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_end_before_the_colon() {
        assert_eq!(name(b"Subject : x"), Some(&b"Subject"[..]));
        assert_eq!(name(b"X-Foo:bar"), Some(&b"X-Foo"[..]));
        for bad in ["not a header", ": x", " a: b", "a b: c", "x"] {
            assert_eq!(name(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(find(b"rEply-TO").map(|f| f.role), Some(Role::Sender));
        assert!(find(b"bcc").is_some_and(|f| f.private));
    }
}
