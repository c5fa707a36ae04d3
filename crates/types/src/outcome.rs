//! What a delivery attempt came to. Delivery code returns it; only `send` hands it to the queue.

use crate::ReversePath;
use crate::envelope::Recipient;
use crate::report_text::ReportText;
use crate::status::{PermStatus, TempStatus};
use crate::time::Time;

/// A forward that a delivery asks for: queued in the same commit that marks the recipient done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Sender of the new message.
    pub sender: ReversePath,
    /// Its recipients, already routed.
    pub recipients: Vec<Recipient>,
    /// Lines put in front of the old message (Delivered-To), each ended by LF.
    pub prepend: Vec<u8>,
    /// The uid that forwards.
    pub uid: u32,
}

/// The end of one attempt for one recipient. Unknown trouble is always `Deferred`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The next holder has it on stable storage.
    Delivered {
        /// Report as qmail logs it (`did 1+0+0\n`), capped.
        detail: ReportText,
        /// New messages that this delivery caused.
        forwards: Vec<Forward>,
        /// RFC 3464 action for a success report: true when only relayed to a host without DSN.
        relayed: bool,
    },
    /// Try again later.
    Deferred {
        /// Code.
        status: TempStatus,
        /// Report, capped.
        detail: ReportText,
        /// Not before this time, if the next holder said so.
        not_before: Option<Time>,
    },
    /// Give up: a bounce follows.
    Failed {
        /// Code.
        status: PermStatus,
        /// Report, capped.
        detail: ReportText,
    },
}

/// Longest report kept, in bytes (qmail-lspawn cuts at 3000, qmail-remote replies at 5000).
pub const DETAIL_BYTES_MAX: usize = 5000;

impl DeliveryOutcome {
    /// A plain success.
    #[must_use]
    pub fn delivered(detail: impl Into<ReportText>) -> Self {
        Self::Delivered { detail: detail.into(), forwards: Vec::new(), relayed: false }
    }
    /// A deferral.
    #[must_use]
    pub fn deferred(status: TempStatus, detail: impl Into<ReportText>) -> Self {
        Self::Deferred { status, detail: detail.into(), not_before: None }
    }
    /// A failure.
    #[must_use]
    pub fn failed(status: PermStatus, detail: impl Into<ReportText>) -> Self {
        Self::Failed { status, detail: detail.into() }
    }
}
