//! The one writer: a thread that takes all waiting operations, writes them in one transaction and answers when it is on stable storage.
//! It alone gives ids, inserts and deletes. It never answers Ok before the commit, and never believes a sync that followed a failed one (see `heal`).

use crate::apply::{Filling, Group, Outcome};
use crate::body::{PendingFile, Share};
use crate::codec;
use crate::database::{self, Purpose, Trouble};
use crate::inbox::Taken;
use crate::janitor::Janitor;
use crate::reserve::Reserve;
use crate::shared::{Life, Shared, locked};
use crate::store::DATABASE;
use bytes::Bytes;
use postino_ports::queue::{AcceptError, AdminAction, NewEntry, SettleError, Settled};
use postino_types::{QueueId, RecipientState, Time};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// Operations in one transaction.
const GROUP_OPERATIONS_MAX: usize = 512;
/// Bytes in one transaction.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// Quiet time after which housekeeping is looked at.
const IDLE: Duration = Duration::from_secs(2);
/// After trouble the disk is tried again at most this often.
const HEAL_EVERY: Duration = Duration::from_millis(250);

/// A new message, ready to be written.
pub(crate) struct Prepared {
    pub(crate) entry: NewEntry,
    pub(crate) meta: Vec<u8>,
    pub(crate) body: PreparedBody,
}

/// Its body: durable as far as it lies in a file.
pub(crate) enum PreparedBody {
    /// Goes into the row; with its part of the common memory, given back when this is dropped.
    Inline(Bytes, #[expect(dead_code, reason = "held, never read")] Option<Share>),
    /// In a file.
    File {
        /// The file.
        pending: PendingFile,
        /// Its length.
        bytes: u64,
    },
    /// The settled entry's.
    Parent,
}

impl Prepared {
    /// Encodes; tells the rule that the entry breaks, if any.
    pub(crate) fn new(entry: NewEntry, body: PreparedBody) -> Result<Self, &'static str> {
        if entry.expires < entry.arrived {
            return Err("Q-TIME: the entry expires before it arrives");
        }
        let meta = codec::encode_meta(&entry.envelope, &entry.origin, &entry.prepend, (entry.arrived, entry.expires));
        Ok(Self { entry, meta, body })
    }

    fn bytes(&self) -> usize {
        self.meta.len() + if let PreparedBody::Inline(bytes, _) = &self.body { bytes.len() } else { 0 }
    }
}

/// A settlement, ready to be written.
pub(crate) struct SettleOp {
    pub(crate) id: QueueId,
    pub(crate) changes: Vec<(usize, RecipientState)>,
    pub(crate) new: Vec<Prepared>,
    pub(crate) release: Option<Time>,
}

/// One operation with the way to answer.
pub(crate) enum Op {
    /// `commit`.
    Accept {
        /// The message.
        prepared: Box<Prepared>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<QueueId, AcceptError>>,
    },
    /// `settle`.
    Settle {
        /// What to record.
        settle: SettleOp,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Settled, SettleError>>,
    },
    /// A slice of an administrator's change.
    Admin {
        /// What to do.
        action: AdminAction,
        /// To these.
        ids: Vec<u64>,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<u64, SettleError>>,
    },
}

impl Op {
    /// What it adds to the transaction, roughly.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Accept { prepared, .. } => prepared.bytes(),
            Self::Settle { settle, .. } => settle.new.iter().map(Prepared::bytes).sum::<usize>() + settle.changes.len() * 64,
            Self::Admin { ids, .. } => ids.len() * 32,
        }
    }

    fn refuse(self, refusal: &Refusal) {
        // A caller that has gone needs no answer.
        match self {
            Self::Accept { prepared, answer } => {
                keep_files(std::slice::from_ref(&*prepared), refusal);
                let _ = answer.send(Err(match refusal {
                    Refusal::Full => AcceptError::DiskFull,
                    Refusal::Uncertain(text) | Refusal::Undone(text) => AcceptError::Io(text.clone()),
                }));
            }
            Self::Settle { settle, answer } => {
                keep_files(&settle.new, refusal);
                let _ = answer.send(Err(SettleError::Io(refusal.text())));
            }
            Self::Admin { answer, .. } => {
                let _ = answer.send(Err(SettleError::Io(refusal.text())));
            }
        }
    }
}

/// Why nothing was recorded.
enum Refusal {
    /// No room; the transaction was rolled back.
    Full,
    /// The commit failed: after a power cut it may turn out to have happened.
    Uncertain(String),
    /// Not even tried.
    Undone(String),
}

impl Refusal {
    fn text(&self) -> String {
        match self {
            Self::Full => "the disk is full".to_owned(),
            Self::Uncertain(text) | Self::Undone(text) => text.clone(),
        }
    }
}

fn keep_files(new: &[Prepared], refusal: &Refusal) {
    if matches!(refusal, Refusal::Uncertain(_)) {
        for prepared in new {
            if let PreparedBody::File { pending, .. } = &prepared.body {
                pending.keep();
            }
        }
    }
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connection: Connection,
    /// The next id to give. Never set back, not even when a transaction fails (Q-ORDER).
    pub(crate) next_id: u64,
    /// Ids below this may be given: the number on the disk. A start begins there, so no id is ever given twice.
    pub(crate) ids_bound: u64,
    janitor: Janitor,
    reserve: Reserve,
    oldest: Option<(u64, i64)>,
    /// The disk failed; when it was tried last.
    ailing: Option<Duration>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, connection: Connection, ids_bound: u64) -> rusqlite::Result<Self> {
        let janitor = Janitor::start(&shared, &connection)?;
        let reserve = Reserve::new(&shared);
        let mut writer = Self { shared, connection, next_id: ids_bound, ids_bound, janitor, reserve, oldest: None, ailing: None };
        writer.look_for_oldest()?;
        Ok(writer)
    }

    /// Works until the inbox is closed and empty, or until it cannot go on.
    pub(crate) fn run(mut self) {
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.work()));
        let life = if matches!(worked, Ok(true)) { Life::Stopped } else { Life::Failed };
        let Self { shared, connection, janitor, .. } = self;
        shared.inbox.close();
        while let Taken::Group(ops) = shared.inbox.take(GROUP_OPERATIONS_MAX, usize::MAX, Duration::ZERO) {
            ops.into_iter().for_each(|op| op.refuse(&Refusal::Undone("the queue has failed".to_owned())));
        }
        janitor.stop();
        drop(connection);
        drop(locked(&shared.lock).take());
        shared.life.send_replace(life);
    }

    /// `true` when asked to end, `false` when the database is damaged.
    fn work(&mut self) -> bool {
        loop {
            match self.shared.inbox.take(GROUP_OPERATIONS_MAX, GROUP_BYTES_MAX, IDLE) {
                Taken::Group(ops) => {
                    let began = self.shared.options.clock.monotonic();
                    if !self.write(ops) {
                        return false;
                    }
                    let took = self.shared.options.clock.monotonic().saturating_sub(began);
                    self.shared.inbox.gather(took, GROUP_OPERATIONS_MAX);
                }
                Taken::Idle => {
                    if self.ailing.is_some() {
                        self.heal();
                    }
                    self.reserve.keep(&self.shared);
                    self.janitor.idle();
                }
                Taken::Closed => {
                    self.checkpoint_all();
                    return true;
                }
            }
        }
    }

    /// Writes one group; `false` when the database is damaged.
    fn write(&mut self, ops: Vec<Op>) -> bool {
        if self.ailing.is_some() && !self.heal() {
            let refusal = Refusal::Undone("the disk has failed and is not well yet".to_owned());
            ops.into_iter().for_each(|op| op.refuse(&refusal));
            return true;
        }
        let bytes: usize = ops.iter().map(Op::bytes).sum();
        let written = self.transact(&ops);
        let sound = match written {
            Ok(group) => {
                self.publish(ops, group);
                true
            }
            Err(error) if database::trouble(&error) == Trouble::Full => self.write_without_room(ops),
            Err(error) => self.give_up(ops, &error),
        };
        self.janitor.written(&self.connection, bytes);
        self.reserve.keep(&self.shared);
        sound
    }

    /// The disk is full: new messages are refused; ends of deliveries are recorded from the reserve.
    fn write_without_room(&mut self, ops: Vec<Op>) -> bool {
        let (accepts, rest): (Vec<_>, Vec<_>) = ops.into_iter().partition(|op| matches!(op, Op::Accept { .. }));
        accepts.into_iter().for_each(|op| op.refuse(&Refusal::Full));
        if rest.is_empty() {
            return true;
        }
        self.reserve.release(&self.shared);
        let mut written = self.transact(&rest);
        if written.as_ref().is_err_and(|e| database::trouble(e) == Trouble::Full) {
            // Emptying the log gives its room back for another turn.
            self.checkpoint_all();
            written = self.transact(&rest);
        }
        match written {
            Ok(group) => {
                self.publish(rest, group);
                true
            }
            Err(error) => self.give_up(rest, &error),
        }
    }

    fn give_up(&mut self, ops: Vec<Op>, error: &rusqlite::Error) -> bool {
        tracing::error!(error = %error, operations = ops.len(), "queue commit failed");
        let trouble = database::trouble(error);
        if trouble == Trouble::Io {
            self.ailing = Some(self.shared.options.clock.monotonic());
        }
        let refusal = Refusal::Uncertain(error.to_string());
        ops.into_iter().for_each(|op| op.refuse(&refusal));
        trouble != Trouble::Damaged
    }

    /// One transaction. After an error nothing of it is visible.
    fn transact(&mut self, ops: &[Op]) -> rusqlite::Result<Group> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = self.fill(ops).and_then(|group| {
            self.connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(group)
        });
        match result {
            Ok(group) => {
                self.ids_bound = self.ids_bound.max(group.ids_bound);
                Ok(group)
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn fill(&mut self, ops: &[Op]) -> rusqlite::Result<Group> {
        let mut group = Filling::new(self);
        for op in ops {
            group.apply(op)?;
        }
        group.finish()
    }

    fn roll_back(&mut self) {
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        if !self.connection.is_autocommit() {
            // The other connections keep the log's index alive, so a new connection sees exactly what was committed.
            if let Ok(connection) = database::open(&self.shared.options.dir.join(DATABASE), Purpose::Write) {
                self.connection = connection;
            }
        }
    }

    /// After a failed write or sync. What was acknowledged lies before the failed part of the log and was synced by then. All of it is copied
    /// into the database file, which is synced by calls that wrote its bytes anew, and the log begins afresh: no later success rests on bytes
    /// whose sync has failed once.
    fn heal(&mut self) -> bool {
        let now = self.shared.options.clock.monotonic();
        if self.ailing.is_some_and(|tried| now.saturating_sub(tried) < HEAL_EVERY) {
            return false;
        }
        self.ailing = Some(now);
        self.roll_back();
        let healed = self.checkpoint_all();
        if healed {
            tracing::warn!("queue disk works again");
            self.ailing = None;
        }
        healed
    }

    /// Copies the whole log into the database and empties it.
    fn checkpoint_all(&mut self) -> bool {
        let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if let Err(error) = &done {
            tracing::error!(error = %error, "queue checkpoint failed");
        }
        matches!(done, Ok(0))
    }

    /// The commit stands: tell memory, then the callers.
    fn publish(&mut self, ops: Vec<Op>, group: Group) {
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.operations.fetch_add(ops.len() as u64, Ordering::Relaxed);
        let Group { outcomes, unlink, lost, .. } = group;
        let mut answers: Vec<Answer> = Vec::with_capacity(ops.len());
        let mut wake = false;
        {
            let mut board = locked(&self.shared.board);
            // Notices a clock that was set, before times are placed by it.
            self.shared.line_now(&mut board);
            for (op, outcome) in ops.into_iter().zip(outcomes) {
                wake |= outcome.wakes();
                answers.push(outcome.publish(op, &mut board));
            }
        }
        if wake {
            self.shared.due.notify_one();
        }
        answers.into_iter().for_each(Answer::send);
        unlink.into_iter().for_each(|file| self.janitor.unlink(file));
        if self.oldest.is_none_or(|(id, _)| lost.contains(&id)) {
            // Only a figure for people; the next group asks again.
            let _ = self.look_for_oldest();
        }
    }

    fn look_for_oldest(&mut self) -> rusqlite::Result<()> {
        self.oldest = database::oldest(&self.connection)?;
        self.shared.oldest.store(self.oldest.map_or(0, |(_, arrived)| arrived), Ordering::Relaxed);
        Ok(())
    }
}

/// An answer that waits for the board to be unlocked.
pub(crate) enum Answer {
    /// To `commit`.
    Accept(oneshot::Sender<Result<QueueId, AcceptError>>, QueueId),
    /// To `settle`.
    Settle(oneshot::Sender<Result<Settled, SettleError>>, Result<Settled, SettleError>),
    /// To an administrator.
    Admin(oneshot::Sender<Result<u64, SettleError>>, u64),
    /// An outcome that does not fit its operation: cannot be.
    None,
}

impl Answer {
    fn send(self) {
        // A caller that has gone needs no answer.
        match self {
            Self::Accept(sender, id) => drop(sender.send(Ok(id))),
            Self::Settle(sender, settled) => drop(sender.send(settled)),
            Self::Admin(sender, count) => drop(sender.send(Ok(count))),
            Self::None => {}
        }
    }
}

impl Outcome {
    fn wakes(&self) -> bool {
        match self {
            Self::Accepted(_) => true,
            Self::Settled { .. } | Self::Changed { .. } => true,
            Self::Refused(_) => false,
        }
    }
}
