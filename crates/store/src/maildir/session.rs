//! One session's view: reads by number, removes at the end. POP3 holds it; it keeps no descriptor open between commands.

use super::Shared;
use super::files::{self, Place};
use super::name;
use super::scan::{Listing, Seen};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::maildrop::{Drop, DropMessage, MaildropError};
use rustix::fs::{Mode, OFlags};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Messages up to this size are read whole in the same turn that opens them: one hop to a blocking thread instead of two.
const MEMORY_BYTES_MAX: u64 = 64 * 1024;

pub(super) struct MaildirDrop {
    path: PathBuf,
    messages: Vec<DropMessage>,
    seen: Arc<Vec<Seen>>,
    shared: Arc<Shared>,
}

impl MaildirDrop {
    pub(super) fn new(path: PathBuf, listing: Listing, shared: Arc<Shared>) -> Self {
        let Listing { messages, seen } = listing;
        Self { path, messages, seen: Arc::new(seen), shared }
    }
}

impl Drop for MaildirDrop {
    fn messages(&self) -> &[DropMessage] {
        &self.messages
    }

    fn open(&self, index: usize) -> BoxFuture<'_, Result<Body, MaildropError>> {
        let (path, seen) = (self.path.clone(), Arc::clone(&self.seen));
        let work = move || {
            let message = seen.get(index).ok_or_else(gone)?;
            let maildir = files::open_maildir(&path)?;
            let file = files::with_message(&maildir, (message.place, &message.name), |d, _, n| files::open_message(d, n))?;
            Ok(body(file.ok_or_else(gone)?)?)
        };
        Box::pin(self.shared.blocking(work))
    }

    fn finish(self: Box<Self>, deleted: Vec<usize>) -> BoxFuture<'static, Result<usize, MaildropError>> {
        Box::pin(async move {
            let Self { path, seen, shared, .. } = *self;
            shared.blocking(move || finish(&path, &seen, deleted)).await
        })
    }
}

fn gone() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

fn body(mut file: File) -> io::Result<Body> {
    let bytes = file.metadata()?.len();
    if bytes > MEMORY_BYTES_MAX {
        return Ok(Body::File { file: Arc::new(file), start: 0, bytes });
    }
    let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0).saturating_add(1));
    Read::by_ref(&mut file).take(MEMORY_BYTES_MAX).read_to_end(&mut whole)?;
    Ok(Body::Memory(whole.into()))
}

/// Removes the deleted ones, marks the others as seen by a reader, and makes the removals durable.
fn finish(path: &Path, seen: &[Seen], deleted: Vec<usize>) -> Result<usize, MaildropError> {
    let maildir = files::open_maildir(path)?;
    let deleted: HashSet<usize> = deleted.into_iter().collect();
    let mut removal = Removal::default();
    for message in deleted.iter().filter_map(|&i| seen.get(i)) {
        removal.remove(&maildir, message);
    }
    // The others' new names need no durability: lost, they are just new again.
    for message in seen.iter().enumerate().filter(|(i, _)| !deleted.contains(i)).map(|(_, m)| m) {
        if message.place == Place::New {
            mark_seen(&maildir, &message.name);
        }
    }
    for (place, touched) in [(Place::New, removal.in_new), (Place::Cur, removal.in_cur)] {
        if touched {
            postino_disk::sync_dir(&path.join(place.directory()))?;
        }
    }
    removal.tell_quota(&maildir);
    Ok(removal.failed)
}

/// What was removed.
#[derive(Debug, Default)]
struct Removal {
    in_new: bool,
    in_cur: bool,
    files: u64,
    bytes: u64,
    failed: usize,
}

impl Removal {
    fn remove(&mut self, maildir: &OwnedFd, message: &Seen) {
        let unlink = |directory: &OwnedFd, place: Place, file_name: &[u8]| {
            let bytes = match name::file_bytes(name::unique(file_name)) {
                Some(bytes) => bytes,
                None => files::open_message(directory, file_name)?.metadata()?.len(),
            };
            files::unlink(directory, file_name)?;
            Ok((place, bytes))
        };
        match files::with_message(maildir, (message.place, &message.name), unlink) {
            Ok(Some((place, bytes))) => {
                self.in_new |= place == Place::New;
                self.in_cur |= place == Place::Cur;
                self.files = self.files.saturating_add(1);
                self.bytes = self.bytes.saturating_add(bytes);
            }
            // Another session was quicker: what was asked for is so.
            Ok(None) => {}
            Err(_) => self.failed = self.failed.saturating_add(1),
        }
    }

    /// Maildir++: one negative line in `maildirsize`, if the mailbox has that file. Best effort: readers recount when it disagrees.
    fn tell_quota(&self, maildir: &OwnedFd) {
        if self.files == 0 {
            return;
        }
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        if let Ok(fd) = rustix::fs::openat(maildir, "maildirsize", flags, Mode::empty()) {
            // One write: lines of several programs must not mix.
            let line = format!("-{} -{}\n", self.bytes, self.files);
            let _ = File::from(fd).write_all(line.as_bytes());
        }
    }
}

/// `new/NAME` becomes `cur/NAME:2,` unless it is gone or the name is taken.
fn mark_seen(maildir: &OwnedFd, file_name: &[u8]) {
    let (Ok(new), Ok(cur)) = (files::open_part(maildir, "new"), files::open_part(maildir, "cur")) else {
        return;
    };
    let mut target = name::unique(file_name).to_vec();
    target.extend_from_slice(b":2,");
    let (from, to) = (OsStr::from_bytes(file_name), OsStr::from_bytes(&target));
    let no_replace = rustix::fs::RenameFlags::NOREPLACE;
    let renamed = rustix::fs::renameat_with(&new, from, &cur, to, no_replace);
    if let Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) = renamed {
        // A file system without that flag (NFS): names are unique, so plain rename replaces nothing.
        let _ = rustix::fs::renameat(&new, from, &cur, to);
    }
}
