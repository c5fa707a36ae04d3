//! One entry while its pass goes on: which deliveries are ready, which ended how, what is held back until the pass is over. State only;
//! the loop moves it.

use crate::context::SharedBody;
use crate::destination::Role;
use crate::lane::Turn;
use crate::remembered::Later;
use crate::trusted::Moment;
use postino_policy::retry::DYING_TEXT;
use postino_ports::queue::QueueEntry;
use postino_types::{Channel, DeliveryOutcome, RecipientState};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A delivery that could be made: one job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seed {
    /// Local or remote.
    pub(crate) channel: Channel,
    /// Key of the remote destination; local deliveries need none.
    pub(crate) destination: Option<Arc<str>>,
    /// Recipient indexes, all of one destination.
    pub(crate) recipients: Vec<usize>,
    /// What it is for its destination.
    pub(crate) role: Role,
}

/// What became of one recipient in this pass.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) index: usize,
    pub(crate) outcome: DeliveryOutcome,
    pub(crate) attempt: Attempt,
}

/// Was it really tried?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// Yes.
    Made,
    /// No: its destination is dead, so its last word stands. Not before this moment again.
    Spared(Duration),
}

/// Is the entry too old?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// No.
    Young,
    /// Yes: temporary failures of this pass are permanent.
    Dying,
}

/// An entry in flight.
pub(crate) struct Flight {
    pub(crate) entry: Arc<QueueEntry>,
    pub(crate) body: SharedBody,
    pub(crate) turn: Turn,
    pub(crate) life: Life,
    pub(crate) started: Moment,
    ready_local: VecDeque<Seed>,
    ready_remote: VecDeque<Seed>,
    /// Jobs that wait, are ready or run.
    pub(crate) unfinished: usize,
    /// Delivered: may be settled while others run.
    pub(crate) delivered: Vec<Ended>,
    /// Failed or deferred: settled when the pass is over, failures in one commit with their bounce.
    pub(crate) held: Vec<Ended>,
    /// Pending recipients that this pass leaves alone.
    pub(crate) later: Vec<Later>,
    /// The pass that is being settled leaves nobody pending.
    pub(crate) finishes: bool,
    /// A settlement is under way.
    pub(crate) settling: bool,
    /// A settlement of this pass was made: the queue must hear of its end.
    pub(crate) was_settled: bool,
}

impl Flight {
    pub(crate) fn new(entry: Arc<QueueEntry>, turn: Turn, life: Life, started: Moment) -> Self {
        Self {
            entry,
            body: SharedBody::default(),
            turn,
            life,
            started,
            ready_local: VecDeque::new(),
            ready_remote: VecDeque::new(),
            unfinished: 0,
            delivered: Vec::new(),
            held: Vec::new(),
            later: Vec::new(),
            finishes: false,
            settling: false,
            was_settled: false,
        }
    }

    /// The jobs that are ready to start on a channel.
    pub(crate) fn ready(&mut self, channel: Channel) -> &mut VecDeque<Seed> {
        match channel {
            Channel::Local => &mut self.ready_local,
            Channel::Remote => &mut self.ready_remote,
        }
    }

    /// Notes how one recipient ended. The outcome must have gone through [`Flight::judge`].
    pub(crate) fn end(&mut self, ended: Ended) {
        match ended.outcome {
            DeliveryOutcome::Delivered { .. } => self.delivered.push(ended),
            DeliveryOutcome::Deferred { .. } | DeliveryOutcome::Failed { .. } => self.held.push(ended),
        }
    }

    /// Nothing happened in this pass, yet recipients are pending: the entry can be given back untouched.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.was_settled && self.delivered.is_empty() && self.held.is_empty() && !self.later.is_empty()
    }

    /// Recipients that were left alone in this pass may be tried in the next one.
    pub(crate) fn forget_waits(&mut self, now: Duration) {
        self.later.iter_mut().for_each(|later| later.1 = later.1.min(now));
    }

    /// Drops jobs that have not started (a stop); their recipients wait until `until`.
    pub(crate) fn drop_ready(&mut self, until: Duration) {
        for seed in self.ready_local.drain(..).chain(self.ready_remote.drain(..)) {
            self.unfinished = self.unfinished.saturating_sub(1);
            self.later.extend(seed.recipients.into_iter().map(|index| (index, until)));
        }
    }

    /// In a dying pass a temporary failure becomes permanent, with qmail's line at the end of its report.
    pub(crate) fn judge(&self, outcome: DeliveryOutcome) -> DeliveryOutcome {
        match (self.life, outcome) {
            (Life::Dying, DeliveryOutcome::Deferred { status, mut detail, .. }) => {
                detail.push_line(DYING_TEXT);
                DeliveryOutcome::Failed { status: status.give_up(), detail }
            }
            (_, outcome) => outcome,
        }
    }
}

/// True when no recipient was tried yet.
pub(crate) fn is_fresh(entry: &QueueEntry) -> bool {
    entry.states.iter().all(|state| matches!(state, RecipientState::Pending { attempts: 0, .. }))
}

/// Indexes of the recipients still to be delivered.
pub(crate) fn pending(entry: &QueueEntry) -> impl Iterator<Item = usize> + '_ {
    let known = 0..entry.envelope.recipients.len();
    known.filter(|&index| entry.states.get(index).is_some_and(RecipientState::is_pending))
}
