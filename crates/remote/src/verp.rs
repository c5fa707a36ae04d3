//! VERP: one sender address for each recipient (qmail-send(8)). Called by `deliver`; pure.

use postino_types::{Address, ReversePath};

/// True for a sender `PRE@HOST-@[]`, whose recipients each need a transaction of their own.
pub(crate) fn is_verp(sender: &ReversePath) -> bool {
    split(sender).is_some()
}

/// `PRE@HOST-@[]` for `box@host` becomes `PREbox=host@HOST`; other senders, and recipients without a host, leave it alone.
pub(crate) fn expand(sender: &ReversePath, recipient: &Address) -> ReversePath {
    let (Some((prefix, sender_host)), Some(host)) = (split(sender), recipient.host()) else { return sender.clone() };
    let local = [prefix, recipient.local(), b"=", host].concat();
    // Too long to be an address: the plain sender is better than none.
    Address::from_parts(&local, sender_host).map_or_else(|_| sender.clone(), ReversePath::Address)
}

fn split(sender: &ReversePath) -> Option<(&[u8], &[u8])> {
    let ReversePath::Address(address) = sender else { return None };
    let owner = address.as_bytes().strip_suffix(b"-@[]")?;
    let at = owner.iter().rposition(|&b| b == b'@')?;
    Some((owner.get(..at)?, owner.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(s: &str) -> ReversePath {
        ReversePath::from_bytes(s.as_bytes()).unwrap()
    }

    #[test]
    fn expands_as_qmail_send_does() {
        let to = Address::from_bytes(b"u@far.org").unwrap();
        assert_eq!(expand(&path("joe-l-owner-@example.org-@[]"), &to), path("joe-l-owner-u=far.org@example.org"));
        assert_eq!(expand(&path("no-host-@[]"), &to), path("no-host-@[]"));
        assert_eq!(expand(&path("a@b"), &to), path("a@b"));
        assert_eq!(expand(&path("#@[]"), &to), path("#@[]"));
        let bare = Address::from_bytes(b"u").unwrap();
        assert_eq!(expand(&path("l-@x-@[]"), &bare), path("l-@x-@[]"));
    }
}
