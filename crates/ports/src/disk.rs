//! The disk as durable delivery sees it, so that the crash simulator can stand in for it. Blocking calls; crate disk holds the real one.
//! A failed sync is final: the file is given up, never synced again (a second sync may lie).

use std::io;
use std::path::Path;

/// A new file that is being written. Dropped without `sync`, its bytes may be lost.
pub trait DiskFile: Send {
    /// Appends all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Brings the file's bytes to stable storage. At most once: consumes the file.
    fn sync(self: Box<Self>) -> io::Result<()>;
}

/// Names and files.
pub trait Disk: Send + Sync {
    /// Creates a new file for writing (`O_EXCL`, symbolic links never followed). `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>>;
    /// Renames, `AlreadyExists` when `to` is taken. Durable only after `sync_dir`.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames over `to`. Durable only after `sync_dir`.
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names of a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// True when the name is there (a dangling link counts).
    fn has(&self, path: &Path) -> io::Result<bool>;
    /// The names in a directory, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
}
