//! Variable envelope return paths: a sender that ends with `-@[]` gets the recipient written into it at delivery time.
//! Called by send before a delivery and when a bounce is made; never touches a sender of another form.

use postino_types::{Address, ReversePath};

const MARK: &[u8] = b"-@[]";

/// `PRE@HOST-@[]` for recipient `box@rhost` becomes `PREbox=rhost@HOST`. Recipients without `@` and other senders leave it alone; so does
/// a result that would be too long. `recipient` is the routed address.
#[must_use]
pub fn expand(sender: &ReversePath, recipient: &Address) -> ReversePath {
    expanded(sender, recipient).unwrap_or_else(|| sender.clone())
}

fn expanded(sender: &ReversePath, recipient: &Address) -> Option<ReversePath> {
    let ReversePath::Address(address) = sender else { return None };
    let rest = address.as_bytes().strip_suffix(MARK)?;
    let at = rest.iter().rposition(|&b| b == b'@')?;
    let bytes = [rest.get(..at)?, recipient.local(), b"=", recipient.host()?, rest.get(at..)?].concat();
    Address::from_bytes(&bytes).ok().map(ReversePath::Address)
}

/// Whom a bounce goes to: the sender without a `-@[]` at its end.
#[must_use]
pub fn bounce_recipient(sender: &Address) -> Address {
    let stripped = sender.as_bytes().strip_suffix(MARK).and_then(|rest| Address::from_bytes(rest).ok());
    stripped.unwrap_or_else(|| sender.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ReversePath {
        ReversePath::from_bytes(text.as_bytes()).unwrap()
    }
    fn address(text: &str) -> Address {
        Address::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn expansion() {
        for (sender, recipient, want) in [
            ("joe-l-owner-@example.org-@[]", "u@far.org", "joe-l-owner-u=far.org@example.org"),
            ("l@a@x-@[]", "u@v@w", "l@au@v=w@x"),
            ("joe@example.org", "u@far.org", "joe@example.org"),
            ("l-@x-@[]", "nohost", "l-@x-@[]"),
            ("nohost-@[]", "u@v", "nohost-@[]"),
            ("#@[]", "u@v", "#@[]"),
            ("", "u@v", ""),
        ] {
            assert_eq!(expand(&path(sender), &address(recipient)).as_bytes(), want.as_bytes());
        }
    }

    #[test]
    fn bounces_go_to_the_owner() {
        assert_eq!(bounce_recipient(&address("joe-l-owner-@example.org-@[]")), address("joe-l-owner-@example.org"));
        assert_eq!(bounce_recipient(&address("joe@example.org")), address("joe@example.org"));
    }
}
