//! The Maildir as qmail-pop3d sees it: a list made once, by time of arrival. Called by the session with the user's own rights. Never creates
//! anything.

use crate::maildir;
use rustix::fs::{Mode, OFlags};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A message.
#[derive(Debug)]
pub(super) struct Mail {
    /// Below the Maildir.
    path: PathBuf,
    arrived: i64,
    pub(super) bytes: u64,
    pub(super) deleted: bool,
}

impl Mail {
    /// The file's name without flags.
    pub(super) fn uid(&self) -> &[u8] {
        let name = self.path.file_name().unwrap_or_default().as_bytes();
        name.split(|&b| b == b':').next().unwrap_or_default()
    }
}

/// The Maildir.
#[derive(Debug)]
pub(super) struct Maildir {
    path: PathBuf,
}

impl Maildir {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if fs::metadata(path)?.is_dir() { Ok(Self { path: path.to_path_buf() }) } else { Err(io::ErrorKind::NotADirectory.into()) }
    }

    /// Clears tmp and lists new and cur, oldest first. What came within this second is left for the next session, as its file may not be the last
    /// of that second.
    pub(super) fn scan(&self) -> io::Result<Vec<Mail>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        maildir::clean_tmp(&self.path);
        let mut mails = Vec::new();
        for folder in ["new", "cur"] {
            maildir::each_file(&self.path, folder, &mut |path, metadata| {
                if metadata.mtime() < now {
                    mails.push(Mail { path, arrived: metadata.mtime(), bytes: metadata.len(), deleted: false });
                }
            })?;
        }
        mails.sort_by(|a, b| (a.arrived, a.uid()).cmp(&(b.arrived, b.uid())));
        Ok(mails)
    }

    /// Without waiting: a name in a Maildir may be a pipe.
    pub(super) fn read(&self, mail: &Mail) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(File::from(rustix::fs::open(self.path.join(&mail.path), flags, Mode::empty())?))
    }

    pub(super) fn remove(&self, mail: &Mail) -> io::Result<()> {
        fs::remove_file(self.path.join(&mail.path))
    }

    /// From new to cur. If that fails it stays new, which harms nobody.
    pub(super) fn mark_old(&self, mail: &Mail) {
        let Ok(name) = mail.path.strip_prefix("new") else { return };
        let mut old = Path::new("cur").join(name).into_os_string();
        old.push(":2,");
        let _ = fs::rename(self.path.join(&mail.path), self.path.join(old));
    }
}
