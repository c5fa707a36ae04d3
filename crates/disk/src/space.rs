//! Free room of a file system (statvfs), and files that keep room in reserve. Called by the queue. Never removes anybody else's file.

use rustix::fs::FallocateFlags;
use std::io;
use std::path::Path;

/// What a file system has left for unprivileged writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes.
    pub free_bytes: u64,
    /// Inodes; `u64::MAX` where the file system does not count them (btrfs).
    pub free_inodes: u64,
}

/// Asks the file system that holds `path`.
///
/// # Errors
/// Those of statvfs(3).
pub fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    let free_inodes = if found.f_files == 0 { u64::MAX } else { found.f_favail };
    Ok(Space { free_bytes: found.f_bavail.saturating_mul(found.f_frsize), free_inodes })
}

/// Makes (or completes) the file `path` with `bytes` of room that nobody else can take, until it is removed.
///
/// # Errors
/// `StorageFull` without room; `Unsupported` on file systems without fallocate(2).
pub fn reserve(path: &Path, bytes: u64) -> io::Result<()> {
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    Ok(())
}
