//! Merges concurrent syncs of one directory: a hot mailbox with ten deliveries at once is synced once or twice, not ten times.
//! Called by Maildir delivery from blocking threads. Never shares a sync that began before the caller's rename was done.

use crate::dir::open_dir;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// The merger. One for a process is enough; it holds one open directory for each directory in use just now.
#[derive(Default)]
pub struct DirSyncer {
    slots: Mutex<HashMap<PathBuf, Arc<Slot>>>,
}

struct Slot {
    directory: File,
    state: Mutex<State>,
    turn: Condvar,
}

struct State {
    /// A sync runs now; it may have passed the names of callers that come from here on.
    running: bool,
    /// The round that serves whoever comes now.
    next: Arc<Round>,
    /// Callers inside.
    callers: usize,
}

/// One sync and how it came out: `None` for success, else the error's number.
#[derive(Default)]
struct Round {
    result: OnceLock<Option<i32>>,
}

impl Round {
    fn answer(&self) -> Option<io::Result<()>> {
        self.result.get().map(|errno| errno.map_or(Ok(()), |number| Err(io::Error::from_raw_os_error(number))))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DirSyncer {
    /// An empty merger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns when a sync of `path` that began after this call has ended. Blocks.
    ///
    /// # Errors
    /// Those of open(2) and of the fsync(2) that served this caller; it harms no other caller.
    pub fn sync(&self, path: &Path) -> io::Result<()> {
        let slot = self.enter(path)?;
        let result = slot.sync();
        self.leave(path, &slot);
        result
    }

    fn enter(&self, path: &Path) -> io::Result<Arc<Slot>> {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get(path) {
            lock(&slot.state).callers += 1;
            return Ok(Arc::clone(slot));
        }
        let state = State { running: false, next: Arc::default(), callers: 1 };
        let slot = Arc::new(Slot { directory: open_dir(path)?, state: Mutex::new(state), turn: Condvar::new() });
        slots.insert(path.to_path_buf(), Arc::clone(&slot));
        Ok(slot)
    }

    fn leave(&self, path: &Path, slot: &Arc<Slot>) {
        let mut slots = lock(&self.slots);
        let mut state = lock(&slot.state);
        state.callers = state.callers.saturating_sub(1);
        if state.callers == 0 {
            slots.remove(path);
        }
    }
}

impl Slot {
    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        let round = Arc::clone(&state.next);
        loop {
            if let Some(answer) = round.answer() {
                return answer;
            }
            if !state.running {
                state.running = true;
                state.next = Arc::default();
                drop(state);
                let result = self.directory.sync_all();
                // A result without a number (there is none from fsync) still counts as an error: EIO is 5 on Linux.
                let _ = round.result.set(result.as_ref().err().map(|e| e.raw_os_error().unwrap_or(5)));
                lock(&self.state).running = false;
                self.turn.notify_all();
                return result;
            }
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
