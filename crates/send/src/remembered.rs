//! What the scheduler remembers about entries that it does not hold: recipients that wait longer than their entry, entries told about
//! already, entries with a strange birth. Memory only and bounded: what is forgotten costs an early attempt or a log line twice, never mail.

use crate::trusted::Moment;
use postino_policy::retry::{Trust, is_dying};
use postino_ports::queue::QueueEntry;
use postino_types::{QueueId, Time};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Most entries in each table: a few MiB in all.
const ENTRIES_MAX: usize = 100_000;
/// A fresh entry older or younger than this was not just accepted: its birth cannot be used for giving it up.
const STRANGE_S: i64 = 3600;

/// A recipient (index) and the monotonic moment before which it is not tried.
pub(crate) type Later = (usize, Duration);

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    later: HashMap<QueueId, Vec<Later>>,
    announced: HashSet<QueueId>,
    strange: HashMap<QueueId, Duration>,
}

impl Remembered {
    /// Recipients of a released entry that are to wait longer than it.
    pub(crate) fn wait_longer(&mut self, id: QueueId, later: Vec<Later>) {
        if !later.is_empty() && self.later.len() < ENTRIES_MAX {
            self.later.insert(id, later);
        }
    }

    /// What [`Remembered::wait_longer`] was told, once.
    pub(crate) fn take_later(&mut self, id: QueueId) -> Vec<Later> {
        if self.later.is_empty() { Vec::new() } else { self.later.remove(&id).unwrap_or_default() }
    }

    /// Everybody may be tried again.
    pub(crate) fn forget_waits(&mut self) {
        self.later.clear();
    }

    /// True when a fresh entry is seen for the first time.
    pub(crate) fn announce(&self, id: QueueId) -> bool {
        !self.announced.contains(&id)
    }

    /// A fresh entry was given back untried: do not announce it again.
    pub(crate) fn was_announced(&mut self, id: QueueId) {
        if self.announced.len() < ENTRIES_MAX {
            self.announced.insert(id);
        }
    }

    /// The entry is being tried: it is no longer fresh.
    pub(crate) fn tried(&mut self, id: QueueId) {
        if !self.announced.is_empty() {
            self.announced.remove(&id);
        }
    }

    /// The entry is gone.
    pub(crate) fn forget(&mut self, id: QueueId) {
        self.tried(id);
        if !self.later.is_empty() {
            self.later.remove(&id);
        }
        if !self.strange.is_empty() {
            self.strange.remove(&id);
        }
    }

    /// A fresh entry whose birth is far from now was stamped by a clock that was wrong (or the house was shut for long): its life is
    /// counted from now.
    pub(crate) fn note_birth(&mut self, entry: &QueueEntry, moment: &Moment) {
        let distance_s = moment.trusted.secs_since(entry.arrived).saturating_abs();
        if distance_s > STRANGE_S && self.strange.len() < ENTRIES_MAX {
            self.strange.entry(entry.id).or_insert(moment.monotonic);
        }
    }

    /// Has the entry been in the queue too long? Both clocks must say so.
    pub(crate) fn is_dying(&self, entry: &QueueEntry, moment: &Moment) -> bool {
        self.is_past(entry, entry.expires, moment)
    }

    /// Has the entry outlived `expires`? Both clocks must say so.
    pub(crate) fn is_past(&self, entry: &QueueEntry, expires: Time, moment: &Moment) -> bool {
        match self.strange.get(&entry.id) {
            Some(since) => {
                let lifetime_ms = expires.0.saturating_sub(entry.arrived.0).max(0).unsigned_abs();
                moment.monotonic.saturating_sub(*since) > Duration::from_millis(lifetime_ms)
            }
            None => is_dying(expires, moment.wall, moment.trust) && is_dying(expires, moment.trusted, Trust::Agreed),
        }
    }

    /// The entry's birth for the retry schedule.
    pub(crate) fn birth(&self, entry: &QueueEntry, moment: &Moment) -> Time {
        match self.strange.get(&entry.id) {
            Some(since) => {
                let age_ms = i64::try_from(moment.monotonic.saturating_sub(*since).as_millis()).unwrap_or(i64::MAX);
                Time(moment.trusted.0.saturating_sub(age_ms))
            }
            None => entry.arrived,
        }
    }
}
