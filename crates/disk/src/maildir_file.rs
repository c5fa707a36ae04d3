//! One message into a Maildir, durable when it returns: tmp/ written and synced, renamed into new/ without overwriting, new/ synced.
//! Called by `local` in process and by qmail-local as the user; blocking. Never makes a mailbox, never touches what is there.

use crate::file::unique_suffix;
use postino_ports::disk::{Disk, DiskFile};
use std::io;
use std::path::Path;

/// Where a message goes.
#[derive(Debug, Clone, Copy)]
pub struct MaildirFile<'a> {
    /// The Maildir (holds tmp/, new/, cur/).
    pub maildir: &'a Path,
    /// Its name in new/: no `/`, no leading dot. The same for every attempt of one delivery (M-ONCE).
    pub name: &'a str,
    /// Where an earlier attempt's file is looked for.
    pub earlier: Earlier,
}

/// Where to look for what an earlier attempt left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Earlier {
    /// Only in new/, which costs nothing: the rename itself tells. For first attempts.
    InNew,
    /// In cur/ too, under any flags (lists the directory): for repeated attempts, since a reader may have moved the file.
    InNewAndCur,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// The message is in new/ now.
    Now,
    /// An earlier attempt has put it there.
    AlreadyThere,
}

/// Names tried in tmp/ before giving up.
const NAMES_TRIED_MAX: u32 = 100;

/// Delivers durably. `write` puts the whole message into the file; it may be called once only.
///
/// # Errors
/// Those of `write` and of the system calls, all to be taken as temporary (`NotFound`: there is no such Maildir). After an error the message
/// is not in new/ unless removing it failed too; a repeated delivery with the same name is harmless either way.
pub fn deliver(
    disk: &dyn Disk,
    target: MaildirFile<'_>,
    write: &mut dyn FnMut(&mut dyn DiskFile) -> io::Result<()>,
) -> io::Result<Delivered> {
    if target.name.is_empty() || target.name.starts_with('.') || target.name.contains(['/', '\0']) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let new = target.maildir.join("new");
    if target.earlier == Earlier::InNewAndCur && is_in_cur(disk, target)? {
        return Ok(Delivered::AlreadyThere);
    }
    let tmp = target.maildir.join("tmp");
    // A name of its own for each attempt: two attempts at once (a child that was given up but lives on) must not write one file.
    let mut created = None;
    for _ in 0..NAMES_TRIED_MAX {
        let path = tmp.join(format!("{}.{}", target.name, unique_suffix()));
        match disk.create(&path, 0o600) {
            Ok(file) => {
                created = Some((path, file));
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    let (temporary, file) = created.ok_or_else(|| io::Error::from(io::ErrorKind::AlreadyExists))?;
    let result = fill(file, write).and_then(|()| publish(disk, &temporary, &new, target.name));
    if !matches!(result, Ok(Delivered::Now)) {
        drop(disk.remove(&temporary));
    }
    result
}

/// Did an earlier attempt put the message there? Durable when it says so. A first attempt looks in new/ only.
///
/// # Errors
/// Those of reading and syncing the directories.
pub fn is_there(disk: &dyn Disk, target: MaildirFile<'_>) -> io::Result<bool> {
    let new = target.maildir.join("new");
    if disk.has(&new.join(target.name))? {
        return disk.sync_dir(&new).map(|()| true);
    }
    if target.earlier == Earlier::InNewAndCur { is_in_cur(disk, target) } else { Ok(false) }
}

fn fill(mut file: Box<dyn DiskFile>, write: &mut dyn FnMut(&mut dyn DiskFile) -> io::Result<()>) -> io::Result<()> {
    write(&mut *file)?;
    file.sync()
}

/// The file is durable; now its name. A crash before the rename leaves debris in tmp/; after it, a whole message.
fn publish(disk: &dyn Disk, temporary: &Path, new: &Path, name: &str) -> io::Result<Delivered> {
    let path = new.join(name);
    let delivered = match disk.rename_new(temporary, &path) {
        Ok(()) => Delivered::Now,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Delivered::AlreadyThere,
        Err(error) => return Err(error),
    };
    if let Err(error) = disk.sync_dir(new) {
        // The name may be on the disk or not, and asking again may lie: take it back, so that the next attempt makes a new one.
        if delivered == Delivered::Now {
            drop(disk.remove(&path));
        }
        return Err(error);
    }
    Ok(delivered)
}

fn is_in_cur(disk: &dyn Disk, target: MaildirFile<'_>) -> io::Result<bool> {
    let cur = target.maildir.join("cur");
    let name_of = |file: &str| file.split(':').next() == Some(target.name);
    let found = disk.list(&cur)?.iter().any(|file| name_of(file));
    if found {
        // The reader that moved it need not have synced; what we call delivered must last.
        disk.sync_dir(&cur)?;
    }
    Ok(found)
}
