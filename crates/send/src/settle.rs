//! Settlements, as tasks: turns what became of recipients into new states and new messages, and records all of it in one commit, again and
//! again until the queue takes it. Started by the loop; decides no schedule.

use crate::context::{Context, Profile, SharedBody};
use crate::flight::{Attempt, Ended};
use crate::{forward, notice};
use postino_ports::event::Event;
use postino_ports::queue::{NewMessage, QueueEntry, SettleError, Settlement};
use postino_types::outcome::DETAIL_BYTES_MAX;
use postino_types::{DeliveryOutcome, QueueId, RecipientState, ReportText, Time};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// First pause after a settlement that failed; doubles.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause. The entry stays in flight, so nothing is delivered twice while the disk is in trouble.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Is the pass over?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PassEnd {
    /// Other deliveries of the entry still run.
    Continues,
    /// It is; due again then, if anything is pending.
    Releases(Time),
}

/// Which failures a settlement tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Its own.
    Now,
    /// None; they are marked for the last one.
    AtTheEnd,
    /// Its own and those that were marked before: it is the last one.
    All,
}

/// Begins the report of a failure that nobody was told of yet. Part of the state, so that it survives a restart and a change of the profile.
pub(crate) const UNTOLD: &str = "\u{1}";

/// What is to be recorded.
pub(crate) struct Plan {
    pub(crate) entry: Arc<QueueEntry>,
    pub(crate) body: SharedBody,
    pub(crate) ended: Vec<Ended>,
    pub(crate) end: PassEnd,
    /// Which failures are told with it.
    pub(crate) telling: Telling,
    /// Wall time of the end: stamped on states, births of new messages.
    pub(crate) now: Time,
    /// The entry's believed age, seconds: for delay notices.
    pub(crate) age_s: i64,
}

/// What the loop hears.
pub(crate) struct SettleReport {
    pub(crate) id: QueueId,
    pub(crate) end: PassEnd,
    /// `None`: given up, the queue is stopping.
    pub(crate) record: Option<Record>,
}

/// A settlement that was recorded.
pub(crate) struct Record {
    pub(crate) finished: bool,
    /// Ids of failure notices.
    pub(crate) bounces: Vec<QueueId>,
    /// A double bounce failed: dropped.
    pub(crate) triple_bounce: bool,
}

/// Records a plan; tries until it works or the house closes.
pub(crate) async fn carry_out(context: Arc<Context>, plan: Plan, mut stopping: watch::Receiver<bool>) -> SettleReport {
    let report = |record| SettleReport { id: plan.entry.id, end: plan.end, record };
    let mut pause = PAUSE_MIN;
    for tries in 0u32.. {
        let error = match attempt(&context, &plan, tries).await {
            Ok(record) => return report(Some(record)),
            Err(error) => error,
        };
        if matches!(error, SettleError::Stopping) {
            return report(None);
        }
        tell_trouble(&context, plan.entry.id, tries, &error);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stopping) => if tries > 0 { return report(None) },
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
    report(None)
}

/// A sender that is gone counts as a stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

fn tell_trouble(context: &Context, id: QueueId, tries: u32, error: &SettleError) {
    if let SettleError::NoticeNotTaken(text) = error {
        // qmail-send's line, which names no reason; it tries every two minutes, we often at first, so not every try is told.
        if tries > 0 && !tries.is_power_of_two() {
            return;
        }
        let detail = if context.parts.profile == Profile::Native { text.as_str() } else { "" };
        return context.emit(&Event::Warning { what: "trouble injecting bounce message, will try later", detail });
    }
    let detail = format!("entry {id}: {error}");
    match tries {
        0 => context.emit(&Event::Warning { what: "cannot record a delivery, will try again", detail: &detail }),
        6 => context.emit(&Event::Alert { what: "deliveries cannot be recorded", detail: &detail }),
        _ => {}
    }
}

async fn attempt(context: &Context, plan: &Plan, tries: u32) -> Result<Record, SettleError> {
    let notices = notice::make(context, plan, tries).await?;
    let mut new = forwards(context, plan);
    let bounces_from = new.len();
    new.extend(notices.messages);
    let settlement = Settlement {
        id: plan.entry.id,
        changes: plan.ended.iter().map(|ended| (ended.index, plan.state_after(ended))).collect(),
        new,
        release: match plan.end {
            PassEnd::Continues => None,
            PassEnd::Releases(at) => Some(at),
        },
    };
    let settled = context.parts.queue.settle(settlement).await?;
    let bounces = settled.new.into_iter().skip(bounces_from).take(notices.failures).collect();
    Ok(Record { finished: settled.finished, bounces, triple_bounce: notices.triple_bounce })
}

fn forwards(context: &Context, plan: &Plan) -> Vec<NewMessage> {
    let mut new = Vec::new();
    for ended in &plan.ended {
        if let DeliveryOutcome::Delivered { forwards, .. } = &ended.outcome {
            new.extend(forwards.iter().map(|f| forward::message(context, &plan.entry, f, plan.now)));
        }
    }
    new
}

/// A report that was told, which must not begin as those that are still to be told: a program may write any byte.
fn told(mut detail: ReportText) -> ReportText {
    while let Some(rest) = detail.strip_prefix(UNTOLD) {
        detail = rest;
    }
    detail
}

impl Plan {
    /// The recipient's state when this plan is recorded.
    fn state_after(&self, ended: &Ended) -> RecipientState {
        let keep = |detail: &ReportText| detail.cut(DETAIL_BYTES_MAX);
        match &ended.outcome {
            DeliveryOutcome::Delivered { detail, .. } => RecipientState::Delivered { at: self.now, detail: keep(detail) },
            DeliveryOutcome::Failed { status, detail } if self.telling == Telling::AtTheEnd => RecipientState::Failed {
                at: self.now,
                status: *status,
                detail: [UNTOLD.as_bytes(), keep(detail).as_bytes()].concat().into(),
            },
            DeliveryOutcome::Failed { status, detail } => {
                RecipientState::Failed { at: self.now, status: *status, detail: told(keep(detail)) }
            }
            DeliveryOutcome::Deferred { status, detail, .. } => {
                let (before, told) = self.before(ended.index);
                let attempts = if ended.attempt == Attempt::Made { before.saturating_add(1) } else { before };
                let delay_told = told || notice::tells_delay(self, ended);
                RecipientState::Pending { attempts, last: Some((*status, keep(detail))), delay_told }
            }
        }
    }

    /// Attempts so far, and whether a delay was told.
    pub(crate) fn before(&self, index: usize) -> (u16, bool) {
        match self.entry.states.get(index) {
            Some(RecipientState::Pending { attempts, delay_told, .. }) => (*attempts, *delay_told),
            _ => (0, false),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_told_report_does_not_look_untold() {
        assert_eq!(super::told("\u{1}\u{1}no such user\n".into()), "no such user\n");
        assert_eq!(super::told("no \u{1}\n".into()), "no \u{1}\n");
    }
}
