//! Locks between processes: flock(2) on a file of its own, as qmail and vpopmail take them. Held until dropped, also by a crash. Never breaks a lock.

use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else holds it.
    #[error("locked by another process")]
    Held,
    /// The lock file cannot be used.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A held lock.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Takes an exclusive lock on `path` (made with mode 0600 when missing), without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`], or those of open(2).
    pub fn try_exclusive(path: &Path) -> Result<Self, LockError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(io::Error::from)?);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    /// The same, asking again every 10 ms until `timeout` has passed. Blocks the thread.
    ///
    /// # Errors
    /// [`LockError::Held`] after the time, or those of open(2).
    pub fn exclusive(path: &Path, timeout: Duration) -> Result<Self, LockError> {
        const PAUSE: Duration = Duration::from_millis(10);
        let mut left = timeout;
        loop {
            match Self::try_exclusive(path) {
                Err(LockError::Held) if !left.is_zero() => {
                    std::thread::sleep(PAUSE.min(left));
                    left = left.saturating_sub(PAUSE);
                }
                result => return result,
            }
        }
    }
}
