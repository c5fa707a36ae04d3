//! The envelope: who sent, who receives, with which wishes (RFC 5321 2.3.1, RFC 3461), and the state of each recipient in the queue.

use crate::address::{Address, ReversePath};
use crate::report_text::ReportText;
use crate::status::{PermStatus, TempStatus};
use crate::time::Time;

/// Where a recipient goes; decided once, when the message is accepted (qmail decides when it preprocesses).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// A mailbox, user or alias of this machine.
    Local,
    /// Another host.
    Remote,
}

/// The result of routing one recipient: the channel and the address that the channel delivers to
/// (for a virtual domain qmail's `prefix-box@host`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Routed {
    /// Local or remote.
    pub channel: Channel,
    /// What goes into Delivered-To, RECIPIENT, the log, or RCPT TO.
    pub address: Address,
}

/// RFC 3461 4.1: when the sender wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Notify {
    /// `NOTIFY=` was given; without it a failure (and a delay) is reported.
    pub explicit: bool,
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

impl Notify {
    /// `NOTIFY=NEVER`.
    pub const NEVER: Self = Self { explicit: true, success: false, failure: false, delay: false };

    /// True when a failure of this recipient is to be bounced.
    #[must_use]
    pub fn wants_failure(self) -> bool {
        !self.explicit || self.failure
    }
}

/// RFC 3461 4.2: the original recipient, already xtext-decoded and free of control bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Orcpt {
    /// Address type, `rfc822` or `utf-8`.
    pub kind: String,
    /// The address, decoded.
    pub address: Vec<u8>,
}

/// RFC 3461 4.3: how much of the message a failure report returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ret {
    /// Not asked.
    #[default]
    Unset,
    /// The whole message.
    Full,
    /// Only the header.
    Headers,
}

/// RFC 3461 4.3, 4.4: the wishes for the whole message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DsnWish {
    /// `RET=`.
    pub ret: Ret,
    /// `ENVID=`, decoded, free of control bytes.
    pub envid: Option<Vec<u8>>,
}

/// RFC 6152, RFC 3030: what the body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    /// `BODY=7BIT` or nothing said.
    #[default]
    SevenBit,
    /// `BODY=8BITMIME`.
    EightBit,
}

/// One recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// As the sender gave it (after envnoathost and percenthack); shown in bounces.
    pub address: Address,
    /// Where it goes.
    pub routed: Routed,
    /// When to report.
    pub notify: Notify,
    /// Original recipient.
    pub original: Option<Orcpt>,
}

/// The envelope of one message. A message without recipients is legal and ends at once (qmail-queue takes it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// MAIL FROM.
    pub sender: ReversePath,
    /// RCPT TO, in order.
    pub recipients: Vec<Recipient>,
    /// Seven or eight bits.
    pub body: BodyKind,
    /// `SMTPUTF8` was asked (RFC 6531).
    pub utf8: bool,
    /// DSN wishes.
    pub dsn: DsnWish,
    /// `REQUIRETLS` (RFC 8689).
    pub require_tls: bool,
}

/// Who spoke SMTP to us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerInfo {
    /// Client address, printable.
    pub ip: String,
    /// HELO/EHLO name, printable.
    pub helo: String,
    /// Authenticated login, if any.
    pub login: Option<String>,
}

/// Where a queued message came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// From the network.
    Smtp(PeerInfo),
    /// From a user of this machine.
    Local {
        /// The kernel's word for the caller.
        uid: u32,
    },
    /// Forwarded by a delivery of this entry.
    Forward {
        /// The entry that caused it.
        of: crate::QueueId,
        /// The uid that forwarded (for `invoked by uid`).
        uid: u32,
    },
    /// A bounce or notice about this entry.
    Bounce {
        /// The entry that it reports on.
        of: crate::QueueId,
    },
}

/// Where one recipient stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientState {
    /// Still to be delivered.
    Pending {
        /// Attempts so far.
        attempts: u16,
        /// Last temporary answer, if any.
        last: Option<(TempStatus, ReportText)>,
        /// A delay notice was sent.
        delay_told: bool,
    },
    /// Delivered (or handed on).
    Delivered {
        /// When.
        at: Time,
        /// Report, capped.
        detail: ReportText,
    },
    /// Given up.
    Failed {
        /// When.
        at: Time,
        /// Code.
        status: PermStatus,
        /// Report for the bounce, capped.
        detail: ReportText,
    },
}

impl RecipientState {
    /// A fresh recipient.
    #[must_use]
    pub fn fresh() -> Self {
        Self::Pending { attempts: 0, last: None, delay_told: false }
    }

    /// True while delivery is still to be tried.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }
}
