//! Opening and finding message files: regular files only, no symbolic link followed inside the Maildir, renames by other readers
//! survived. Blocking; called by the scan and by sessions.

use super::name::unique;
use postino_ports::maildrop::MaildropError;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// One of the two directories that hold messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// `new/`: no reader has seen it.
    New,
    /// `cur/`.
    Cur,
}

impl Place {
    /// The directory's name.
    pub(super) fn directory(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Cur => "cur",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::New => Self::Cur,
            Self::Cur => Self::New,
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The Maildir itself; a symbolic link to it is the administrator's business and is followed.
pub(super) fn open_maildir(path: &Path) -> Result<OwnedFd, MaildropError> {
    rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|e| missing(path, e))
}

/// `new/`, `cur/` or `tmp/`.
pub(super) fn open_part(maildir: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(maildir, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
}

/// The error of a directory that should be there.
pub(super) fn missing(path: &Path, error: Errno) -> MaildropError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => MaildropError::Missing(path.display().to_string()),
        other => MaildropError::Io(other.into()),
    }
}

/// Calls `take` with the name of every message file of a directory. Names that start with a dot and what is no regular file are
/// skipped.
pub(super) fn for_each_name(directory: OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut entries = Dir::new(directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        // An unknown type (some file systems) is judged when the file is opened.
        let may_be_file = matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown);
        if may_be_file && !name.starts_with(b".") {
            take(name);
        }
    }
    Ok(())
}

/// Opens a message for reading.
pub(super) fn open_message(directory: impl AsFd, name: &[u8]) -> io::Result<File> {
    // NONBLOCK: a FIFO under that name must not hang a thread before its type is looked at.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(directory, OsStr::from_bytes(name), flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(File::from(fd))
}

/// Does `act` with the message's directory, its place and its present name. When the file is not where it was seen, another reader has
/// renamed it (new to cur, or other flags): it is looked for once by its unique part. `Ok(None)` when it is gone.
pub(super) fn with_message<T>(
    maildir: &OwnedFd,
    seen: (Place, &[u8]),
    mut act: impl FnMut(&OwnedFd, Place, &[u8]) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let (place, name) = seen;
    match open_part(maildir, place.directory()).map_err(io::Error::from).and_then(|d| act(&d, place, name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        other => return other.map(Some),
    }
    for place in [Place::Cur, place.other(), place] {
        let wanted = unique(name);
        let mut found = None;
        for_each_name(open_part(maildir, place.directory())?, |n| {
            if unique(n) == wanted {
                found = Some(n.to_vec());
            }
        })?;
        if let Some(now) = found {
            let directory = open_part(maildir, place.directory())?;
            match act(&directory, place, &now) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(Some),
            }
        }
    }
    Ok(None)
}

/// Removes a file. `NotFound` as an error.
pub(super) fn unlink(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(directory, OsStr::from_bytes(name), AtFlags::empty())?)
}
