//! Bodies on their way in: memory up to a limit, then a file; the memory of all of them together is bounded. Called through `BodyWriter` by sessions
//! and bounces. Never writes a row: that is the writer's.

use crate::shared::Shared;
use crate::writer::{Op, Prepared, PreparedBody};
use bytes::Bytes;
use postino_disk::{create_new, is_full};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::queue::{AcceptError, BodyWriter, NewEntry};
use postino_types::QueueId;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// First piece of memory for a body whose size nobody named, bytes.
const FIRST_BYTES: usize = 16 << 10;
/// Small chunks for a file are gathered up to this, bytes.
const GATHER_BYTES: usize = 32 << 10;
/// Directories under `body/`: few, so that their syncs merge; more than one, so that creators do not wait for each other.
pub(crate) const DIRECTORIES: i64 = 16;
/// Names tried for a new body file.
const NAMES_TRIED_MAX: u32 = 1000;

/// The memory that all bodies being received share.
pub(crate) struct Budget {
    used: AtomicU64,
    bytes_max: u64,
}

impl Budget {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { used: AtomicU64::new(0), bytes_max }
    }
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of the budget, given back when dropped.
pub(crate) struct Share {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Share {
    fn none(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), bytes: 0 }
    }
    fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let granted = self.shared.budget.take(more);
        if granted {
            self.bytes += more;
        }
        granted
    }
    fn release(&mut self) {
        self.shared.budget.give(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

/// The directory of body files and the numbers of new ones.
pub(crate) struct BodyFiles {
    directory: PathBuf,
    next: AtomicI64,
    /// Files with a smaller number were made by earlier processes.
    pub(crate) first: i64,
    syncer: postino_disk::DirSyncer,
}

impl BodyFiles {
    pub(crate) fn new(queue: &Path, first: i64) -> Self {
        let directory = queue.join("body");
        Self { directory, next: AtomicI64::new(first), first, syncer: postino_disk::DirSyncer::new() }
    }
    pub(crate) fn directory_of(&self, file: i64) -> PathBuf {
        self.directory.join(format!("{:x}", file.rem_euclid(DIRECTORIES)))
    }
    pub(crate) fn path_of(&self, file: i64) -> PathBuf {
        self.directory_of(file).join(format!("{file:016x}"))
    }
    /// Makes a new, empty file. It stands under its last name at once: nothing refers to it before a row does, and what no row refers to is
    /// removed at the next start; so a temporary name and a rename would buy nothing.
    fn create(self: &Arc<Self>) -> io::Result<(File, PendingFile)> {
        for _ in 0..NAMES_TRIED_MAX {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            match create_new(&self.path_of(number), 0o600) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok((file, PendingFile { files: Arc::clone(self), number, abandoned: AtomicBool::new(true) })),
            }
        }
        Err(io::Error::from(io::ErrorKind::AlreadyExists))
    }
    pub(crate) fn remove(&self, file: i64) -> io::Result<()> {
        std::fs::remove_file(self.path_of(file))
    }
    pub(crate) fn open(&self, file: i64, bytes: u64) -> io::Result<Body> {
        let file = File::open(self.path_of(file))?;
        if file.metadata()?.len() != bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "Q-BODY: the body file has another length"));
        }
        Ok(Body::File { file: Arc::new(file), start: 0, bytes })
    }
}

/// A body file that no row refers to yet; removed when dropped, unless it was kept.
pub(crate) struct PendingFile {
    files: Arc<BodyFiles>,
    pub(crate) number: i64,
    abandoned: AtomicBool,
}

impl PendingFile {
    /// A row refers to it, or may: after a failed commit nobody knows, and an orphan is removed at the next start.
    pub(crate) fn keep(&self) {
        self.abandoned.store(false, Ordering::Relaxed);
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Relaxed) {
            drop(self.files.remove(self.number));
        }
    }
}

/// A body file being filled.
struct Spill {
    file: File,
    pending: PendingFile,
    gathered: Vec<u8>,
}

impl Spill {
    fn write(&mut self, chunk: &[u8]) -> io::Result<()> {
        let is_large = chunk.len() >= GATHER_BYTES / 2;
        // What was gathered comes before a chunk that goes past it.
        if is_large || self.gathered.len() + chunk.len() > GATHER_BYTES {
            self.flush()?;
        }
        if is_large {
            return self.file.write_all(chunk);
        }
        self.gathered.extend_from_slice(chunk);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.gathered)?;
        self.gathered.clear();
        Ok(())
    }
}

/// The writer behind `Queue::begin`.
pub(crate) struct Receiving {
    shared: Arc<Shared>,
    share: Share,
    memory: Vec<u8>,
    spill: Option<Spill>,
    len: u64,
    /// After an error the body is incomplete and must not be committed.
    broken: bool,
}

impl Receiving {
    pub(crate) fn begin(shared: &Arc<Shared>, declared: Option<u64>) -> Result<Self, AcceptError> {
        let mut share = Share::none(shared);
        let first = declared.map_or(FIRST_BYTES, |d| usize::try_from(d).unwrap_or(usize::MAX)).min(shared.options.inline_body_bytes);
        if !share.grow_to(first as u64) {
            return Err(AcceptError::Busy);
        }
        Ok(Self { shared: Arc::clone(shared), share, memory: Vec::with_capacity(first), spill: None, len: 0, broken: false })
    }

    fn take(&mut self, chunk: &[u8]) -> io::Result<()> {
        if self.spill.is_none() {
            if self.fits(chunk.len()) {
                self.memory.extend_from_slice(chunk);
                return Ok(());
            }
            self.spill()?;
        }
        let spill = self.spill.as_mut().expect("invariant: made above");
        spill.write(chunk)
    }

    /// Makes room in memory; `false` when the body belongs into a file, by its size or because the common memory is spent.
    fn fits(&mut self, more: usize) -> bool {
        let needed = self.memory.len().saturating_add(more);
        let inline_max = self.shared.options.inline_body_bytes;
        if needed > inline_max {
            return false;
        }
        if needed > self.memory.capacity() {
            let capacity = needed.max(self.memory.capacity().saturating_mul(2)).min(inline_max);
            if !self.share.grow_to(capacity as u64) {
                return false;
            }
            self.memory.reserve_exact(capacity - self.memory.len());
        }
        true
    }

    fn spill(&mut self) -> io::Result<()> {
        let (file, pending) = self.shared.files.create()?;
        let mut spill = Spill { file, pending, gathered: Vec::new() };
        spill.file.write_all(&self.memory)?;
        self.memory = Vec::new();
        self.share.release();
        // Beyond the budget, but small and bounded by the number of sessions.
        spill.gathered.reserve_exact(GATHER_BYTES);
        self.spill = Some(spill);
        Ok(())
    }

    /// The body, durable as far as it lies in a file: what may be put into a row.
    pub(crate) async fn finish(mut self) -> Result<PreparedBody, AcceptError> {
        if self.broken {
            return Err(AcceptError::Io("an earlier write failed".to_owned()));
        }
        let Some(spill) = self.spill.take() else {
            // A short body must not keep a long buffer alive while it waits in memory for its delivery.
            let memory = std::mem::take(&mut self.memory);
            let roomy = memory.capacity() / 2 > memory.len();
            let bytes = if roomy { Bytes::copy_from_slice(&memory) } else { Bytes::from(memory) };
            return Ok(PreparedBody::Inline(bytes, Some(self.share)));
        };
        let pending = make_durable(&self.shared, spill).await?;
        Ok(PreparedBody::File { pending, bytes: self.len })
    }
}

/// Several at once, so that the file system merges their journal commits; not too many, or the disk only seeks.
async fn make_durable(shared: &Arc<Shared>, mut spill: Spill) -> Result<PendingFile, AcceptError> {
    let permit = Arc::clone(&shared.file_syncs).acquire_owned().await.map_err(|_| AcceptError::Stopping)?;
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        spill.flush()?;
        // A failed sync ends this file: it is dropped here, and with it removed. Nobody syncs it again.
        spill.file.sync_data()?;
        let files = Arc::clone(&spill.pending.files);
        files.syncer.sync(&files.directory_of(spill.pending.number))?;
        Ok(spill.pending)
    });
    match task.await {
        Ok(result) => result.map_err(|error| accept_error(&error)),
        Err(_) => Err(AcceptError::Stopping),
    }
}

/// Puts bytes that are too long for a row into a durable file.
pub(crate) async fn store_bytes(shared: &Arc<Shared>, bytes: Bytes) -> Result<PreparedBody, AcceptError> {
    if bytes.len() <= shared.options.inline_body_bytes {
        return Ok(PreparedBody::Inline(bytes, None));
    }
    let len = bytes.len() as u64;
    let (mut file, pending) = shared.files.create().map_err(|error| accept_error(&error))?;
    file.write_all(&bytes).map_err(|error| accept_error(&error))?;
    let pending = make_durable(shared, Spill { file, pending, gathered: Vec::new() }).await?;
    Ok(PreparedBody::File { pending, bytes: len })
}

/// What a failed file operation means to the client.
pub(crate) fn accept_error(error: &io::Error) -> AcceptError {
    if is_full(error) { AcceptError::DiskFull } else { AcceptError::Io(error.to_string()) }
}

impl BodyWriter for Receiving {
    fn write(&mut self, chunk: &[u8]) -> Result<(), AcceptError> {
        let bytes_max = self.shared.options.message_bytes_max;
        let len = self.len.saturating_add(chunk.len() as u64);
        if len > bytes_max {
            self.broken = true;
            return Err(AcceptError::TooBig(bytes_max));
        }
        if let Err(error) = self.take(chunk) {
            self.broken = true;
            return Err(accept_error(&error));
        }
        self.len = len;
        Ok(())
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn body(&self) -> Result<Body, AcceptError> {
        let Some(spill) = &self.spill else { return Ok(Body::Memory(Bytes::copy_from_slice(&self.memory))) };
        let file = spill.file.try_clone().map_err(|error| accept_error(&error))?;
        // What is still gathered is written where it will be written again: the position for appending stays.
        let gathered_at = self.len.saturating_sub(spill.gathered.len() as u64);
        file.write_all_at(&spill.gathered, gathered_at).map_err(|error| accept_error(&error))?;
        Ok(Body::File { file: Arc::new(file), start: 0, bytes: self.len })
    }

    fn commit(self: Box<Self>, entry: NewEntry) -> BoxFuture<'static, Result<QueueId, AcceptError>> {
        Box::pin(async move {
            let shared = Arc::clone(&self.shared);
            let body = self.finish().await?;
            let prepared = Prepared::new(entry, body).map_err(|rule| AcceptError::Io(rule.to_owned()))?;
            let (answer, answered) = tokio::sync::oneshot::channel();
            if !shared.inbox.submit(Op::Accept { prepared: Box::new(prepared), answer }).await {
                return Err(AcceptError::Stopping);
            }
            answered.await.unwrap_or_else(|_| Err(AcceptError::Io("the writer has ended".to_owned())))
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}
