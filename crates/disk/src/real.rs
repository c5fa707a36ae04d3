//! The real disk behind `ports::disk::Disk`. Made once in `server` (or in the child that delivers as a user). Syncs of one directory are merged.

use crate::syncer::DirSyncer;
use postino_ports::disk::{Disk, DiskFile};
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// The machine's file systems.
#[derive(Default)]
pub struct RealDisk {
    syncer: DirSyncer,
}

impl RealDisk {
    /// A disk with no directory open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }
    fn sync(self: Box<Self>) -> io::Result<()> {
        // fdatasync: length and blocks are covered, times are not worth a journal entry.
        self.0.sync_data()
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealFile(crate::file::create_new(path, mode)?)))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // NFS and old file systems: a hard link refuses a taken name too.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                std::fs::hard_link(from, to)?;
                std::fs::remove_file(from)
            }
            result => Ok(result?),
        }
    }

    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.syncer.sync(path)
    }

    fn has(&self, path: &Path) -> io::Result<bool> {
        match std::fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }
}
