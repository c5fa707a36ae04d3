//! `QueueStore`: the queue behind `ports::queue::Queue`. Opened once by `server` (one process owns a queue); sessions, send and the administrator's
//! commands call it through the port. Decides nothing about retries, routes or bounces.

use crate::board::{Board, HotBody, Taken};
use crate::body::{BodyFiles, DIRECTORIES, Receiving, store_bytes};
use crate::database::{self, Place, Purpose, unsigned};
use crate::shared::{Life, READERS, Shared, locked};
use crate::timeline::Timeline;
use crate::writer::{Op, Prepared, PreparedBody, SettleOp, Writer};
use bytes::Bytes;
use postino_disk::{FileLock, LockError, create_dir_durable, sync_dir};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::clock::Clock;
use postino_ports::queue::{
    AcceptError, AdminAction, BodyWriter, NewBody, NewMessage, Queue, QueueEntry, QueueStat, Selection, SettleError, Settled, Settlement,
};
use postino_types::{QueueId, Time};
use rusqlite::Connection;
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// The database's name in the queue directory.
pub(crate) const DATABASE: &str = "queue.db";
/// Permission bits of the database and its log.
const MODE: u32 = 0o600;
/// Longest sleep of `due`, so that no clock can make it oversleep.
const WAIT_MAX_MS: i64 = 60_000;
/// An entry that could not be read for trouble with the disk comes back after this, milliseconds.
const READ_AGAIN_MS: i64 = 5_000;
/// Found at a start: an entry is due in a day at most, whatever clock wrote its time.
const FAR_MS: i64 = 86_400_000;
/// Entries in one slice of an administrator's change: a short transaction, so that nobody waits long behind it.
const ADMIN_SLICE: usize = 500;

/// How to open a queue.
#[derive(Clone)]
pub struct QueueOptions {
    /// The queue's directory (`HOME/queue`); made when missing.
    pub dir: PathBuf,
    /// Bodies up to this many bytes lie in the database, longer ones in files. 65,536 is a good value.
    pub inline_body_bytes: usize,
    /// Memory for all bodies being received, bytes; beyond it `begin` answers Busy and bodies go to files early.
    pub body_memory_bytes: u64,
    /// Free room of the disk below which nothing is accepted, bytes.
    pub disk_reserve_bytes: u64,
    /// Largest body, bytes.
    pub message_bytes_max: u64,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

/// Why a queue cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns it.
    #[error("the queue is in use: a server is already running")]
    Running,
    /// The directory or the lock.
    #[error("queue: {0}")]
    Io(#[from] io::Error),
    /// The database.
    #[error("queue database: {0}")]
    Database(String),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.to_string())
    }
}

/// How long a lock is waited for: a process that was killed may still be ending, and a fork of an owner holds it until its exec.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// The queue.
pub struct QueueStore {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Makes the directories and takes the lock that qmail-send takes too: one owner for a queue.
pub(crate) fn prepare_directory(dir: &Path) -> Result<FileLock, OpenError> {
    create_dir_durable(&dir.join("lock"), 0o700)?;
    let lock = FileLock::exclusive(&dir.join("lock/sendmutex"), LOCK_PATIENCE).map_err(|error| match error {
        LockError::Held => OpenError::Running,
        LockError::Io(error) => OpenError::Io(error),
    })?;
    let body = dir.join("body");
    create_dir_durable(&body, 0o700)?;
    let mut made = false;
    for number in 0..DIRECTORIES {
        match std::fs::create_dir(body.join(format!("{number:x}"))) {
            Ok(()) => made = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    if made {
        sync_dir(&body)?;
    }
    Ok(lock)
}

/// The database and its log hold mail: nobody but the owner reads them, whatever the umask was and although everybody may pass through the
/// directory (to `drop`). SQLite gives the log and its index the database's mode. Called under the lock and before the first connection: opening
/// and closing the file beside a connection would end SQLite's locks.
fn owner_only(path: &Path) -> io::Result<()> {
    match postino_disk::create_new(path, MODE) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::set_permissions(&name, std::fs::Permissions::from_mode(MODE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl QueueStore {
    /// Opens (or makes) the queue, reads its schedule and starts its threads. Blocks; a hundred thousand entries take well under a second.
    ///
    /// # Errors
    /// [`OpenError::Running`] when another process has it open, else what failed.
    pub fn open(options: QueueOptions) -> Result<Arc<Self>, OpenError> {
        let lock = prepare_directory(&options.dir)?;
        let path = options.dir.join(DATABASE);
        owner_only(&path)?;
        let connection = database::open(&path, Purpose::Write)?;
        // The names of database and log must last as well as their bytes.
        sync_dir(&options.dir)?;
        let ids_bound: i64 =
            connection.query_row("SELECT max(bound, (SELECT coalesce(max(id), 0) + 1 FROM entry)) FROM ids", [], |row| row.get(0))?;
        let board = read_schedule(&connection, &options)?;
        let last_file: i64 =
            connection.query_row("SELECT coalesce(max(file), 0) FROM content WHERE file IS NOT NULL", [], |row| row.get(0))?;
        // Microseconds: more than any process makes, so numbers grow from one start to the next.
        let first_file = options.clock.now().0.saturating_mul(1000).max(last_file.saturating_add(1));
        let files = BodyFiles::new(&options.dir, first_file);
        let readers = (0..READERS).map(|_| database::open(&path, Purpose::Read)).collect::<rusqlite::Result<Vec<_>>>()?;
        let shared = Arc::new(Shared::new(options, board, files, lock, readers));
        let writer = Writer::new(Arc::clone(&shared), connection, unsigned(ids_bound))?;
        let thread = std::thread::Builder::new().name("queue-writer".to_owned()).spawn(move || writer.run())?;
        Ok(Arc::new(Self { shared, thread: Mutex::new(Some(thread)) }))
    }

    /// True when the writer has ended for trouble that it cannot mend (damaged database): every call fails from now on, and the process should end
    /// with 111 so that a new start looks at what is on the disk. Failing disks and full disks are not meant: the queue refuses until they heal.
    #[must_use]
    pub fn failed(&self) -> bool {
        *self.shared.life.borrow() == Life::Failed
    }

    /// Returns when [`QueueStore::failed`] becomes true; never for a queue that is stopped.
    pub async fn wait_failed(&self) {
        let mut life = self.shared.life.subscribe();
        if life.wait_for(|life| *life == Life::Failed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn submit<T>(&self, op: Op, answered: oneshot::Receiver<Result<T, SettleError>>) -> Result<T, SettleError> {
        if !self.shared.inbox.submit(op).await {
            return Err(SettleError::Stopping);
        }
        answered.await.unwrap_or_else(|_| Err(SettleError::Io("the writer has ended".to_owned())))
    }

    async fn prepare(&self, new: NewMessage) -> Result<Prepared, SettleError> {
        let body = match new.body {
            NewBody::Parent => PreparedBody::Parent,
            NewBody::Bytes(bytes) => store_bytes(&self.shared, bytes).await.map_err(settle_error)?,
            NewBody::Written(writer) => {
                let ours = writer.into_any().downcast::<Receiving>();
                let receiving = ours.map_err(|_| SettleError::Io("the body was written to another queue".to_owned()))?;
                receiving.finish().await.map_err(settle_error)?
            }
        };
        Prepared::new(new.entry, body).map_err(|rule| SettleError::Io(rule.to_owned()))
    }

    async fn admin_slice(&self, action: AdminAction, ids: Vec<u64>) -> Result<u64, SettleError> {
        let (answer, answered) = oneshot::channel();
        self.submit(Op::Admin { action, ids, answer }, answered).await
    }

    async fn admin_all(&self, action: AdminAction) -> Result<u64, SettleError> {
        let (mut after, mut changed) = (0u64, 0u64);
        loop {
            let ids = self.shared.read(move |connection| database::ids(connection, after, ADMIN_SLICE)).await?;
            let Some(&last) = ids.last() else { return Ok(changed) };
            after = last;
            changed += self.admin_slice(action, ids).await?;
        }
    }

    async fn take_due(&self, max: usize) -> Vec<Arc<QueueEntry>> {
        loop {
            if self.shared.inbox.is_closed() {
                // Nothing handed out now could be settled any more.
                std::future::pending::<()>().await;
            }
            let woken = self.shared.due.notified();
            let mut taking = Taking { shared: &self.shared, taken: Vec::new() };
            let wait_ms = {
                let mut board = locked(&self.shared.board);
                let now = self.shared.line_now(&mut board);
                taking.taken = board.take_due(now, max);
                board.earliest().map_or(WAIT_MAX_MS, |at| at.saturating_sub(now).clamp(1, WAIT_MAX_MS))
            };
            if !taking.taken.is_empty() {
                let entries = taking.finish().await;
                if !entries.is_empty() {
                    return entries;
                }
                continue;
            }
            let pause = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1));
            // Either way: look again.
            let _ = tokio::time::timeout(pause, woken).await;
        }
    }

    async fn body_of(&self, id: u64) -> Result<Option<Body>, SettleError> {
        let known = {
            let board = locked(&self.shared.board);
            match board.hot(id).map(|hot| (hot.body.clone(), hot.entry.body_bytes)) {
                Some((HotBody::Memory(bytes), _)) => return Ok(Some(Body::Memory(bytes))),
                Some((HotBody::File(file), bytes)) => Some((Place::File(file), bytes)),
                Some((HotBody::Row, _)) => None,
                None => board.flight(id).map(|flight| (flight.place, flight.entry.body_bytes)),
            }
        };
        let files = Arc::clone(&self.shared.files);
        let found = self.shared.read(move |connection| {
            let place = match known {
                Some(known) => Some(known),
                None => database::place(connection, id)?,
            };
            Ok(match place {
                None => None,
                Some((Place::File(file), bytes)) => Some(files.open(file, bytes)),
                Some((Place::Inline, bytes)) => database::inline_body(connection, id)?.map(|body| whole(body, bytes)),
            })
        });
        found.await?.transpose().map_err(|error| SettleError::Io(error.to_string()))
    }
}

/// Q-BODY: no entry without its whole body.
fn whole(body: Vec<u8>, bytes: u64) -> io::Result<Body> {
    if body.len() as u64 == bytes {
        Ok(Body::Memory(Bytes::from(body)))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "Q-BODY: the body in the row has another length"))
    }
}

fn settle_error(error: AcceptError) -> SettleError {
    match error {
        AcceptError::Stopping => SettleError::Stopping,
        other => SettleError::Io(other.to_string()),
    }
}

/// Reads only the narrow table.
fn read_schedule(connection: &Connection, options: &QueueOptions) -> rusqlite::Result<Board> {
    let timeline = Timeline::new(options.clock.now(), options.clock.monotonic());
    let far = options.clock.now().0.saturating_add(FAR_MS);
    let (mut waiting, mut moved, mut held) = (Vec::new(), HashMap::new(), 0u64);
    let mut statement = connection.prepare("SELECT id, next_at, held FROM entry")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (id, next_at, is_held) = (unsigned(row.get(0)?), row.get::<_, i64>(1)?, row.get::<_, bool>(2)?);
        if is_held {
            held += 1;
        } else if next_at > far {
            waiting.push((far, id));
            moved.insert(id, far);
        } else {
            waiting.push((next_at, id));
        }
    }
    // Sorted first, the tree is built full: 18 bytes an entry.
    waiting.sort_unstable();
    Ok(Board::new(timeline, waiting.into_iter().collect::<BTreeSet<_>>(), moved, held))
}

/// Entries taken from the schedule and not handed out yet; given back when the caller goes away meanwhile.
struct Taking<'a> {
    shared: &'a Arc<Shared>,
    taken: Vec<Taken>,
}

impl Taking<'_> {
    async fn finish(mut self) -> Vec<Arc<QueueEntry>> {
        let cold: Vec<u64> = self.taken.iter().filter(|t| t.entry.is_none()).map(|t| t.id).collect();
        let mut loaded = HashMap::new();
        if !cold.is_empty() {
            let found = self.shared.read(move |connection| {
                cold.into_iter().map(|id| Ok((id, database::load(connection, id)?))).collect::<rusqlite::Result<Vec<_>>>()
            });
            match found.await {
                Ok(found) => loaded = found.into_iter().collect(),
                Err(error) => tracing::error!(error = %error, "queue entries cannot be read"),
            }
        }
        let mut board = locked(&self.shared.board);
        let now = self.shared.line_now(&mut board);
        let mut entries = Vec::with_capacity(self.taken.len());
        for taken in std::mem::take(&mut self.taken) {
            match (taken.entry, loaded.remove(&taken.id)) {
                (Some(entry), _) => entries.push(entry),
                (None, Some(Some(Ok((entry, place))))) => {
                    let entry = Arc::new(entry);
                    if board.loaded(&entry, place, now) {
                        entries.push(entry);
                    }
                }
                (None, Some(None)) => board.drop_flight(taken.id),
                (None, Some(Some(Err(damaged)))) => {
                    tracing::error!(id = taken.id, error = %damaged, "queue entry cannot be read: it is left alone");
                    board.drop_flight(taken.id);
                }
                (None, None) => board.give_back(taken.id, now.saturating_add(READ_AGAIN_MS)),
            }
        }
        entries
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let mut board = locked(&self.shared.board);
        let now = self.shared.line_now(&mut board);
        self.taken.iter().for_each(|taken| board.give_back(taken.id, now));
        drop(board);
        self.shared.due.notify_one();
    }
}

impl Queue for QueueStore {
    fn begin(&self, declared: Option<u64>) -> Result<Box<dyn BodyWriter>, AcceptError> {
        if self.shared.inbox.is_closed() {
            return Err(AcceptError::Stopping);
        }
        let bytes = declared.unwrap_or(0);
        if bytes > self.shared.options.message_bytes_max {
            return Err(AcceptError::TooBig(self.shared.options.message_bytes_max));
        }
        self.shared.ask_for_room(bytes)?;
        Ok(Box::new(Receiving::begin(&self.shared, declared)?))
    }

    fn due(&self, max: usize) -> BoxFuture<'_, Vec<Arc<QueueEntry>>> {
        Box::pin(self.take_due(max.max(1)))
    }

    fn park(&self, id: QueueId, until: Time) {
        let mut board = locked(&self.shared.board);
        let now = self.shared.line_now(&mut board);
        let at = board.timeline.place(until.0).min(now.saturating_add(FAR_MS));
        board.give_back(id.0, at);
        drop(board);
        self.shared.due.notify_one();
    }

    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        Box::pin(async move {
            let Settlement { id, changes, new, release } = settlement;
            let mut prepared = Vec::with_capacity(new.len());
            for message in new {
                prepared.push(self.prepare(message).await?);
            }
            let (answer, answered) = oneshot::channel();
            let settle = SettleOp { id, changes, new: prepared, release };
            self.submit(Op::Settle { settle, answer }, answered).await
        })
    }

    fn open(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Body>, SettleError>> {
        Box::pin(self.body_of(id.0))
    }

    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Option<QueueEntry>, SettleError>> {
        Box::pin(async move {
            match self.shared.read(move |connection| database::load(connection, id.0)).await? {
                None => Ok(None),
                Some(Ok((entry, _))) => Ok(Some(entry)),
                Some(Err(damaged)) => Err(SettleError::Io(format!("entry {id}: {damaged}"))),
            }
        })
    }

    fn list(&self, after: QueueId, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, SettleError>> {
        Box::pin(async move {
            let found = self.shared.read(move |connection| database::list(connection, after.0, max)).await?;
            // Damaged ones are `check`'s to tell; the others must be seen all the same.
            Ok(found.into_iter().filter_map(|(_, loaded)| loaded.ok().map(|(entry, _)| entry)).collect())
        })
    }

    fn admin(&self, action: AdminAction, which: Selection) -> BoxFuture<'_, Result<u64, SettleError>> {
        Box::pin(async move {
            let Selection::Ids(ids) = which else { return self.admin_all(action).await };
            let mut changed = 0u64;
            for slice in ids.chunks(ADMIN_SLICE) {
                changed += self.admin_slice(action, slice.iter().map(|id| id.0).collect()).await?;
            }
            Ok(changed)
        })
    }

    fn stat(&self) -> QueueStat {
        let board = locked(&self.shared.board);
        let (in_flight, deferred) = board.counts();
        QueueStat {
            entries: board.entries,
            in_flight,
            deferred,
            held: board.held,
            oldest: self.shared.oldest.load(Ordering::Relaxed),
            commits: self.shared.commits.load(Ordering::Relaxed),
            operations: self.shared.operations.load(Ordering::Relaxed),
            body_memory_bytes: self.shared.budget.used(),
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.shared.inbox.close();
            let mut life = self.shared.life.subscribe();
            // The sender lives in `shared`: this cannot fail.
            let _ = life.wait_for(|life| *life != Life::Running).await;
        })
    }
}

impl Drop for QueueStore {
    fn drop(&mut self) {
        self.shared.inbox.close();
        if let Some(thread) = locked(&self.thread).take() {
            // The writer catches its own panics.
            let _ = thread.join();
        }
    }
}
