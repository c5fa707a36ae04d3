//! Single files: created new, or replaced as a whole so that a reader and a crash see the old bytes or the new ones, never a mixture.
//! Called by everyone who writes a file that must last. Never edits a file in place.

use crate::dir::{parent_of, sync_dir};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Creates a new file for reading and writing (`O_EXCL | O_NOFOLLOW`, permission bits exactly `mode`).
///
/// # Errors
/// `AlreadyExists` when the name is taken, else those of open(2) and fchmod(2).
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::from_raw_mode(mode & 0o700))?;
    if mode & 0o077 != 0 {
        // The umask must not decide: widen explicitly, never through the umask.
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))?;
    }
    Ok(File::from(fd))
}

/// Replaces (or makes) the file `path` as a whole: temporary file in the same directory, sync, rename, sync of the directory.
/// `mode` are its permission bits; an existing file's owner is kept where the caller may do so. A symbolic link keeps pointing:
/// the file behind it is replaced.
///
/// # Errors
/// Those of the system calls. After an error the old file stands (or, when only the last sync failed, the new one).
pub fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let target = resolve_link(path)?;
    let (temporary, mut file) = create_temporary(&target, mode)?;
    let written = write_whole(&mut file, bytes, &target);
    if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, &target)) {
        drop(std::fs::remove_file(&temporary));
        return Err(error);
    }
    sync_dir(parent_of(&target))
}

/// A file's new content.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// Name in the directory.
    pub name: &'a str,
    /// All of it.
    pub bytes: &'a [u8],
    /// Permission bits.
    pub mode: u32,
}

/// Replaces files of one directory that belong together: all are written and synced (side by side), then renamed one after the other in the
/// order given, then the directory is synced. Owners as with [`replace_file`]; symbolic links are replaced, not followed. The caller holds a lock:
/// the temporary names are always the same (`.NAME.new`), and what a crash left there goes.
///
/// # Errors
/// Those of the system calls. After an error the old files stand (or, when only the last sync failed, the new ones); a crash between two renames
/// leaves the first ones new.
pub fn replace_files(directory: &Path, files: &[Replacement<'_>]) -> io::Result<()> {
    let mut temporaries = Vec::with_capacity(files.len());
    let result = write_side_by_side(directory, files, &mut temporaries).and_then(|()| rename_all(&temporaries));
    for (temporary, _) in &temporaries {
        drop(std::fs::remove_file(temporary)); // after an exchange the old file, after an error the new one
    }
    result?;
    sync_dir(directory)
}

fn rename_all(pairs: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    let Some(((last_from, last_to), first)) = pairs.split_last() else { return Ok(()) };
    let mut exchanged = Vec::new();
    let mut renamed = first.iter().try_for_each(|(from, to)| {
        if exchange(from, to).is_ok() {
            exchanged.push((from, to));
            return Ok(());
        }
        std::fs::rename(from, to) // nothing there yet, or a file system that cannot exchange
    });
    if renamed.is_ok() {
        renamed = std::fs::rename(last_from, last_to);
    }
    if renamed.is_err() {
        for (from, to) in exchanged {
            let _ = exchange(from, to);
        }
    }
    renamed
}

fn exchange(one: &Path, other: &Path) -> rustix::io::Result<()> {
    rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, rustix::fs::RenameFlags::EXCHANGE)
}

/// Files above this size are synced by threads of their own: the disk works on all of them at once.
const SIDE_BY_SIDE_BYTES: usize = 1 << 20;

fn write_side_by_side(directory: &Path, files: &[Replacement<'_>], temporaries: &mut Vec<(PathBuf, PathBuf)>) -> io::Result<()> {
    let mut open = Vec::with_capacity(files.len());
    for file in files {
        let target = directory.join(file.name);
        let temporary = directory.join(format!(".{}.new", file.name));
        drop(std::fs::remove_file(&temporary));
        let handle = create_new(&temporary, file.mode)?;
        temporaries.push((temporary, target.clone()));
        open.push((handle, file.bytes, target));
    }
    for (handle, bytes, target) in &mut open {
        write_unsynced(handle, bytes, target)?;
    }
    let is_large = files.iter().map(|file| file.bytes.len()).sum::<usize>() > SIDE_BY_SIDE_BYTES;
    if !is_large {
        return open.iter().try_for_each(|(handle, _, _)| handle.sync_all());
    }
    std::thread::scope(|scope| {
        let syncs: Vec<_> = open.iter().map(|(handle, _, _)| scope.spawn(|| handle.sync_all())).collect();
        syncs.into_iter().try_for_each(|sync| sync.join().unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::Other))))
    })
}

fn write_whole(file: &mut File, bytes: &[u8], target: &Path) -> io::Result<()> {
    write_unsynced(file, bytes, target)?;
    file.sync_all()
}

fn write_unsynced(file: &mut File, bytes: &[u8], target: &Path) -> io::Result<()> {
    if let Ok(old) = std::fs::metadata(target) {
        let owner = (Some(Uid::from_raw(old.uid())), Some(Gid::from_raw(old.gid())));
        // Only root may give a file away; without the right the file stays ours, as with any editor.
        let _ = rustix::fs::fchown(&*file, owner.0, owner.1);
    }
    file.write_all(bytes)
}

fn resolve_link(path: &Path) -> io::Result<PathBuf> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_symlink() => std::fs::canonicalize(path),
        _ => Ok(path.to_path_buf()),
    }
}

/// Names tried before giving up: leftovers of earlier processes with our process number may be in the way.
const NAMES_TRIED_MAX: u32 = 100;

fn create_temporary(target: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    for _ in 0..NAMES_TRIED_MAX {
        let path = temporary_beside(target);
        match create_new(&path, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(file) => return Ok((path, file)),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

fn temporary_beside(target: &Path) -> PathBuf {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    parent_of(target).join(format!(".{name}.{}", unique_suffix()))
}

/// `PID_N`: unlike any other of this process and of processes that run now.
pub(crate) fn unique_suffix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// True for errors that mean "no room": disk, inodes, quota or the largest file allowed. They heal when somebody makes room.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
