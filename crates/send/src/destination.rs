//! Limits and back-off of each remote destination: how many deliveries at once, who waits, who is sent away until later, when a dead
//! destination is probed. Used by the loop with monotonic times; starts nothing, knows no host, writes nothing.

use crate::flight::Seed;
use postino_types::{QueueId, ReportText, TempStatus};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Deliveries at once to a destination that nothing is known of; grows by one with each success.
const INITIAL: usize = 5;
/// Deliveries that wait in memory for one destination; entries beyond are given back to the queue.
const WAITING_MAX: usize = 200;
/// Connection failures in a row that make a destination count as dead.
const FAILURES_MAX: u32 = 3;
/// First pause of a dead destination; doubles with each failed probe.
const PAUSE_MIN: Duration = Duration::from_secs(60);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(900);
/// Entries of a busy destination come back after this at the earliest.
const BUSY: Duration = Duration::from_millis(250);
/// … and each that was sent away before adds so much, so that a long line does not come back all at once.
const BUSY_STEP: Duration = Duration::from_millis(5);
/// Longest time that an entry of a busy destination is sent away for.
const BUSY_MAX: Duration = Duration::from_secs(300);
/// Destinations remembered; idle ones beyond are forgotten.
const DESTINATIONS_MAX: usize = 10_000;

/// May a delivery to this destination go on?
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It counts against the destination from now on.
    Start(Role),
    /// The destination keeps it and hands it out later.
    Waits,
    /// Not before this moment.
    Busy(Duration),
    /// The destination is dead; not before this moment. What the last attempt said.
    Dead(Duration, TempStatus, ReportText),
}

/// What a delivery is for its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// One of many.
    Ordinary,
    /// The only one to a dead destination.
    Probe,
}

/// How a delivery met its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// It answered, whatever it said.
    Reached,
    /// It did not (4.4.x, or the remote side asked for a pause until the given moment).
    Unreachable(TempStatus, ReportText, Option<Duration>),
}

/// Deliveries that a destination lets go.
#[derive(Debug, Default)]
pub(crate) struct LetGo {
    /// May start.
    pub(crate) start: Vec<(QueueId, Seed)>,
    /// Must come back later: the destination is dead.
    pub(crate) away: Vec<(QueueId, Seed)>,
}

#[derive(Debug)]
struct Destination {
    /// Ready or running.
    occupied: usize,
    limit: usize,
    /// The most that may be, as the last caller said: a link has its own number.
    cap: usize,
    failures: u32,
    pause: Option<Pause>,
    waiting: VecDeque<(QueueId, Seed)>,
    sent_away: u32,
}

#[derive(Debug)]
struct Pause {
    until: Duration,
    length: Duration,
    probing: bool,
    status: TempStatus,
    detail: ReportText,
}

/// All destinations.
#[derive(Debug, Default)]
pub(crate) struct Destinations {
    known: HashMap<Arc<str>, Destination>,
    /// Probes that run now. Their sum is limited: a hundred dead hosts must not hold every remote delivery.
    probes: usize,
}

/// The limits in force.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caps {
    /// Deliveries at once to one destination.
    pub(crate) per_destination: usize,
    /// Probes at once in all.
    pub(crate) probes: usize,
}

impl Destinations {
    /// Asks for one delivery. On [`Admission::Waits`] `seed` was taken over.
    pub(crate) fn admit(&mut self, key: &Arc<str>, seed: &mut Option<Seed>, id: QueueId, now: Duration, caps: Caps) -> Admission {
        if self.known.len() >= DESTINATIONS_MAX && !self.known.contains_key(key) {
            self.known.retain(|_, d| d.is_of_use(now));
        }
        let d = self.known.entry(key.clone()).or_insert_with(Destination::new);
        d.cap = caps.per_destination.max(1);
        if let Some(pause) = &mut d.pause {
            if now >= pause.until && !pause.probing && self.probes < caps.probes.max(1) {
                pause.probing = true;
                self.probes += 1;
                d.occupied += 1;
                return Admission::Start(Role::Probe);
            }
            let until = pause.until.max(now + BUSY) + spread(id, pause.length);
            return Admission::Dead(until, pause.status, pause.detail.clone());
        }
        if d.occupied < d.limit.min(d.cap) {
            d.occupied += 1;
            return Admission::Start(Role::Ordinary);
        }
        if d.waiting.len() < WAITING_MAX
            && let Some(seed) = seed.take()
        {
            d.waiting.push_back((id, seed));
            return Admission::Waits;
        }
        d.sent_away = d.sent_away.saturating_add(1);
        Admission::Busy(now + BUSY + (BUSY_STEP * d.sent_away).min(BUSY_MAX))
    }

    /// A delivery that was let start has ended.
    pub(crate) fn ended(&mut self, key: &str, role: Role, meeting: Meeting, now: Duration, caps: Caps) -> LetGo {
        if role == Role::Probe {
            self.probes = self.probes.saturating_sub(1);
        }
        let Some(d) = self.known.get_mut(key) else { return LetGo::default() };
        d.occupied = d.occupied.saturating_sub(1);
        d.sent_away = d.sent_away.saturating_sub(1);
        match meeting {
            Meeting::Reached => {
                d.failures = 0;
                d.pause = None;
                d.limit = d.limit.saturating_add(1).min(caps.per_destination.max(1));
            }
            Meeting::Unreachable(status, detail, not_before) => {
                d.failures = d.failures.saturating_add(1);
                d.limit = (d.limit / 2).max(1);
                if d.failures >= FAILURES_MAX || d.pause.is_some() || not_before.is_some() {
                    d.pause_for(role, now, not_before, (status, detail));
                }
            }
        }
        d.let_go(caps)
    }

    /// A delivery that was let start does not take place.
    pub(crate) fn withdrawn(&mut self, key: &str, role: Role, caps: Caps) -> LetGo {
        let Some(d) = self.known.get_mut(key) else { return LetGo::default() };
        if role == Role::Probe {
            self.probes = self.probes.saturating_sub(1);
            if let Some(pause) = &mut d.pause {
                pause.probing = false;
            }
        }
        d.occupied = d.occupied.saturating_sub(1);
        d.let_go(caps)
    }

    /// The pause of a destination and what it said last, if it counts as dead.
    pub(crate) fn pause(&self, key: &str, id: QueueId) -> Option<(Duration, TempStatus, ReportText)> {
        let pause = self.known.get(key)?.pause.as_ref()?;
        Some((pause.until + spread(id, pause.length), pause.status, pause.detail.clone()))
    }

    /// Every dead destination gets its next chance at once.
    pub(crate) fn forget_pauses(&mut self) {
        for d in self.known.values_mut() {
            d.failures = 0;
            d.sent_away = 0;
            if d.pause.as_ref().is_some_and(|p| !p.probing) {
                d.pause = None;
            }
        }
    }

    /// Gives back all that waits (a stop).
    pub(crate) fn give_up_waiting(&mut self) -> Vec<(QueueId, Seed)> {
        self.known.values_mut().flat_map(|d| d.waiting.drain(..)).collect()
    }
}

impl Destination {
    fn new() -> Self {
        Self { occupied: 0, limit: INITIAL, cap: usize::MAX, failures: 0, pause: None, waiting: VecDeque::new(), sent_away: 0 }
    }

    fn is_of_use(&self, now: Duration) -> bool {
        self.occupied > 0 || !self.waiting.is_empty() || self.pause.as_ref().is_some_and(|p| p.until > now)
    }

    fn pause_for(&mut self, role: Role, now: Duration, not_before: Option<Duration>, said: (TempStatus, ReportText)) {
        let before = self.pause.take();
        let length = match (&before, role) {
            (Some(pause), Role::Probe) => (pause.length * 2).min(PAUSE_MAX),
            (Some(pause), Role::Ordinary) => pause.length,
            (None, _) => PAUSE_MIN,
        };
        let until = (now + length).max(not_before.unwrap_or_default());
        let probing = role == Role::Ordinary && before.is_some_and(|p| p.probing);
        self.pause = Some(Pause { until, length, probing, status: said.0, detail: said.1 });
    }

    fn let_go(&mut self, caps: Caps) -> LetGo {
        let mut out = LetGo::default();
        if self.pause.is_some() {
            out.away.extend(self.waiting.drain(..));
            return out;
        }
        while self.occupied < self.limit.min(self.cap).min(caps.per_destination.max(1)) {
            let Some(next) = self.waiting.pop_front() else { break };
            self.occupied += 1;
            out.start.push(next);
        }
        out
    }
}

/// A different moment for each entry, so that a long line does not come back all at once. Always the same for the same entry.
fn spread(id: QueueId, over: Duration) -> Duration {
    let part = u32::try_from(id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54).unwrap_or(0);
    over * part / 1024
}

#[cfg(test)]
mod tests;
