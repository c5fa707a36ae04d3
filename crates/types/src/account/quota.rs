//! Quotas of mailboxes as vpopmail writes them: `NOQUOTA`, `5000000S`, `1000C`, `5000000S,1000C`. Called by delivery, by the keeper of
//! `maildirsize` and by the administration. Pure; the strict form for what people type is the administration's.

use std::fmt;

/// What a mailbox may hold. 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Bytes.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
}

/// What a mailbox holds. Signed: lines of `maildirsize` are added up as they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes.
    pub bytes: i64,
    /// Messages.
    pub messages: i64,
}

impl Usage {
    /// One more message of `bytes`.
    #[must_use]
    pub fn message(bytes: u64) -> Self {
        Self { bytes: i64::try_from(bytes).unwrap_or(i64::MAX), messages: 1 }
    }

    /// Both together; saturates.
    #[must_use]
    pub fn plus(self, more: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(more.bytes), messages: self.messages.saturating_add(more.messages) }
    }
}

impl Quota {
    /// No limit.
    pub const NONE: Self = Self { bytes: 0, messages: 0 };

    /// Reads a stored text as vpopmail does: numbers with an optional K or M, those that end in `C` count messages, a later element replaces an
    /// earlier one of its kind, and an unknown suffix is passed over (`10G` is ten bytes). What is no number is no limit.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut quota = Self::NONE;
        if text.eq_ignore_ascii_case("NOQUOTA") {
            return quota;
        }
        for element in text.split(',').map(str::trim) {
            let digits = element.len() - element.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, unit) = element.split_at(digits);
            if number.is_empty() {
                continue;
            }
            let number: u64 = number.parse().unwrap_or(u64::MAX);
            if unit.ends_with(['C', 'c']) {
                quota.messages = number;
                continue;
            }
            let factor = match unit.bytes().next() {
                Some(b'K' | b'k') => 1 << 10,
                Some(b'M' | b'm') => 1 << 20,
                _ => 1,
            };
            quota.bytes = number.saturating_mul(factor);
        }
        quota
    }

    /// True without any limit.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Would `usage` be too much?
    #[must_use]
    pub fn is_exceeded_by(self, usage: Usage) -> bool {
        let over = |limit: u64, used: i64| limit != 0 && u64::try_from(used).is_ok_and(|used| used > limit);
        over(self.bytes, usage.bytes) || over(self.messages, usage.messages)
    }

    /// How full it is, in per cent of the limit that is nearer; 0 without a limit.
    #[must_use]
    pub fn per_cent(self, usage: Usage) -> u64 {
        let part = |limit: u64, used: i64| match u128::try_from(used) {
            Ok(used) if limit != 0 => u64::try_from(used * 100 / u128::from(limit)).unwrap_or(u64::MAX),
            _ => 0,
        };
        part(self.bytes, usage.bytes).max(part(self.messages, usage.messages))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.bytes, self.messages) {
            (0, 0) => f.write_str("NOQUOTA"),
            (bytes, 0) => write!(f, "{bytes}S"),
            (0, messages) => write!(f, "{messages}C"),
            (bytes, messages) => write!(f, "{bytes}S,{messages}C"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_of_vpopmail() {
        for (text, bytes, messages) in [
            ("NOQUOTA", 0, 0),
            ("", 0, 0),
            ("5000000S,1000C", 5_000_000, 1000),
            ("1000C", 0, 1000),
            ("5M", 5 << 20, 0),
            ("100KB", 100 << 10, 0),
            ("2MB,10", 10, 0),
            ("10G", 10, 0),
            ("nonsense", 0, 0),
        ] {
            assert_eq!(Quota::parse(text), Quota { bytes, messages }, "{text}");
        }
    }

    #[test]
    fn the_limit_itself_is_allowed_and_no_limit_never_refuses() {
        let quota = Quota::parse("100S,2C");
        assert!(!quota.is_exceeded_by(Usage { bytes: 100, messages: 2 }));
        assert!(quota.is_exceeded_by(Usage { bytes: 101, messages: 1 }));
        assert!(quota.is_exceeded_by(Usage { bytes: -5, messages: 3 }));
        assert!(!Quota::NONE.is_exceeded_by(Usage { bytes: i64::MAX, messages: i64::MAX }));
        assert_eq!(quota.per_cent(Usage { bytes: 90, messages: 1 }), 90);
        assert_eq!(quota.per_cent(Usage { bytes: -9, messages: -1 }), 0);
    }

    proptest! {
        #[test]
        fn parse_undoes_print(bytes: u64, messages: u64) {
            let quota = Quota { bytes, messages };
            prop_assert_eq!(Quota::parse(&quota.to_string()), quota);
        }

        #[test]
        fn any_text_is_survived(text in "\\PC{0,40}", used: i64) {
            let quota = Quota::parse(&text);
            let _ = (quota.per_cent(Usage { bytes: used, messages: used }), quota.is_exceeded_by(Usage { bytes: used, messages: used }));
        }
    }
}
