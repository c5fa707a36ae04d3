//! A file that only grows, one durable record after the other: journals small enough to be read whole at their opening. After a failed write or sync it
//! takes nothing more (a second sync may lie). Never cuts or rewrites what is there.

use crate::dir::{parent_of, sync_dir};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The file, opened for appending.
#[derive(Debug)]
pub struct AppendFile {
    /// `None` after a failure.
    file: Option<File>,
}

impl AppendFile {
    /// Opens (or makes, with permission bits 0600) and reads what is there. Symbolic links are not followed.
    ///
    /// # Errors
    /// `FileTooLarge` beyond `bytes_max`, else those of the system calls.
    pub fn open(path: &Path, bytes_max: u64) -> io::Result<(Self, Vec<u8>)> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("not a plain file"));
        }
        let mut bytes = Vec::new();
        (&file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        if bytes.is_empty() {
            sync_dir(parent_of(path))?;
        }
        Ok((Self { file: Some(file) }, bytes))
    }

    /// Adds `bytes`; Ok means that they are on stable storage.
    ///
    /// # Errors
    /// Those of write(2) and fdatasync(2); from then on every call fails.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = self.file.take().ok_or_else(|| io::Error::other("an earlier write failed"))?;
        file.write_all(bytes)?;
        file.sync_data()?;
        self.file = Some(file);
        Ok(())
    }
}
