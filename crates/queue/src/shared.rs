//! What store, body writers, writer thread and janitor share. Made by `QueueStore::open`; holds no logic of its own but reading and asking for room.

use crate::board::Board;
use crate::body::{BodyFiles, Budget};
use crate::inbox::Inbox;
use crate::store::QueueOptions;
use postino_disk::FileLock;
use postino_ports::queue::{AcceptError, SettleError};
use rusqlite::Connection;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, Semaphore, watch};

/// Body files synced at once.
const FILE_SYNCS: usize = 8;
/// Connections for reading.
pub(crate) const READERS: usize = 2;
/// A look at the free room is good for so long, milliseconds.
const SPACE_LOOK_MS: u128 = 100;
/// Free inodes below which nothing is accepted: deliveries need some.
const INODES_MIN: u64 = 16;

/// The life of the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// At work.
    Running,
    /// Ended because it was asked to.
    Stopped,
    /// Ended because it could not go on (damaged database, panic).
    Failed,
}

pub(crate) struct Shared {
    pub(crate) options: QueueOptions,
    pub(crate) board: Mutex<Board>,
    pub(crate) inbox: Inbox,
    pub(crate) budget: Budget,
    pub(crate) files: Arc<BodyFiles>,
    pub(crate) file_syncs: Arc<Semaphore>,
    pub(crate) due: Notify,
    pub(crate) life: watch::Sender<Life>,
    pub(crate) commits: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) oldest: AtomicI64,
    /// Held until the writer has ended.
    pub(crate) lock: Mutex<Option<FileLock>>,
    readers: Mutex<Vec<Connection>>,
    reading: Semaphore,
    space: Mutex<Option<(u128, postino_disk::Space)>>,
}

/// A poisoned lock is taken all the same: what these locks guard is changed in single steps.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(options: QueueOptions, board: Board, files: BodyFiles, lock: FileLock, readers: Vec<Connection>) -> Self {
        Self {
            board: Mutex::new(board),
            inbox: Inbox::new(),
            budget: Budget::new(options.body_memory_bytes),
            files: Arc::new(files),
            file_syncs: Arc::new(Semaphore::new(FILE_SYNCS)),
            due: Notify::new(),
            life: watch::Sender::new(Life::Running),
            commits: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            oldest: AtomicI64::new(0),
            lock: Mutex::new(Some(lock)),
            reading: Semaphore::new(readers.len()),
            readers: Mutex::new(readers),
            space: Mutex::new(None),
            options,
        }
    }

    /// Now on the board's time line.
    pub(crate) fn line_now(&self, board: &mut Board) -> i64 {
        board.timeline.now(self.options.clock.now(), self.options.clock.monotonic())
    }

    /// Runs `read` with a connection where blocking is allowed.
    pub(crate) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, SettleError> {
        let Ok(_turn) = self.reading.acquire().await else { return Err(SettleError::Stopping) };
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let taken = locked(&shared.readers).pop();
            // Fewer connections than turns only after a panic in here, or when a cancelled caller's read still runs.
            let connection = match taken {
                Some(connection) => connection,
                None => crate::database::open(&shared.options.dir.join(crate::store::DATABASE), crate::database::Purpose::Read)?,
            };
            let result = read(&connection);
            let mut readers = locked(&shared.readers);
            if readers.len() < READERS {
                readers.push(connection);
            }
            result
        });
        match task.await {
            Ok(result) => result.map_err(|error| SettleError::Io(error.to_string())),
            Err(error) => Err(SettleError::Io(error.to_string())),
        }
    }

    /// Refuses when the reserve would be touched by `bytes` more.
    pub(crate) fn ask_for_room(&self, bytes: u64) -> Result<(), AcceptError> {
        let Some(space) = self.space() else { return Ok(()) };
        let needed = self.options.disk_reserve_bytes.saturating_add(bytes);
        if space.free_bytes < needed || space.free_inodes < INODES_MIN { Err(AcceptError::DiskFull) } else { Ok(()) }
    }

    /// The free room, at most 100 ms old; `None` when the system does not tell.
    pub(crate) fn space(&self) -> Option<postino_disk::Space> {
        let now = self.options.clock.monotonic().as_millis();
        let mut look = locked(&self.space);
        if let Some((at, space)) = *look
            && now.saturating_sub(at) < SPACE_LOOK_MS
        {
            return Some(space);
        }
        let space = postino_disk::space(&self.options.dir).ok()?;
        *look = Some((now, space));
        Some(space)
    }
}
