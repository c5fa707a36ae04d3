//! The home directory and its dot-qmail files: who may deliver, which file governs. Called by `qmail_local`; reads, never writes.

use super::{Delivery, Stop};
use postino_policy::dotqmail::{Mode, Owner, candidates, new_sender, owner_names};
use postino_types::ReversePath;
use rustix::fs::{AtFlags, FileType, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longest dot-qmail file, bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Mode bits that make a home or a file untrusted (qmail's `patrn`).
const WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;
const OWNER_EXECUTE: u32 = 0o100;

/// The user's home, checked.
#[derive(Debug)]
pub(super) struct Home {
    directory: OwnedFd,
}

/// The file that governs.
#[derive(Debug)]
pub(super) struct DotQmailFile {
    /// Its text.
    pub(super) text: Vec<u8>,
    /// Whether its execute bit allows forwards only.
    pub(super) mode: Mode,
    /// DEFAULT.
    pub(super) default_part: Option<Vec<u8>>,
}

impl Home {
    /// Opens and checks the home.
    pub(super) fn open(path: &Path) -> Result<Self, Stop> {
        let unable = |e: Errno| Stop::unable("switch to", path.as_os_str().as_bytes(), &e.into(), "4.3.0");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = match rustix::fs::open(path, flags, rustix::fs::Mode::empty()) {
            // A home that may be entered but not listed is enough to deliver.
            Err(Errno::ACCESS) => rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, rustix::fs::Mode::empty()),
            other => other,
        }
        .map_err(unable)?;
        let mode = rustix::fs::fstat(&directory).map_err(unable)?.st_mode;
        if mode & WRITABLE != 0 {
            return Err(Stop::soft("Uh-oh: home directory is writable. (#4.7.0)"));
        }
        if mode & STICKY != 0 {
            return Err(Stop::soft("Home directory is sticky: user is editing his .qmail file. (#4.2.1)"));
        }
        Ok(Self { directory })
    }

    /// The first candidate that is a regular file.
    pub(super) fn find(&self, dash: &[u8], ext: &[u8]) -> Result<Option<DotQmailFile>, Stop> {
        for candidate in candidates(dash, ext) {
            // A slash from an address must not lead into a subdirectory; one in `dash` is the administrator's.
            let from_address = candidate.name.get(b".qmail".len() + dash.len()..).unwrap_or_default();
            if from_address.contains(&b'/') {
                continue;
            }
            if let Some((text, mode)) = self.read(&candidate.name)? {
                return Ok(Some(DotQmailFile { text, mode, default_part: candidate.default_part }));
            }
        }
        Ok(None)
    }

    fn read(&self, name: &[u8]) -> Result<Option<(Vec<u8>, Mode)>, Stop> {
        let unable = |e: &io::Error| Stop::unable("open", name, e, "4.3.0");
        // NONBLOCK: a named pipe must not hold the delivery up.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.directory, name, flags, rustix::fs::Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(e) if is_absent(e) => return Ok(None),
            Err(e) => return Err(unable(&e.into())),
        };
        let stat = rustix::fs::fstat(&file).map_err(|e| unable(&e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        if stat.st_mode & WRITABLE != 0 {
            return Err(Stop::soft("Uh-oh: .qmail file is writable. (#4.7.0)"));
        }
        let mode = if stat.st_mode & OWNER_EXECUTE != 0 { Mode::ForwardOnly } else { Mode::All };
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|e| Stop::unable("read", name, &e, "4.3.0"))?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Stop::unable("read", name, &Errno::FBIG.into(), "4.3.0"));
        }
        Ok(Some((text, mode)))
    }

    /// NEWSENDER by the owner files.
    pub(super) fn new_sender(&self, delivery: &Delivery, sender: &ReversePath) -> Result<ReversePath, Stop> {
        if !matches!(sender, ReversePath::Address(_)) {
            return Ok(sender.clone());
        }
        let (owner_name, default_name) = owner_names(&delivery.dash, &delivery.ext);
        let owner = match (self.has(&owner_name)?, &default_name) {
            (false, _) => Owner::Missing,
            (true, default) if self.has(default)? => Owner::OwnerDefault,
            (true, _) => Owner::Owner,
        };
        new_sender(sender, &delivery.local, &delivery.domain, owner).map_err(|_| super::environment::too_long())
    }

    fn has(&self, name: &[u8]) -> Result<bool, Stop> {
        match rustix::fs::statat(&self.directory, name, AtFlags::empty()) {
            Ok(_) => Ok(true),
            Err(e) if is_absent(e) => Ok(false),
            Err(e) => Err(Stop::unable("open", name, &e.into(), "4.3.0")),
        }
    }
}

fn is_absent(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::NXIO | Errno::INVAL)
}
