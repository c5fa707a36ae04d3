//! What a change has done so far, so that it can be undone. Called by every change; undoing happens when the journal is dropped uncommitted.
//! Never outlives the process: after a crash the order of the steps, not the journal, keeps the files consistent.

use super::{AdminError, Owner};
use postino_disk::{FileLock, LockError};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum Undo {
    Restore { path: PathBuf, bytes: Vec<u8>, mode: u32 },
    RemoveFile(PathBuf),
    RemoveTree(PathBuf),
    RenameBack { from: PathBuf, to: PathBuf },
}

/// The steps of one change.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    undo: Vec<Undo>,
    /// Files that were out of order and have been sorted whole.
    pub(super) sorted: Vec<PathBuf>,
}

impl Journal {
    /// Replaces a file durably; an old one keeps its mode and owner, a new one gets `mode` and, if given, `owner`.
    pub(crate) fn replace(&mut self, path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<(), AdminError> {
        let old = match std::fs::read(path) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(AdminError::io(path)(error)),
        };
        let Some(old) = old else {
            self.undo.push(Undo::RemoveFile(path.to_path_buf()));
            postino_disk::replace_file(path, bytes, mode).map_err(AdminError::io(path))?;
            return owner.map_or(Ok(()), |owner| own(path, owner));
        };
        let mode = std::fs::metadata(path).map_err(AdminError::io(path))?.mode() & 0o7777;
        self.undo.push(Undo::Restore { path: path.to_path_buf(), bytes: old, mode });
        postino_disk::replace_file(path, bytes, mode).map_err(AdminError::io(path))
    }

    /// The same for a control list; one that stays as it is is not written.
    pub(crate) fn replace_list(&mut self, path: &Path, bytes: &[u8]) -> Result<(), AdminError> {
        match std::fs::read(path) {
            Ok(old) if old == bytes => Ok(()),
            _ => self.replace(path, bytes, 0o644, None),
        }
    }

    /// Removes a file durably.
    pub(crate) fn remove_file(&mut self, path: &Path) -> Result<(), AdminError> {
        let bytes = std::fs::read(path).map_err(AdminError::io(path))?;
        let mode = std::fs::metadata(path).map_err(AdminError::io(path))?.mode() & 0o7777;
        self.undo.push(Undo::Restore { path: path.to_path_buf(), bytes, mode });
        std::fs::remove_file(path).map_err(AdminError::io(path))?;
        sync_parent(path)
    }

    /// A directory tree is about to be made.
    pub(crate) fn making_tree(&mut self, path: &Path) {
        self.undo.push(Undo::RemoveTree(path.to_path_buf()));
    }

    /// Renames durably inside one directory.
    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), AdminError> {
        std::fs::rename(from, to).map_err(AdminError::io(from))?;
        self.undo.push(Undo::RenameBack { from: from.to_path_buf(), to: to.to_path_buf() });
        sync_parent(to)
    }

    /// The change stands; gives the files that were sorted.
    pub(crate) fn commit(mut self) -> Vec<PathBuf> {
        self.undo.clear();
        std::mem::take(&mut self.sorted)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        for step in self.undo.drain(..).rev() {
            let undone = match &step {
                Undo::Restore { path, bytes, mode } => postino_disk::replace_file(path, bytes, *mode),
                Undo::RemoveFile(path) => ignore_absent(std::fs::remove_file(path)),
                Undo::RemoveTree(path) => ignore_absent(std::fs::remove_dir_all(path)),
                Undo::RenameBack { from, to } => std::fs::rename(to, from),
            };
            if let Err(error) = undone {
                tracing::error!(?error, path = %step.path().display(), "a step of a failed change could not be undone");
            }
        }
    }
}

impl Undo {
    fn path(&self) -> &Path {
        match self {
            Self::Restore { path, .. } | Self::RemoveFile(path) | Self::RemoveTree(path) | Self::RenameBack { from: path, .. } => path,
        }
    }
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn sync_parent(path: &Path) -> Result<(), AdminError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    postino_disk::sync_dir(parent).map_err(AdminError::io(parent))
}

/// Gives a file or directory to its owner; without root's rights it is the caller's own already.
pub(crate) fn own(path: &Path, owner: Owner) -> Result<(), AdminError> {
    if rustix::process::geteuid().is_root() {
        lchown(path, Some(owner.uid), Some(owner.gid)).map_err(AdminError::io(path))?;
    }
    Ok(())
}

/// A held lock: flock(2) against ourselves, fcntl(2) against vpopmail's programs.
#[derive(Debug)]
pub(crate) struct Lock {
    _posix: File,
    _flock: FileLock,
}

/// Takes the lock file `path`, waiting up to half a minute.
pub(crate) fn lock(path: &Path, owner: Option<Owner>) -> Result<Lock, AdminError> {
    lock_within(path, owner, LOCK_TIMEOUT)
}

/// The same with another time to wait.
pub(crate) fn lock_within(path: &Path, owner: Option<Owner>, timeout: Duration) -> Result<Lock, AdminError> {
    let flock = FileLock::exclusive(path, timeout).map_err(|error| match error {
        LockError::Held => AdminError::Locked(path.to_path_buf()),
        LockError::Io(source) => AdminError::Io { path: path.to_path_buf(), source },
    })?;
    if let Some(owner) = owner {
        own(path, owner)?;
    }
    let posix = File::options().read(true).write(true).open(path).map_err(AdminError::io(path))?;
    rustix::fs::fcntl_lock(&posix, rustix::fs::FlockOperation::LockExclusive).map_err(|error| AdminError::io(path)(error.into()))?;
    Ok(Lock { _posix: posix, _flock: flock })
}

/// How often a directory's lock is asked for again.
const DIRECTORY_LOCK_PAUSE: Duration = Duration::from_millis(2);

/// flock(2) on the directory itself, which leaves no file: changes that touch more than vpasswd exclude each other by it. Held until dropped.
pub(super) fn lock_directory(path: &Path) -> Result<File, AdminError> {
    use rustix::fs::{FlockOperation, Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut left = LOCK_TIMEOUT;
    loop {
        let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| AdminError::io(path)(error.into()))?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                let directory = File::from(directory);
                // It may have been removed, and another made in its place, while we waited.
                let (ours, now) =
                    (directory.metadata().map_err(AdminError::io(path))?, std::fs::metadata(path).map_err(AdminError::io(path))?);
                if (ours.dev(), ours.ino()) == (now.dev(), now.ino()) {
                    return Ok(directory);
                }
            }
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) if !left.is_zero() => {
                std::thread::sleep(DIRECTORY_LOCK_PAUSE);
                left = left.saturating_sub(DIRECTORY_LOCK_PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(AdminError::Locked(path.to_path_buf())),
            Err(error) => return Err(AdminError::io(path)(error.into())),
        }
    }
}
