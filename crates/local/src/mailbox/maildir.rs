//! One message into one Maildir, on a blocking thread: loop check, quota, missing directories, the durable file. Follows no symbolic link of a
//! stranger: the Maildir and its three directories must be directories of our own uid.

use super::content::Content;
use super::{Admitted, QuotaGate, Size, has_line, line, looping};
use postino_disk::maildir_file::{Delivered, Earlier, MaildirFile, deliver as deliver_file, is_there};
use postino_disk::{create_dir_durable, is_full};
use postino_ports::directory::Mailbox;
use postino_ports::disk::Disk;
use postino_types::{DeliveryOutcome, PermStatus, TempStatus};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where it goes.
#[derive(Debug)]
pub(super) struct Place {
    /// The Maildir.
    pub(super) maildir: PathBuf,
    /// Whose it must be.
    pub(super) uid: u32,
    /// The account, for its quota; `None` for a plain directory.
    pub(super) account: Option<Mailbox>,
}

/// One delivery.
#[derive(Debug)]
pub(super) struct Target {
    /// Where.
    pub(super) place: Place,
    /// File name in `new/`.
    pub(super) name: String,
    /// There may have been an attempt before.
    pub(super) repeated: bool,
    /// The Delivered-To line; a message that has it already is looping.
    pub(super) delivered_to: Vec<u8>,
    /// The message.
    pub(super) content: Content,
}

/// Delivers; total.
pub(super) fn deliver(disk: &dyn Disk, quota: &dyn QuotaGate, target: &Target) -> DeliveryOutcome {
    match has_line(&target.content.prepend, &target.content.body, &target.delivered_to) {
        Ok(true) => return looping(),
        Ok(false) => {}
        Err(error) => return deferred(&error, "read message"),
    }
    match store(disk, quota, target) {
        Ok(None) => DeliveryOutcome::delivered("did 0+0+1\n"),
        Ok(Some(full)) => DeliveryOutcome::failed(PermStatus::MAILBOX_FULL, line(full)),
        Err(error) => deferred(&error, "write to mailbox"),
    }
}

/// `Some`: the mailbox is full, in these words.
fn store(disk: &dyn Disk, quota: &dyn QuotaGate, target: &Target) -> io::Result<Option<String>> {
    let maildir = &target.place.maildir;
    if !is_own(maildir, target.place.uid)? {
        make(maildir)?;
        if !is_own(maildir, target.place.uid)? {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
    }
    let earlier = if target.repeated { Earlier::InNewAndCur } else { Earlier::InNew };
    let file = MaildirFile { maildir, name: &target.name, earlier };
    let size = Size { message_bytes: target.content.message_bytes(), file_bytes: target.content.bytes() };
    let admitted = target.place.account.as_ref().map_or(Ok(Admitted::Free), |mailbox| quota.admit(mailbox, size))?;
    let room = match admitted {
        Admitted::Free => None,
        Admitted::Room(room) => Some(room),
        // An earlier attempt may have filled it with this very message.
        Admitted::Full(text) => return Ok(if is_there(disk, file)? { None } else { Some(text) }),
    };
    // Of a message that was there already the room goes back.
    if let (Delivered::Now, Some(room)) = (deliver_file(disk, file, &mut |file| target.content.write(file))?, room) {
        room.keep();
    }
    Ok(None)
}

/// True when the Maildir, `tmp` and `new` are real directories of `uid`; false when one is missing. What is in such a directory only this uid
/// (and root) can exchange, so the answer still holds when the file is written.
fn is_own(maildir: &Path, uid: u32) -> io::Result<bool> {
    for path in [maildir.join("tmp"), maildir.join("new"), maildir.to_path_buf()] {
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() && found.uid() == uid => {}
            Ok(_) => return Err(io::Error::from(io::ErrorKind::PermissionDenied)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Makes what is missing, durably, as vdelivermail does for an account whose directory was lost.
fn make(maildir: &Path) -> io::Result<()> {
    for part in ["cur", "new", "tmp"] {
        create_dir_durable(&maildir.join(part), 0o700)?;
    }
    Ok(())
}

fn deferred(error: &io::Error, what: &str) -> DeliveryOutcome {
    let (status, code) = if is_full(error) { (TempStatus::FULL, "4.3.1") } else { (TempStatus::SYSTEM, "4.3.0") };
    DeliveryOutcome::deferred(status, format!("Unable to {what}: {}. (#{code})\n", crate::error_text::error_text(error)))
}
