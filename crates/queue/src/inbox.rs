//! The bounded way to the writer thread: tasks put operations in, the thread takes all that wait at once. That is what makes group commit:
//! while the disk syncs one group, the next one gathers here. Knows nothing of what the operations are.

use crate::writer::Op;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Operations that may wait; more senders wait for a place. Twice a full group: one in work, one gathering.
const WAITING_MAX: usize = 1024;

/// Longest pause of `gather`.
const GATHER_PAUSE_MAX: Duration = Duration::from_micros(500);
/// Shorter ones the kernel's timers do not keep.
const GATHER_PAUSE_MIN: Duration = Duration::from_micros(50);

/// The inbox.
pub(crate) struct Inbox {
    inner: Mutex<Inner>,
    filled: Condvar,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<(Op, OwnedSemaphorePermit)>,
    asleep: bool,
    closed: bool,
}

/// What the writer finds.
pub(crate) enum Taken {
    /// A group.
    Group(Vec<Op>),
    /// Nothing came in time.
    Idle,
    /// Closed and empty.
    Closed,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::default(), filled: Condvar::new(), places: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    /// Puts one operation in, waiting for a place; `false` when the inbox is closed (the operation is dropped).
    pub(crate) async fn submit(&self, op: Op) -> bool {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return false };
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.closed {
            return false;
        }
        inner.waiting.push_back((op, place));
        if inner.asleep {
            inner.asleep = false;
            self.filled.notify_one();
        }
        true
    }

    /// After a group whose commit took `commit`: lets the callers that were just answered come back before the next group is closed. Without it those
    /// who accept and those who settle form two groups that wait for each other. Waits in pauses of a sixteenth of a commit, at most four of them,
    /// and only while operations keep coming in; not at all where the disk is so quick that it would not pay.
    pub(crate) fn gather(&self, commit: Duration, operations_max: usize) {
        let pause = (commit / 16).min(GATHER_PAUSE_MAX);
        if pause < GATHER_PAUSE_MIN {
            return;
        }
        let mut before = 0;
        for _ in 0..4 {
            std::thread::sleep(pause);
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting = inner.waiting.len();
            if waiting == before || waiting >= operations_max || inner.closed {
                return;
            }
            before = waiting;
        }
    }

    /// Takes all that wait, up to the caps; waits at most `idle`.
    pub(crate) fn take(&self, operations_max: usize, bytes_max: usize, idle: Duration) -> Taken {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.waiting.is_empty() && !inner.closed {
            inner.asleep = true;
            inner = self.filled.wait_timeout(inner, idle).unwrap_or_else(PoisonError::into_inner).0;
            inner.asleep = false;
        }
        if inner.waiting.is_empty() {
            return if inner.closed { Taken::Closed } else { Taken::Idle };
        }
        let mut group = Vec::with_capacity(inner.waiting.len().min(operations_max));
        let mut bytes = 0usize;
        while group.len() < operations_max && bytes < bytes_max {
            let Some((op, _place)) = inner.waiting.pop_front() else { break };
            bytes = bytes.saturating_add(op.bytes());
            group.push(op);
        }
        Taken::Group(group)
    }

    /// True when nothing more comes in.
    pub(crate) fn is_closed(&self) -> bool {
        self.places.is_closed()
    }

    /// Nothing more comes in; what waits is still taken.
    pub(crate) fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.places.close();
        self.filled.notify_all();
    }
}
