//! Counts what lies in a Maildir and its folders: all files of `cur` and `new` but those flagged T, without the folder Trash; sizes from `,S=` in
//! the name, else from the file. Called by its parent. Opens directories only, never through a symbolic link, never a message.

use super::DIRECTORY;
use postino_types::account::Usage;
use rustix::fs::{AtFlags, Dir, FileType, Mode};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The folder that does not count.
const TRASH: &[u8] = b".Trash";

/// A count.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) usage: Usage,
    /// The directories below the Maildir, with their modification times from before they were read.
    seen: Vec<(PathBuf, (i64, u64))>,
}

impl Counted {
    /// True when no directory changed since it was read.
    pub(super) fn is_undisturbed(&self, maildir: &OwnedFd) -> bool {
        let now = |path: &Path| rustix::fs::statat(maildir, path, AtFlags::empty()).map(|found| modified(&found));
        self.seen.iter().all(|(path, before)| now(path).is_ok_and(|now| now == *before))
    }
}

/// Counts a whole mailbox.
pub(super) fn all(maildir: &OwnedFd) -> io::Result<Counted> {
    let mut counted = Counted { usage: Usage::default(), seen: Vec::new() };
    counted.folder(maildir.as_fd(), Path::new(""))?;
    for entry in Dir::read_from(maildir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        let is_folder = name.len() > 1 && name.first() == Some(&b'.') && name.get(1) != Some(&b'.') && name != TRASH;
        if !is_folder || !matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
            continue;
        }
        match rustix::fs::openat(maildir, entry.file_name(), DIRECTORY, Mode::empty()) {
            Ok(folder) => counted.folder(folder.as_fd(), Path::new(OsStr::from_bytes(name)))?,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(counted)
}

impl Counted {
    fn folder(&mut self, folder: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
        for part in ["new", "cur"] {
            match rustix::fs::openat(folder, part, DIRECTORY, Mode::empty()) {
                Ok(directory) => self.directory(&directory, path.join(part))?,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn directory(&mut self, directory: &OwnedFd, path: PathBuf) -> io::Result<()> {
        self.seen.push((path, modified(&rustix::fs::fstat(directory)?)));
        for entry in Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name.first() == Some(&b'.') || is_trashed(name) {
                continue;
            }
            let bytes = match size_in_name(name) {
                Some(bytes) => Some(bytes),
                None => size_of_file(directory, entry.file_name())?,
            };
            if let Some(bytes) = bytes {
                self.usage = self.usage.plus(Usage::message(bytes));
            }
        }
        Ok(())
    }
}

fn modified(found: &rustix::fs::Stat) -> (i64, u64) {
    (found.st_mtime, found.st_mtime_nsec)
}

/// `None`: gone meanwhile, or no message.
fn size_of_file(directory: &OwnedFd, name: &std::ffi::CStr) -> io::Result<Option<u64>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::RegularFile => Ok(u64::try_from(found.st_size).ok()),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Is the message marked as deleted (T among the flags)?
pub(super) fn is_trashed(name: &[u8]) -> bool {
    let flags = name.iter().position(|&b| b == b':').and_then(|at| name.get(at..)?.strip_prefix(b":2,"));
    flags.is_some_and(|flags| flags.contains(&b'T'))
}

/// The number of `,S=` before the flags.
pub(super) fn size_in_name(name: &[u8]) -> Option<u64> {
    let unique = name.split(|&b| b == b':').next()?;
    let text = unique.split(|&b| b == b',').skip(1).find_map(|part| part.strip_prefix(b"S="))?;
    std::str::from_utf8(text).ok()?.parse().ok()
}
