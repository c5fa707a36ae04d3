//! What waits in a Maildir for one prefix. Called by maildirserial, serialsmtp and the bounce; never changes a message.

use crate::maildir;
use postino_types::address::ReversePath;
use rustix::fs::{Mode, OFlags};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Most files given to one run of the client.
const FILES_MAX: usize = 10_000;
/// Longest of the two lines at a file's start.
const LINE_BYTES_MAX: u64 = 8192;

/// A waiting file: `new/…` or `cur/…`.
pub(super) type Name = Vec<u8>;

/// The two lines at the start of a message that qmail-local delivered, and the rest.
pub(super) struct Waiting {
    /// Between the angle brackets, as it goes on the wire.
    pub(super) return_path: Vec<u8>,
    /// As qmail-local wrote it.
    pub(super) delivered_to: Vec<u8>,
    /// The message behind both lines.
    pub(super) rest: BufReader<File>,
}

/// The path of a file in the Maildir.
pub(super) fn path(dir: &Path, name: &[u8]) -> PathBuf {
    dir.join(OsString::from_vec(name.to_vec()))
}

/// Opens a regular file; a link planted in the Maildir leads nowhere. `None` when the two lines are not there.
pub(super) fn open(path: &Path) -> io::Result<Option<Waiting>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut rest = BufReader::new(file);
    let (first, second) = (line(&mut rest)?, line(&mut rest)?);
    let return_path = first.strip_prefix(b"Return-Path: <").and_then(|rest| rest.strip_suffix(b">"));
    let delivered_to = second.strip_prefix(b"Delivered-To: ");
    Ok(return_path.zip(delivered_to).map(|(from, to)| Waiting { return_path: from.to_vec(), delivered_to: to.to_vec(), rest }))
}

fn line(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or_default())
}

/// An address of Return-Path without its quotes.
pub(super) fn unquoted(path: &[u8]) -> Vec<u8> {
    match postino_smtp::path::reverse_path(&[b"<", path, b">"].concat()) {
        Ok((ReversePath::Address(address), _)) => address.as_bytes().to_vec(),
        _ => path.to_vec(),
    }
}

/// Files for `prefix` that are not in `done`, oldest first.
pub(super) fn list(dir: &Path, prefix: &[u8], done: &HashSet<Name>) -> io::Result<Vec<Name>> {
    let mut found = Vec::new();
    for folder in ["new", "cur"] {
        maildir::each_file(dir, folder, &mut |file, _| {
            let name = file.as_os_str().as_bytes().to_vec();
            if done.contains(&name) {
                return;
            }
            // Another reader may have taken it meanwhile.
            let Ok(Some(waiting)) = open(&path(dir, &name)) else { return };
            let arrived = waiting.rest.get_ref().metadata().and_then(|metadata| metadata.modified());
            if let (true, Ok(arrived)) = (waiting.delivered_to.starts_with(prefix), arrived) {
                found.push((arrived, name));
            }
        })?;
    }
    found.sort();
    found.truncate(FILES_MAX);
    Ok(found.into_iter().map(|(_, name)| name).collect())
}
