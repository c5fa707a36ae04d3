//! The list of a Maildir at login, and the cleaning of its tmp/. Blocking.

use super::files::{self, Place};
use super::name;
use super::sizes::{FileKey, SizeCache, count};
use postino_ports::maildrop::{DropMessage, MaildropError};
use postino_types::Time;
use rustix::fs::{AtFlags, Stat};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Messages of one session's list: about 20 MB of memory. What is beyond appears when these are deleted.
pub(super) const MESSAGES_MAX: usize = 100_000;
/// Leftovers in tmp/ older than this are removed (maildir(5)).
const TMP_SECONDS_MAX: i64 = 36 * 3600;
/// Files of tmp/ looked at in one login.
const TMP_FILES_MAX: usize = 256;

/// The messages and where each one was seen.
pub(super) struct Listing {
    pub(super) messages: Vec<DropMessage>,
    pub(super) seen: Vec<Seen>,
}

/// A message file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) place: Place,
    pub(super) name: Box<[u8]>,
}

/// Reads new/ and cur/: oldest first, by the time in the name (else the file's), then by name. Sizes come from `,W=` in the name, from
/// the cache, or from reading the file once.
pub(super) fn scan(path: &Path, sizes: &SizeCache) -> Result<Listing, MaildropError> {
    let maildir = files::open_maildir(path)?;
    let part = |place: Place| files::open_part(&maildir, place.directory()).map_err(|e| files::missing(&path.join(place.directory()), e));
    let (new, cur) = (part(Place::New)?, part(Place::Cur)?);
    let found = names(&new, &cur)?;
    let mut rows = Vec::with_capacity(found.len());
    let mut buffer = Vec::new();
    for seen in found {
        let directory = if seen.place == Place::New { &new } else { &cur };
        // A file that another session removed meanwhile, or that is none, is not listed.
        if let Some((seconds, octets)) = measure(directory, &seen.name, sizes, &mut buffer) {
            rows.push((seconds, octets, seen));
        }
    }
    rows.sort_by(|a, b| (a.0, &a.2.name).cmp(&(b.0, &b.2.name)));
    // A UIDL names one message (RFC 1939 7): two files of one unique name are neighbours now, and the second waits for a later session.
    rows.dedup_by(|b, a| name::unique(&a.2.name) == name::unique(&b.2.name));
    let mut listing = Listing { messages: Vec::with_capacity(rows.len()), seen: Vec::with_capacity(rows.len()) };
    for (_, octets, seen) in rows {
        listing.messages.push(DropMessage { octets, uidl: name::uidl(name::unique(&seen.name)) });
        listing.seen.push(seen);
    }
    Ok(listing)
}

/// All message files. A reader may move one from new/ to cur/ between the two readings: it is then found twice and counted once.
fn names(new: &OwnedFd, cur: &OwnedFd) -> Result<Vec<Seen>, MaildropError> {
    let mut found: Vec<Seen> = Vec::new();
    let mut in_new: HashMap<Box<[u8]>, usize> = HashMap::new();
    files::for_each_name(again(new)?, |n| {
        if found.len() < MESSAGES_MAX {
            in_new.insert(name::unique(n).into(), found.len());
            found.push(Seen { place: Place::New, name: n.into() });
        }
    })?;
    files::for_each_name(again(cur)?, |n| {
        let seen = Seen { place: Place::Cur, name: n.into() };
        let in_both = in_new.get(name::unique(n)).copied();
        if let Some(slot) = in_both.and_then(|i| found.get_mut(i)) {
            *slot = seen;
        } else if found.len() < MESSAGES_MAX {
            found.push(seen);
        }
    })?;
    Ok(found)
}

/// Another descriptor of the directory, to be read from its start.
fn again(directory: &OwnedFd) -> Result<OwnedFd, MaildropError> {
    files::open_part(directory, ".").map_err(|e| MaildropError::Io(e.into()))
}

/// Delivery time (seconds) and octets on the wire; `None` when it is no readable message file.
fn measure(directory: &OwnedFd, file_name: &[u8], sizes: &SizeCache, buffer: &mut Vec<u8>) -> Option<(i64, u64)> {
    let unique = name::unique(file_name);
    if let (Some(seconds), Some(octets)) = (name::seconds(unique), name::wire_bytes(unique)) {
        return Some((seconds, octets));
    }
    let stat = rustix::fs::statat(directory, OsStr::from_bytes(file_name), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let key = file_key(&stat)?;
    let seconds = name::seconds(unique).unwrap_or(key.mtime_s);
    if let Some(octets) = name::wire_bytes(unique).or_else(|| sizes.get(key)) {
        return Some((seconds, octets));
    }
    let mut file = files::open_message(directory, file_name).ok()?;
    let octets = count(&mut file, buffer).ok()?;
    sizes.put(key, octets);
    Some((seconds, octets))
}

fn file_key(stat: &Stat) -> Option<FileKey> {
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return None;
    }
    Some(FileKey {
        device: stat.st_dev,
        inode: stat.st_ino,
        bytes: u64::try_from(stat.st_size).ok()?,
        mtime_s: stat.st_mtime,
        mtime_ns: stat.st_mtime_nsec,
    })
}

/// Removes what a crashed delivery left behind 36 hours ago. Troubles are left to the next login.
pub(super) fn clean_tmp(path: &Path, now: Time) {
    let _ = try_clean_tmp(path, now);
}

fn try_clean_tmp(path: &Path, now: Time) -> Result<(), MaildropError> {
    let maildir = files::open_maildir(path)?;
    let tmp = files::open_part(&maildir, "tmp").map_err(io::Error::from)?;
    let mut looked_at: Vec<Box<[u8]>> = Vec::new();
    files::for_each_name(again(&tmp)?, |n| {
        if looked_at.len() < TMP_FILES_MAX {
            looked_at.push(n.into());
        }
    })?;
    for file_name in looked_at {
        let name = OsStr::from_bytes(&file_name);
        let Ok(stat) = rustix::fs::statat(&tmp, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        // The later of both: a delivery that still writes touches mtime, and atime may be off (noatime).
        if now.secs().saturating_sub(stat.st_atime.max(stat.st_mtime)) > TMP_SECONDS_MAX {
            let _ = files::unlink(&tmp, &file_name);
        }
    }
    Ok(())
}
