//! The queue as the house sees it: one door in (`begin` … `commit`), one way out (`due` … `settle`). Ok means durable.

use crate::BoxFuture;
use crate::body::Body;
use bytes::Bytes;
use postino_types::{Envelope, Origin, QueueId, RecipientState, Time};
use std::sync::Arc;

/// Why a message was not taken. All but [`AcceptError::Refused`] are temporary: the client keeps it.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The memory for bodies is spent: 452 4.3.1.
    #[error("too many messages are being received at once")]
    Busy,
    /// The disk (or its reserve) is full: 452 4.3.1.
    #[error("the queue's disk is full")]
    DiskFull,
    /// The message grew beyond what `begin` was allowed: 552 is the caller's word.
    #[error("message exceeds {0} bytes")]
    TooBig(u64),
    /// An I/O error: 451 4.3.0; that file is dead.
    #[error("queue: {0}")]
    Io(String),
    /// The queue is stopping: 421/451.
    #[error("the queue is stopping")]
    Stopping,
    /// A program on the way to the queue will never take it; its words, with a status code at the end as `(#5.3.0)`: 554.
    #[error("{0}")]
    Refused(String),
    /// A program on the way to the queue did not take it now; its words, as above: 451.
    #[error("{0}")]
    Postponed(String),
}

/// A settlement, or a change by an administrator, was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// An I/O error; the entry stays as it was and is tried again.
    #[error("queue: {0}")]
    Io(String),
    /// A program before the queue did not take a failure notice now; nothing is recorded, and it is tried again.
    #[error("{0}")]
    NoticeNotTaken(String),
    /// The queue is stopping.
    #[error("the queue is stopping")]
    Stopping,
}

/// What the caller says of a new message.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// Envelope with routed recipients.
    pub envelope: Envelope,
    /// Where it came from.
    pub origin: Origin,
    /// Header lines put in front of the body (Received …), LF line ends; the body is never rewritten.
    pub prepend: Bytes,
    /// When it was accepted.
    pub arrived: Time,
    /// When a temporary failure becomes permanent.
    pub expires: Time,
}

/// A message in the queue.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    /// Its id.
    pub id: QueueId,
    /// Envelope.
    pub envelope: Envelope,
    /// Origin.
    pub origin: Origin,
    /// Lines in front of the body.
    pub prepend: Bytes,
    /// Body length, bytes, without `prepend`.
    pub body_bytes: u64,
    /// Accepted at.
    pub arrived: Time,
    /// Gives up at.
    pub expires: Time,
    /// One for each recipient.
    pub states: Vec<RecipientState>,
    /// Next attempt not before.
    pub next_at: Time,
    /// Held by an administrator.
    pub held: bool,
}

/// Where the body of a new message comes from.
pub enum NewBody {
    /// These bytes.
    Bytes(Bytes),
    /// The same body as the settled entry's (a forward): shared, not copied, where it lies in a file.
    Parent,
    /// Written before with `begin`/`write` (a long bounce).
    Written(Box<dyn BodyWriter>),
}

/// A message made by a settlement.
pub struct NewMessage {
    /// Envelope and the rest.
    pub entry: NewEntry,
    /// Body.
    pub body: NewBody,
}

/// The end of a delivery: recipients' new states and the messages that it caused, in one commit (L4).
pub struct Settlement {
    /// Which entry.
    pub id: QueueId,
    /// (recipient index, new state). Absolute, so repeating it is harmless.
    pub changes: Vec<(usize, RecipientState)>,
    /// Forwards, bounces, notices.
    pub new: Vec<NewMessage>,
    /// `Some(next)` ends this pass: the entry is due again at `next` (if anything is pending). `None`: other deliveries of this pass still run.
    pub release: Option<Time>,
}

/// What a settlement came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Ids given to `Settlement::new`, in order.
    pub new: Vec<QueueId>,
    /// No recipient is pending any more: the entry and its body are gone.
    pub finished: bool,
}

/// Which entries an administrator means.
#[derive(Debug, Clone)]
pub enum Selection {
    /// All.
    All,
    /// These.
    Ids(Vec<QueueId>),
}

/// What an administrator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAction {
    /// No attempts until released.
    Hold,
    /// Undo a hold; due at once.
    Release,
    /// Due at once (birth and lifetime unchanged).
    Retry,
    /// Gone, without a bounce.
    Remove,
}

/// Counts of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueStat {
    /// All entries.
    pub entries: u64,
    /// Being delivered now.
    pub in_flight: u64,
    /// Waiting for a retry.
    pub deferred: u64,
    /// Held.
    pub held: u64,
    /// Arrival of the oldest entry, ms since the epoch; 0 without entries.
    pub oldest: i64,
    /// Commits since start.
    pub commits: u64,
    /// Operations in these commits (accepts, settlements).
    pub operations: u64,
    /// Bytes of memory held for bodies now.
    pub body_memory_bytes: u64,
}

/// Receives one body. Dropped without `commit`, it leaves nothing.
pub trait BodyWriter: Send {
    /// Adds bytes (LF line ends). Memory up to 64 KiB, then a file: a write to the page cache, no sync.
    fn write(&mut self, chunk: &[u8]) -> Result<(), AcceptError>;
    /// Bytes so far.
    fn len(&self) -> u64;
    /// True before the first byte.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A rule for this client names a program that its messages go through; only a door that knows such programs heeds it.
    fn through(&mut self, program: &str) {
        let _ = program;
    }
    /// The bytes so far (for filters).
    fn body(&self) -> Result<Body, AcceptError>;
    /// Makes body and entry durable in one grouped commit. Ok = on stable storage. The entry is then due at once.
    fn commit(self: Box<Self>, entry: NewEntry) -> BoxFuture<'static, Result<QueueId, AcceptError>>;
    /// For the queue itself (`NewBody::Written`).
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// The queue.
pub trait Queue: Send + Sync {
    /// Opens the door for one message. `declared` is the SIZE that the client named. Fails with Busy/DiskFull before a byte is read.
    fn begin(&self, declared: Option<u64>) -> Result<Box<dyn BodyWriter>, AcceptError>;
    /// Waits until at least one entry is due, takes at most `max` of them (earliest first) and marks them in flight. Cancel-safe.
    fn due(&self, max: usize) -> BoxFuture<'_, Vec<Arc<QueueEntry>>>;
    /// Gives an in-flight entry back untouched, due at `until`; memory only.
    fn park(&self, id: QueueId, until: Time);
    /// Records an end. Grouped with accepts. Idempotent. An entry removed meanwhile: Ok, finished, nothing new made.
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>>;
    /// The body of an entry.
    fn open(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Body>, SettleError>>;
    /// One entry.
    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Option<QueueEntry>, SettleError>>;
    /// Up to `max` entries with id above `after`, by id.
    fn list(&self, after: QueueId, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, SettleError>>;
    /// Administrator's change; the number of entries changed.
    fn admin(&self, action: AdminAction, which: Selection) -> BoxFuture<'_, Result<u64, SettleError>>;
    /// Counts.
    fn stat(&self) -> QueueStat;
    /// Stops: waiting commits are written, later calls get `Stopping`.
    fn stop(&self) -> BoxFuture<'_, ()>;
}
