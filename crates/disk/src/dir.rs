//! Directories: made so that they survive a power cut, and synced. Called by queue, directory, local and server. Never removes one.

use rustix::fs::{IFlags, Mode, OFlags};
use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a directory for syncing.
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(File::from(fd))
}

/// Makes the names in `path` durable: one `fsync` of the directory.
///
/// # Errors
/// Those of open(2) and fsync(2); after an error nothing may be assumed about names made since the last success.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    open_dir(path)?.sync_all()
}

/// Makes `path` (and missing parents) with `mode` for what is new, and syncs each parent that got a new name.
/// A directory that is there already is left as it is.
///
/// # Errors
/// Those of mkdir(2), open(2) and fsync(2); `NotADirectory` when something else has the name.
pub fn create_dir_durable(path: &Path, mode: u32) -> io::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => {
            return if std::fs::metadata(path)?.is_dir() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::NotADirectory)) };
        }
        Err(rustix::io::Errno::NOENT) => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
            create_dir_durable(parent.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?, mode)?;
            match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    }
    sync_dir(parent_of(path))
}

/// Asks the file system to lay the directories that are made in `path` from now on far from each other (chattr(1), attribute `T`), as unrelated
/// trees: each mailbox gets its own tables of inodes, so that a message that is new in one of them does not search past what was just deleted
/// in all others. Only a wish: false where the file system does not know it (all but ext2, ext3, ext4), where nothing is lost by it.
pub fn spread_children(path: &Path) -> bool {
    let wish = || -> rustix::io::Result<()> {
        let directory = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        let flags = rustix::fs::ioctl_getflags(&directory)?;
        if flags.contains(IFlags::TOPDIR) { Ok(()) } else { rustix::fs::ioctl_setflags(&directory, flags | IFlags::TOPDIR) }
    };
    wish().is_ok()
}

/// The directory that holds `path`'s name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}
