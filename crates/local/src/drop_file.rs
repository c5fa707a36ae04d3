//! Leaves a message for a server that does not run: a hidden name first, synced, then its real name, and the directory synced. Called by
//! qmail-queue; the server takes it in at its start (`inject` describes the file). Names that begin with a dot are not finished.

use postino_disk::RealDisk;
use postino_ports::disk::{Disk, DiskFile};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Readable for the drop directory's group, the server's.
const MODE: u32 = 0o640;
/// Names tried; a name holds the time in nanoseconds and our pid.
const NAMES_TRIED_MAX: u32 = 100;

/// Why nothing was left.
#[derive(Debug, thiserror::Error)]
pub enum DropError {
    /// There is no such directory.
    #[error("no drop directory")]
    NoDirectory,
    /// No file can be made in it.
    #[error("cannot make a file in the drop directory: {0}")]
    Create(io::Error),
    /// Writing or syncing failed, or the disk is full.
    #[error("cannot write into the drop directory: {0}")]
    Write(io::Error),
    /// The envelope is too long.
    #[error("envelope too long")]
    Envelope,
}

/// Writes the body piece by piece through the function that it is handed.
pub type WriteBody<'a> = dyn FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> + 'a;

/// Leaves one message in `directory`, durably. `envelope` is qmail-queue's, already checked.
pub fn leave(directory: &Path, envelope: &[u8], body: Box<WriteBody<'_>>) -> Result<(), DropError> {
    let group = std::fs::metadata(directory).ok().filter(std::fs::Metadata::is_dir).ok_or(DropError::NoDirectory)?.gid();
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let pid = std::process::id();
    let head = crate::inject::encode_drop_head(pid, crate::now(), envelope).ok_or(DropError::Envelope)?;
    let disk = RealDisk::new();
    let stem = format!("{}.{:09}.{pid}", since.as_secs(), since.subsec_nanos());
    let (hidden, file) = create(&disk, directory, &stem)?;
    // Needed for root's own mail where the directory has no set-group-id bit; others have the group already, or may not set it.
    let _ = std::os::unix::fs::lchown(&hidden, None, Some(group));
    let result = fill(file, &head, body).and_then(|()| publish(&disk, directory, &hidden, &stem));
    result.map_err(|error| {
        let _ = disk.remove(&hidden);
        DropError::Write(error)
    })
}

fn create(disk: &RealDisk, directory: &Path, stem: &str) -> Result<(PathBuf, Box<dyn DiskFile>), DropError> {
    for attempt in 0..NAMES_TRIED_MAX {
        let hidden = directory.join(format!(".{stem}.{attempt}"));
        match disk.create(&hidden, MODE) {
            Ok(file) => return Ok((hidden, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if postino_disk::is_full(&e) => return Err(DropError::Write(e)),
            Err(e) => return Err(DropError::Create(e)),
        }
    }
    Err(DropError::Create(io::Error::from(io::ErrorKind::AlreadyExists)))
}

fn fill(mut file: Box<dyn DiskFile>, head: &[u8], body: Box<WriteBody<'_>>) -> io::Result<()> {
    file.write_all(head)?;
    body(&mut |chunk| file.write_all(chunk))?;
    file.sync()
}

fn publish(disk: &RealDisk, directory: &Path, hidden: &Path, stem: &str) -> io::Result<()> {
    let name = directory.join(stem);
    disk.rename_new(hidden, &name)?;
    let synced = match disk.sync_dir(directory) {
        // A drop directory that its group may only write into cannot be opened for syncing; then the whole file system is synced.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => sync_all(&name),
        other => other,
    };
    if synced.is_err() {
        let _ = disk.remove(&name); // the caller keeps the message and tries again
    }
    synced
}

fn sync_all(name: &Path) -> io::Result<()> {
    let file = rustix::fs::open(name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::syncfs(file)?)
}
