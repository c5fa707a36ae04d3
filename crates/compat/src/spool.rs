//! A body being read: memory while it is small, then an unlinked file. Needed because the envelope comes last and a dead server must not cost
//! the message. Called by qmail-queue and on the way to it; never syncs: nothing is promised of it.

use postino_control::message_bytes_max;
use postino_local::inject::{CHUNK_BYTES_MAX, DROP_PATH};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Read;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

/// Kept in memory up to this size, bytes: fits into the small memory limits that these programs run under.
const MEMORY_BYTES_MAX: usize = 1 << 20;

/// The body so far.
#[derive(Debug)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    home: PathBuf,
    bytes: u64,
    /// Looked up when the body leaves the memory; the server would take no more.
    bytes_max: u64,
}

/// Why a piece is not kept.
#[derive(Debug)]
pub(crate) enum SpoolError {
    /// The body is larger than `limits.message_bytes_max`.
    TooBig,
    /// No room, or trouble with the disk.
    Write,
}

impl Spool {
    pub(crate) fn new(home: &Path) -> Self {
        Self { memory: Vec::new(), file: None, home: home.to_path_buf(), bytes: 0, bytes_max: u64::MAX }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.file.is_none() {
            self.memory.extend_from_slice(bytes);
            if self.memory.len() <= MEMORY_BYTES_MAX {
                return Ok(());
            }
            self.bytes_max = message_bytes_max(&self.home);
        }
        if self.bytes > self.bytes_max {
            return Err(SpoolError::TooBig);
        }
        self.write_file(bytes).map_err(|_| SpoolError::Write)
    }

    /// Into the file; what the memory held, with `bytes`, when there was none yet.
    fn write_file(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.write_all(bytes);
        }
        let mut file = unlinked(&self.home.join(DROP_PATH))?;
        file.write_all(&self.memory)?;
        self.memory = Vec::new();
        self.file = Some(file);
        Ok(())
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Hands out the whole body in pieces of at most [`CHUNK_BYTES_MAX`] bytes.
    pub(crate) fn for_each_chunk(&mut self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return self.memory.chunks(CHUNK_BYTES_MAX).try_for_each(take);
        };
        file.rewind()?;
        let mut buffer = vec![0u8; CHUNK_BYTES_MAX];
        loop {
            let n = match file.read(&mut buffer) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            if n == 0 {
                return Ok(());
            }
            take(buffer.get(..n).unwrap_or_default())?;
        }
    }
}

/// In the drop directory when it may be written, else where temporary files go.
fn unlinked(directory: &Path) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let fd = open(directory).or_else(|_| open(&std::env::temp_dir()))?;
    Ok(File::from(fd))
}
