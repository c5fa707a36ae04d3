//! The writer's helper thread: copies the log into the database beside the writer, removes body files that nobody needs, and at the start those that a
//! crash has left. So no commit waits for housekeeping. It never writes a row.

use crate::body::{BodyFiles, DIRECTORIES};
use crate::database::{self, Purpose};
use crate::shared::Shared;
use crate::store::DATABASE;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

/// The log is copied when it has grown to this, bytes. Larger saves writes of pages that change often; smaller saves disk and time at a start.
const LOG_BYTES_MAX: u64 = 32 << 20;
/// How much is written between two looks at the log's length, bytes.
const LOOK_EVERY_BYTES: usize = 2 << 20;
/// What one operation adds to the log beside its bytes, roughly.
const OPERATION_BYTES: usize = 16 << 10;
/// Tasks that may wait; beyond, the writer removes files itself.
const TASKS_MAX: usize = 4096;

enum Task {
    Unlink(i64),
    Checkpoint,
}

pub(crate) struct Janitor {
    tasks: SyncSender<Task>,
    thread: Option<JoinHandle<()>>,
    files: Arc<BodyFiles>,
    /// A copy has been ordered and has not ended.
    copying: Arc<AtomicBool>,
    /// A copy has ended: the writer copies the rest, then the log begins afresh.
    copied: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    page_bytes: u64,
    written: usize,
    /// Something lies in the log since the last idle copy.
    unsaved: bool,
}

impl Janitor {
    pub(crate) fn start(shared: &Arc<Shared>, writer: &Connection) -> rusqlite::Result<Self> {
        let (tasks, orders) = sync_channel(TASKS_MAX);
        let connection = database::open(&shared.options.dir.join(DATABASE), Purpose::Checkpoint)?;
        let files = Arc::clone(&shared.files);
        let (copying, copied, stopping) = (Arc::default(), Arc::default(), Arc::default());
        let work = Work { connection, files: Arc::clone(&files), copying: Arc::clone(&copying), copied: Arc::clone(&copied) };
        let dir = shared.options.dir.clone();
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("queue-janitor".to_owned())
            .spawn(move || {
                work.remove_orphans(&dir, &stop);
                work.serve(&orders);
            })
            .ok();
        let page_bytes = database::page_bytes(writer)?;
        Ok(Self { tasks, thread, files, copying, copied, stopping, page_bytes, written: 0, unsaved: true })
    }

    /// A file that no row refers to any more.
    pub(crate) fn unlink(&self, file: i64) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.tasks.try_send(Task::Unlink(file)) {
            remove(&self.files, file);
        }
    }

    /// A group of about `bytes` was written. Has the log copied when it is long.
    pub(crate) fn written(&mut self, writer: &Connection, bytes: usize) {
        self.unsaved = true;
        self.written = self.written.saturating_add(bytes).saturating_add(OPERATION_BYTES);
        if self.copied.swap(false, Ordering::AcqRel) {
            // Only what came in during the copy is left: short. The next commit then begins the log afresh.
            checkpoint(writer, "PRAGMA wal_checkpoint(PASSIVE)");
            self.copying.store(false, Ordering::Release);
        }
        if self.written < LOOK_EVERY_BYTES {
            return;
        }
        self.written = 0;
        if checkpoint(writer, "PRAGMA wal_checkpoint(NOOP)").saturating_mul(self.page_bytes) > LOG_BYTES_MAX {
            self.order();
        }
    }

    /// Nothing to do just now: a good time to copy the log.
    pub(crate) fn idle(&mut self) {
        if std::mem::take(&mut self.unsaved) {
            self.order();
        }
    }

    fn order(&self) {
        if !self.copying.swap(true, Ordering::AcqRel) && self.tasks.try_send(Task::Checkpoint).is_err() {
            self.copying.store(false, Ordering::Release);
        }
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        drop(self.tasks);
        if let Some(thread) = self.thread {
            // A janitor that panicked has only left files for the next start.
            let _ = thread.join();
        }
    }
}

/// Pages in the log; 0 when it cannot be told. Trouble is not reported: the log stays the truth, and the next commit meets it too.
fn checkpoint(connection: &Connection, sql: &str) -> u64 {
    let pages = connection.prepare_cached(sql).and_then(|mut s| s.query_row([], |row| row.get::<_, i64>(1)));
    u64::try_from(pages.unwrap_or(0)).unwrap_or(0)
}

fn remove(files: &BodyFiles, file: i64) {
    if let Err(error) = files.remove(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(error = %error, "queue body file cannot be removed");
    }
}

struct Work {
    connection: Connection,
    files: Arc<BodyFiles>,
    copying: Arc<AtomicBool>,
    copied: Arc<AtomicBool>,
}

impl Work {
    fn serve(&self, orders: &Receiver<Task>) {
        while let Ok(task) = orders.recv() {
            match task {
                Task::Unlink(file) => remove(&self.files, file),
                Task::Checkpoint => {
                    checkpoint(&self.connection, "PRAGMA wal_checkpoint(PASSIVE)");
                    self.copied.store(true, Ordering::Release);
                    // An idle writer looks no more: the next order must be possible.
                    self.copying.store(false, Ordering::Release);
                }
            }
        }
    }

    /// Files of earlier processes that no row refers to: messages whose reception a crash cut short. One at a time, beside the normal work.
    fn remove_orphans(&self, queue: &Path, stopping: &AtomicBool) {
        for number in 0..DIRECTORIES {
            let Ok(names) = std::fs::read_dir(queue.join("body").join(format!("{number:x}"))) else { continue };
            for name in names.flatten() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let file = name.file_name().to_str().and_then(|text| i64::from_str_radix(text, 16).ok());
                let Some(file) = file.filter(|file| *file < self.files.first) else { continue };
                if matches!(database::is_referenced(&self.connection, file), Ok(false)) {
                    remove(&self.files, file);
                }
            }
        }
    }
}
