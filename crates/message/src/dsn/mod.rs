//! Notices about deliveries: qmail's bounce text (QSBMF) and the report of RFC 3464 around it. Called by send, which copies the original
//! message between [`report::Report::head`] and [`report::Report::tail`] itself; nothing here reads a message or decides whom to tell.

pub mod qsbmf;
pub mod report;

use postino_types::{Address, EnhancedStatus, Orcpt, ReversePath, Time};

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Recipients were given up: `failure notice` to the sender.
    Failure,
    /// A bounce bounced: `failure notice` to the postmaster.
    DoubleBounce,
    /// Recipients still wait (RFC 3461 4.1, `NOTIFY=DELAY`).
    Delay,
    /// Recipients were reached (`NOTIFY=SUCCESS`).
    Success,
}

/// RFC 3464 2.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Tried, will be tried again.
    Delayed,
    /// In its mailbox.
    Delivered,
    /// Handed to a host that sends no success reports.
    Relayed,
    /// Handed on to several addresses.
    Expanded,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

/// One recipient that is told about.
#[derive(Debug, Clone, Copy)]
pub struct Reported<'a> {
    /// The recipient as the sender knows it (a virtual domain's prefix stripped).
    pub address: &'a Address,
    /// ORCPT, if it was given.
    pub original: Option<&'a Orcpt>,
    /// What happened.
    pub action: Action,
    /// Status code; 2.x.x, 4.x.x or 5.x.x as `action` asks.
    pub status: EnhancedStatus,
    /// The delivery's report, as it came.
    pub text: &'a [u8],
    /// Time of the last attempt, when known.
    pub last_attempt: Option<Time>,
}

/// What both shapes of a notice say.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// Subject matter.
    pub kind: Kind,
    /// Now.
    pub now: Time,
    /// `bouncefrom`.
    pub bouncefrom: &'a str,
    /// `bouncehost`.
    pub bouncehost: &'a str,
    /// Whom it goes to.
    pub to: &'a Address,
    /// Envelope sender of the original, a VERP suffix dropped.
    pub sender: &'a ReversePath,
    /// At least one recipient.
    pub recipients: &'a [Reported<'a>],
}
