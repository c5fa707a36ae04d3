//! Enhanced status codes (RFC 3463): a temporary one can only be 4.x.x, a permanent one only 5.x.x, so a bounce with a 4xx does not compile.

use std::fmt;

/// Any `class.subject.detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// 2, 4 or 5.
    pub class: u8,
    /// Subject.
    pub subject: u16,
    /// Detail.
    pub detail: u16,
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A 4.x.x code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TempStatus {
    subject: u16,
    detail: u16,
}

/// A 5.x.x code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PermStatus {
    subject: u16,
    detail: u16,
}

macro_rules! status {
    ($t:ident, $class:literal) => {
        impl $t {
            /// From subject and detail; the class is fixed by the type.
            #[must_use]
            pub const fn new(subject: u16, detail: u16) -> Self {
                Self { subject, detail }
            }
            /// As a general code.
            #[must_use]
            pub const fn enhanced(self) -> EnhancedStatus {
                EnhancedStatus { class: $class, subject: self.subject, detail: self.detail }
            }
        }
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.enhanced().fmt(f)
            }
        }
    };
}
status!(TempStatus, 4);
status!(PermStatus, 5);

impl TempStatus {
    /// 4.3.0: something here went wrong.
    pub const SYSTEM: Self = Self::new(3, 0);
    /// 4.3.1: mail system full.
    pub const FULL: Self = Self::new(3, 1);
    /// 4.4.1: no answer from host.
    pub const NO_ANSWER: Self = Self::new(4, 1);
    /// 4.4.2: bad connection.
    pub const CONNECTION: Self = Self::new(4, 2);
    /// 4.4.3: directory or DNS server failure.
    pub const LOOKUP: Self = Self::new(4, 3);

    /// The permanent twin, used when a dying message gives up.
    #[must_use]
    pub const fn give_up(self) -> PermStatus {
        PermStatus::new(self.subject, self.detail)
    }
}

impl PermStatus {
    /// 5.1.1: no such mailbox.
    pub const NO_MAILBOX: Self = Self::new(1, 1);
    /// 5.1.2: no such host.
    pub const NO_HOST: Self = Self::new(1, 2);
    /// 5.3.0: system will not take it.
    pub const SYSTEM: Self = Self::new(3, 0);
    /// 5.4.6: routing loop.
    pub const LOOP: Self = Self::new(4, 6);
    /// 5.2.2: mailbox full.
    pub const MAILBOX_FULL: Self = Self::new(2, 2);
}

/// Reads `d.d.d` at the start of a reply text (RFC 2034 4). `None` when it is not one.
#[must_use]
pub fn parse(text: &str) -> Option<EnhancedStatus> {
    let word = text.split(' ').next()?;
    let mut parts = word.split('.');
    let class = parts.next()?.parse().ok().filter(|c| matches!(c, 2 | 4 | 5))?;
    let number = |p: Option<&str>| p.filter(|s| !s.is_empty() && s.len() <= 3).and_then(|s| s.parse::<u16>().ok());
    let status = EnhancedStatus { class, subject: number(parts.next())?, detail: number(parts.next())? };
    parts.next().is_none().then_some(status)
}
