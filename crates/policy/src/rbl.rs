//! Block lists: what a listing means for a client. Pure; called by the SMTP server, which asks the DNS itself.

/// How a client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// 451: it may come again.
    ForNow,
    /// 553: for good.
    ForGood,
}

/// What the variable RBLSMTPD of the rules by address orders, as rblsmtpd(1) reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered<'a> {
    /// Empty: no list is asked about this client.
    AskNobody,
    /// A text: refused with it; for good when it began with a hyphen.
    Refuse {
        /// For good or for now.
        how: Refusal,
        /// What the client is told.
        text: &'a str,
    },
}

/// Reads RBLSMTPD.
#[must_use]
pub fn ordered(value: &str) -> Ordered<'_> {
    match value.strip_prefix('-') {
        Some(text) => Ordered::Refuse { how: Refusal::ForGood, text },
        None if value.is_empty() => Ordered::AskNobody,
        None => Ordered::Refuse { how: Refusal::ForNow, text: value },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rblsmtpd() {
        assert_eq!(ordered(""), Ordered::AskNobody);
        assert_eq!(ordered("-"), Ordered::Refuse { how: Refusal::ForGood, text: "" });
        assert_eq!(ordered("-go away"), Ordered::Refuse { how: Refusal::ForGood, text: "go away" });
        assert_eq!(ordered("later"), Ordered::Refuse { how: Refusal::ForNow, text: "later" });
    }
}
