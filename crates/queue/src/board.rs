//! What is in the queue, in memory: which entry is due when, which are in flight, and the newest entries whole. A copy of what the database says:
//! changed only after a commit (by the writer) or by handing out and giving back. Knows no SQL and no files.
//!
//! Bytes an entry: a waiting one is a pair of eight-byte numbers in a B-tree, 18 to 36 bytes with the tree's own; a fresh one (accepted since the
//! start, not tried yet) eight bytes in a ring. A parked one, or one whose time was given under another setting of the clock, costs about 40 more.
//! So a million entries are 20 to 80 MB, never their envelopes. Entries held whole are bounded by [`HOT_BYTES_MAX`] and by what is in flight.

use crate::database::Place;
use crate::timeline::Timeline;
use bytes::Bytes;
use postino_ports::queue::QueueEntry;
use postino_types::{RecipientState, Time};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Memory for fresh entries with their bodies, bytes: the normal way of a message never reads the database.
pub(crate) const HOT_BYTES_MAX: usize = 16 << 20;
/// What an entry costs beside its body, roughly.
const HOT_ENTRY_BYTES: usize = 1024;

/// A fresh entry with its body.
#[derive(Clone)]
pub(crate) struct Hot {
    pub(crate) entry: Arc<QueueEntry>,
    pub(crate) body: HotBody,
}

/// Its body.
#[derive(Clone)]
pub(crate) enum HotBody {
    /// All of it.
    Memory(Bytes),
    /// In a file.
    File(i64),
    /// In the database (a forward of an inline body).
    Row,
}

impl Hot {
    fn bytes(&self) -> usize {
        HOT_ENTRY_BYTES + self.entry.prepend.len() + if let HotBody::Memory(b) = &self.body { b.len() } else { 0 }
    }
    fn place(&self) -> Place {
        if let HotBody::File(file) = self.body { Place::File(file) } else { Place::Inline }
    }
}

/// An entry in flight.
pub(crate) struct Flight {
    /// `None` while it is being loaded.
    pub(crate) loaded: Option<FlightEntry>,
    held: bool,
    /// Changed while it was being loaded: what was read is old.
    stale: bool,
}

/// What the writer needs to settle without reading.
#[derive(Clone)]
pub(crate) struct FlightEntry {
    pub(crate) entry: Arc<QueueEntry>,
    pub(crate) place: Place,
    /// States changed since it was handed out.
    pub(crate) changed: Option<Arc<Vec<RecipientState>>>,
}

impl FlightEntry {
    pub(crate) fn states(&self) -> &[RecipientState] {
        self.changed.as_deref().unwrap_or(&self.entry.states)
    }
}

/// A new time for an entry, both by the present wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Next {
    /// What is wanted.
    pub(crate) due: i64,
    /// What the row says: never before the arrival (Q-TIME), even when the clock was set back since.
    pub(crate) row: i64,
}

impl Next {
    pub(crate) fn new(due: Time, arrived: Time) -> Self {
        Self { due: due.0, row: due.max(arrived).0 }
    }
}

/// One entry taken from the schedule.
pub(crate) struct Taken {
    pub(crate) id: u64,
    /// Whole, when it is hot; else it must be loaded.
    pub(crate) entry: Option<Arc<QueueEntry>>,
}

/// The board.
pub(crate) struct Board {
    pub(crate) timeline: Timeline,
    /// Accepted since the start and not tried: due now, in order. Ids grow (Q-ORDER), so it is sorted.
    fresh: VecDeque<u64>,
    /// Everything else that waits: (place on the time line, id).
    waiting: BTreeSet<(i64, u64)>,
    /// Places that do not follow from the row's `next_at`: parked entries.
    moved: HashMap<u64, i64>,
    in_flight: HashMap<u64, Flight>,
    hot: HashMap<u64, Hot>,
    hot_bytes: usize,
    pub(crate) entries: u64,
    pub(crate) held: u64,
}

impl Board {
    /// A board with the rows of a start: (next_at as wall time, id).
    pub(crate) fn new(timeline: Timeline, waiting: BTreeSet<(i64, u64)>, moved: HashMap<u64, i64>, held: u64) -> Self {
        let entries = waiting.len() as u64 + held;
        Self {
            timeline,
            fresh: VecDeque::new(),
            waiting,
            moved,
            in_flight: HashMap::new(),
            hot: HashMap::new(),
            hot_bytes: 0,
            entries,
            held,
        }
    }

    /// (in flight, waiting for a later attempt).
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.in_flight.len() as u64, self.waiting.len() as u64)
    }

    /// Takes what is due at `now`: fresh and waiting entries by turns, each earliest first, so that neither a backlog holds up new mail nor
    /// new mail a backlog.
    pub(crate) fn take_due(&mut self, now: i64, max: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut fresh_turn = true;
        while taken.len() < max {
            let due = self.waiting.first().is_some_and(|(at, _)| *at <= now);
            let from_fresh = !self.fresh.is_empty() && (fresh_turn || !due);
            if !from_fresh && !due {
                break;
            }
            fresh_turn = !fresh_turn;
            let next = if from_fresh { self.fresh.pop_front() } else { self.waiting.pop_first().map(|(_, id)| id) };
            let Some(id) = next else { break };
            self.moved.remove(&id);
            if self.in_flight.contains_key(&id) {
                continue;
            }
            let hot = self.hot.get(&id);
            let loaded = hot.map(|hot| FlightEntry { entry: Arc::clone(&hot.entry), place: hot.place(), changed: None });
            let entry = hot.map(|hot| Arc::clone(&hot.entry));
            self.in_flight.insert(id, Flight { loaded, held: false, stale: false });
            taken.push(Taken { id, entry });
        }
        taken
    }

    /// When the earliest waiting entry is due, on the time line; `Some(i64::MIN)` when something is fresh.
    pub(crate) fn earliest(&self) -> Option<i64> {
        if self.fresh.is_empty() { self.waiting.first().map(|(at, _)| *at) } else { Some(i64::MIN) }
    }

    /// A loaded entry takes its place in flight. `false` when it was removed, held or changed meanwhile.
    pub(crate) fn loaded(&mut self, entry: &Arc<QueueEntry>, place: Place, now: i64) -> bool {
        let id = entry.id.0;
        match self.in_flight.get_mut(&id) {
            None => false,
            Some(flight) if flight.stale => {
                self.give_back(id, now);
                false
            }
            Some(flight) if flight.held || entry.held => {
                self.in_flight.remove(&id);
                false
            }
            Some(flight) => {
                flight.loaded = Some(FlightEntry { entry: Arc::clone(entry), place, changed: None });
                true
            }
        }
    }

    /// An entry that could not be handed out, or is given back: due again at `at` on the time line. Unknown ones are left alone.
    pub(crate) fn give_back(&mut self, id: u64, at: i64) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.cool(id);
        if !flight.held {
            self.waiting.insert((at, id));
            self.moved.insert(id, at);
        }
    }

    /// An entry that is gone or cannot be read: only forgotten.
    pub(crate) fn drop_flight(&mut self, id: u64) {
        self.in_flight.remove(&id);
    }

    pub(crate) fn flight(&self, id: u64) -> Option<&FlightEntry> {
        self.in_flight.get(&id)?.loaded.as_ref()
    }

    pub(crate) fn hot(&self, id: u64) -> Option<&Hot> {
        self.hot.get(&id)
    }

    // --- what a commit did

    /// A new entry is on the disk.
    pub(crate) fn born(&mut self, hot: Hot) {
        let id = hot.entry.id.0;
        debug_assert!(self.fresh.back().is_none_or(|last| *last < id), "Q-ORDER");
        self.entries += 1;
        self.fresh.push_back(id);
        let bytes = hot.bytes();
        if self.hot_bytes + bytes <= HOT_BYTES_MAX {
            self.hot_bytes += bytes;
            self.hot.insert(id, hot);
        }
    }

    /// States of an entry were recorded; other deliveries of it still run.
    pub(crate) fn changed(&mut self, id: u64, states: Vec<RecipientState>) {
        match self.in_flight.get_mut(&id) {
            // Settled though nobody has it: what memory holds is old.
            None => self.cool(id),
            Some(flight) => match &mut flight.loaded {
                Some(loaded) => loaded.changed = Some(Arc::new(states)),
                None => flight.stale = true,
            },
        }
    }

    /// A pass has ended. `before` is the row's `next_at` until now.
    pub(crate) fn released(&mut self, id: u64, before: i64, next: Next, held: bool) {
        self.cool(id);
        let held = match self.in_flight.remove(&id) {
            Some(flight) => flight.held,
            None => held,
        };
        self.unschedule(id, before);
        if !held {
            self.schedule(id, next);
        }
    }

    fn schedule(&mut self, id: u64, next: Next) {
        let at = self.timeline.place(next.due);
        self.waiting.insert((at, id));
        if next.row != next.due {
            self.moved.insert(id, at);
        }
    }

    /// The entry is gone.
    pub(crate) fn gone(&mut self, id: u64, before: i64, was_held: bool) {
        self.entries = self.entries.saturating_sub(1);
        self.cool(id);
        let flight = self.in_flight.remove(&id);
        let was_held = was_held || flight.as_ref().is_some_and(|f| f.held);
        self.held = self.held.saturating_sub(u64::from(was_held));
        if flight.is_none() && !was_held {
            self.unschedule(id, before);
        }
    }

    /// Held by an administrator; one in flight stays there until it is released.
    pub(crate) fn hold(&mut self, id: u64, before: i64) {
        self.held += 1;
        match self.in_flight.get_mut(&id) {
            Some(flight) => flight.held = true,
            None => {
                self.cool(id);
                self.unschedule(id, before);
            }
        }
    }

    /// No longer held, due at `next`.
    pub(crate) fn unhold(&mut self, id: u64, next: Next) {
        self.held = self.held.saturating_sub(1);
        match self.in_flight.get_mut(&id) {
            Some(flight) => flight.held = false,
            None => self.schedule(id, next),
        }
    }

    /// Due at `next` instead of `before`. One in flight is being tried just now.
    pub(crate) fn retry(&mut self, id: u64, before: i64, next: Next) {
        if !self.in_flight.contains_key(&id) && self.fresh.binary_search(&id).is_err() {
            self.unschedule(id, before);
            self.schedule(id, next);
        }
    }

    fn unschedule(&mut self, id: u64, before: i64) {
        if let Some(at) = self.moved.remove(&id)
            && self.waiting.remove(&(at, id))
        {
            return;
        }
        if let Ok(index) = self.fresh.binary_search(&id) {
            self.fresh.remove(index);
            return;
        }
        let places: Vec<i64> = self.timeline.places(before).collect();
        // A place under a forgotten offset is not found; then the entry is met once more when its time comes, and found gone or held.
        let _ = places.iter().any(|at| self.waiting.remove(&(*at, id)));
    }

    fn cool(&mut self, id: u64) {
        if let Some(hot) = self.hot.remove(&id) {
            self.hot_bytes = self.hot_bytes.saturating_sub(hot.bytes());
        }
    }
}
