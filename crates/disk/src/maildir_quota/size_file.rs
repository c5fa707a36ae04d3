//! `maildirsize` itself: the quota in the first line, then `BYTES COUNT` a line, to be added up. Called by its parent under the lock. Never counts
//! files. The file is not synced: what a crash leaves of it is no number, and files are counted then.

use super::open_to_append;
use crate::file::unique_suffix;
use postino_types::account::{Quota, Usage};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::SystemTime;

/// Its name.
const NAME: &str = "maildirsize";
/// From this size on it is written anew (Courier's number).
const BYTES_MAX: u64 = 5120;
/// Tries to add a line to a file that somebody replaces at the same time.
const TRIES_MAX: u32 = 3;

/// What the file says.
#[derive(Debug)]
pub(super) struct SizeFile {
    pub(super) quota: Quota,
    pub(super) usage: Usage,
    /// Lines after the first.
    pub(super) lines: usize,
    pub(super) modified: SystemTime,
}

impl SizeFile {
    /// `None`: there is none that can be used.
    pub(super) fn read(directory: &OwnedFd) -> io::Result<Option<Self>> {
        let Some(file) = open_to_append(directory, NAME)? else { return Ok(None) };
        let modified = file.metadata()?.modified()?;
        let mut text = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut text)?;
        if text.len() as u64 >= BYTES_MAX {
            return Ok(None);
        }
        Ok(parse(&text).map(|(quota, usage, lines)| Self { quota, usage, lines, modified }))
    }
}

/// Quota, sum and number of data lines; `None` when a line is no pair of numbers.
pub(super) fn parse(text: &[u8]) -> Option<(Quota, Usage, usize)> {
    let text = std::str::from_utf8(text).ok()?;
    let mut lines = text.lines();
    let quota = Quota::parse(lines.next()?.trim());
    let (mut usage, mut count) = (Usage::default(), 0usize);
    for line in lines {
        let mut numbers = line.split_ascii_whitespace();
        let (Some(bytes), Some(messages), None) = (numbers.next(), numbers.next(), numbers.next()) else { return None };
        usage = usage.plus(Usage { bytes: bytes.parse().ok()?, messages: messages.parse().ok()? });
        count = count.saturating_add(1);
    }
    (count > 0).then_some((quota, usage, count))
}

/// Adds a line in one write: lines of several programs must not mix. Without a file nothing is added: who needs one counts.
pub(super) fn append(directory: &OwnedFd, usage: Usage) -> io::Result<()> {
    for _ in 0..TRIES_MAX {
        let Some(mut file) = open_to_append(directory, NAME)? else { return Ok(()) };
        file.write_all(format!("{} {}\n", usage.bytes, usage.messages).as_bytes())?;
        if is_current(directory, &file)? {
            break;
        }
    }
    Ok(())
}

/// False when another program put a new file there meanwhile, which does not have our line.
fn is_current(directory: &OwnedFd, file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match rustix::fs::statat(directory, NAME, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(now) => Ok(now.st_ino == ours.ino()),
        Err(rustix::io::Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Puts a new file with one sum in its place.
pub(super) fn replace(directory: &OwnedFd, quota: Quota, usage: Usage) -> io::Result<()> {
    let temporary = format!("tmp/{NAME}.{}", unique_suffix());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut made = rustix::fs::openat(directory, &temporary, flags, Mode::from_raw_mode(0o600));
    if matches!(made, Err(rustix::io::Errno::EXIST)) {
        rustix::fs::unlinkat(directory, &temporary, AtFlags::empty())?; // of a dead process with our number
        made = rustix::fs::openat(directory, &temporary, flags, Mode::from_raw_mode(0o600));
    }
    let text = format!("{quota}\n{} {}\n", usage.bytes, usage.messages);
    let mut file = File::from(made?);
    let owner = rustix::fs::fstat(directory)?;
    if owner.st_uid != rustix::process::geteuid().as_raw() {
        // An administrator's program runs as root; deliveries must be able to write the file.
        let _ = rustix::fs::fchown(&file, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)));
    }
    let written = file.write_all(text.as_bytes());
    let named = written.and_then(|()| Ok(rustix::fs::renameat(directory, &temporary, directory, NAME)?));
    if named.is_err() {
        let _ = rustix::fs::unlinkat(directory, &temporary, AtFlags::empty());
    }
    named
}

/// Removes it, if it is there.
pub(super) fn remove(directory: &OwnedFd) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
