//! Another account for the worker: what the old one owned in `queue/` and `tls/` becomes the new one's. Called by `prepare` as root before anything is
//! started; never touches a mailbox, another account's file, or anything through a link.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use std::io;
use std::path::Path;

/// `queue/body/x/file` is the deepest that there is.
const DEPTH_MAX: u32 = 4;
/// What the engine makes in `queue/`; an older mailer's files beside it stay as they are.
const QUEUE: [&str; 6] = ["queue.db", "queue.db-wal", "queue.db-shm", "reserve", "body", "drop"];
const TLS: [&str; 4] = ["cert.pem", "key.pem", "ca.pem", "ca-key.pem"];

/// From whom to whom.
#[derive(Clone, Copy)]
struct Change {
    from: (u32, u32),
    to: (u32, u32),
}

/// Does it when the queue's database is another account's.
pub(super) fn hand_over(home: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let queue = rustix::fs::open(home.join("queue"), flags, Mode::empty())?;
    let Ok(database) = rustix::fs::statat(&queue, "queue.db", AtFlags::SYMLINK_NOFOLLOW) else { return Ok(()) };
    if database.st_uid == uid || database.st_uid == 0 {
        return Ok(());
    }
    let change = Change { from: (database.st_uid, database.st_gid), to: (uid, gid) };
    for name in QUEUE {
        change.one(&queue, name.as_ref(), DEPTH_MAX)?;
    }
    // qmailr enters this one by its group.
    Change { from: (database.st_uid, u32::MAX), ..change }.one(&queue, "lock".as_ref(), DEPTH_MAX)?;
    match rustix::fs::open(home.join("tls"), flags, Mode::empty()) {
        Ok(tls) => TLS.iter().try_for_each(|name| change.one(&tls, name.as_ref(), DEPTH_MAX)),
        Err(_) => Ok(()),
    }
}

impl Change {
    fn one(self, folder: impl AsFd, name: &std::ffi::OsStr, depth: u32) -> io::Result<()> {
        // What is looked at is then what is changed: a name may lead elsewhere a moment later.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(held) = rustix::fs::openat(folder, name, flags, Mode::empty()) else { return Ok(()) };
        let stat = rustix::fs::fstat(&held)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        // A second name could be a stranger's file.
        if kind != FileType::Directory && (kind != FileType::RegularFile || stat.st_nlink != 1) {
            return Ok(());
        }
        if kind == FileType::Directory && depth > 0 {
            self.below(&held, depth - 1)?;
        }
        let uid = (stat.st_uid == self.from.0).then(|| Uid::from_raw(self.to.0));
        let gid = (stat.st_gid == self.from.1).then(|| Gid::from_raw(self.to.1));
        if uid.is_some() || gid.is_some() {
            rustix::fs::fchown(&held, uid, gid)?;
            // chown takes the set-group-id bit of the drop directory away on some systems.
            rustix::fs::fchmod(&held, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        }
        Ok(())
    }

    fn below(self, folder: &OwnedFd, depth: u32) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                self.one(folder, name, depth)?;
            }
        }
        Ok(())
    }
}
