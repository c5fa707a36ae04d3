//! How full a mailbox is: `maildirsize` of Maildir++, read, counted anew and appended to as Courier and vpopmail do, and the place that a message
//! takes before it is written. Called by every delivery into a mailbox with a quota, and by the administration; blocking. Other programs write
//! the file too, so nothing in it is trusted longer than a quarter of an hour. Never reads a clock, never delivers, never follows a symbolic link.
//!
//! Two locks, both flock(2) on directories that are there anyway: the Maildir's for the moment in which the sum is read and the message's line is
//! added, and its `tmp`'s, shared, as long as that message is on its way. Who counts files takes the second alone: what has a line in
//! `maildirsize` is then a file, or has taken its line back. So deliveries never add up to more than the quota, in any number of processes.

mod count;
mod size_file;

use postino_types::account::{Quota, Usage};
use rustix::fs::{FlockOperation, Mode, OFlags};
use size_file::SizeFile;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The sum is believed this long; afterwards the files are counted.
const BELIEVED: Duration = Duration::from_secs(15 * 60);
/// Longest wait for another delivery into the mailbox.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// Between two tries for a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(1);
/// The file whose modification time is the last warning's.
const WARNED: &str = "quotawarn";
/// Between two warnings.
const WARNED_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Counts that were disturbed by somebody else's change before one is taken as it is.
const COUNTS_MAX: u32 = 3;

/// A message that wants into a mailbox.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What the mailbox may hold.
    pub quota: Quota,
    /// Bytes that count against the quota: the message as it came.
    pub message_bytes: u64,
    /// Bytes of the file, with the lines that delivery adds.
    pub file_bytes: u64,
    /// Now.
    pub now: SystemTime,
}

/// Is there room?
#[derive(Debug)]
pub enum Room {
    /// Yes: the message has its place.
    Reserved(Reservation),
    /// No.
    Full,
}

/// Room, and how full the mailbox was before.
#[derive(Debug)]
pub struct Judged {
    /// The answer.
    pub room: Room,
    /// What was there before the message.
    pub before: Usage,
}

/// The place of one message. Dropped, it is given back.
#[derive(Debug)]
pub struct Reservation {
    maildir: OwnedFd,
    /// Held until the message is there: nobody counts files meanwhile.
    _in_flight: Option<OwnedFd>,
    taken: Option<Usage>,
}

impl Reservation {
    /// The message is in the mailbox.
    pub fn keep(mut self) {
        self.taken = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(Usage { bytes, messages }) = self.taken {
            // If this fails the sum is too high for a quarter of an hour, then files are counted.
            let _ = size_file::append(&self.maildir, Usage { bytes: bytes.saturating_neg(), messages: messages.saturating_neg() });
        }
    }
}

/// Takes room for a message, if there is. The Maildir must be there.
///
/// # Errors
/// Those of the system calls, `TimedOut` when the mailbox is locked all the time; all temporary.
pub fn reserve(maildir: &Path, wanted: Wanted) -> io::Result<Judged> {
    let mailbox = Mailbox::open(maildir)?;
    let more = Usage { bytes: signed(wanted.message_bytes), messages: 1 };
    let (mut before, sure) = mailbox.usage(wanted.quota, wanted.now)?;
    if wanted.quota.is_exceeded_by(before.plus(more)) {
        if sure == Sure::No {
            before = mailbox.recount(wanted.quota)?;
        }
        if wanted.quota.is_exceeded_by(before.plus(more)) {
            return Ok(Judged { room: Room::Full, before });
        }
    }
    let in_flight = mailbox.in_flight()?;
    let taken = Usage::message(wanted.file_bytes);
    size_file::append(&mailbox.directory, taken)?;
    // The others may go on; what is in flight stays marked.
    rustix::fs::flock(&mailbox.directory, FlockOperation::Unlock).or_else(without_locks)?;
    Ok(Judged { room: Room::Reserved(Reservation { maildir: mailbox.directory, _in_flight: in_flight, taken: Some(taken) }), before })
}

/// Adds a message that is written whatever the quota says (a warning, a notice to all) to the sum, where there is one.
///
/// # Errors
/// Those of the system calls.
pub fn note(maildir: &Path, file_bytes: u64) -> io::Result<()> {
    size_file::append(&open_directory(maildir)?, Usage::message(file_bytes))
}

/// May the user be warned now? True at most once a day: the day is the modification time of the empty file `quotawarn`, which this call sets.
///
/// # Errors
/// Those of the system calls.
pub fn warning_is_due(maildir: &Path, now: SystemTime) -> io::Result<bool> {
    let directory = open_directory(maildir)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&directory, WARNED, flags, Mode::from_raw_mode(0o600)) {
        Ok(fd) => return File::from(fd).set_modified(now).map(|()| true),
        Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(stamp) = open_to_append(&directory, WARNED)? else { return Ok(false) };
    // One of those who come at the same time.
    match rustix::fs::flock(&stamp, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        other => other.or_else(without_locks)?,
    }
    let due = now.duration_since(stamp.metadata()?.modified()?).is_ok_and(|age| age >= WARNED_EVERY);
    if due {
        stamp.set_modified(now)?;
    }
    Ok(due)
}

/// How full the mailbox is by the file alone: one read, no lock, no counting. `None`: the file does not tell (it is missing, old, or another
/// quota's).
///
/// # Errors
/// Those of the system calls.
pub fn known_usage(maildir: &Path, quota: Quota, now: SystemTime) -> io::Result<Option<Usage>> {
    let directory = match open_directory(maildir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let file = SizeFile::read(&directory)?.filter(|file| file.quota == quota && !is_old(file, now));
    Ok(file.map(|file| file.usage))
}

/// How full the mailbox is; counts the files when the sum is not to be believed.
///
/// # Errors
/// As [`reserve`].
pub fn usage(maildir: &Path, quota: Quota, now: SystemTime) -> io::Result<Usage> {
    Mailbox::open(maildir)?.usage(quota, now).map(|(usage, _)| usage)
}

/// The quota has been set: counts the files and writes `maildirsize` anew, or removes it when there is no quota any more.
///
/// # Errors
/// As [`reserve`].
pub fn set(maildir: &Path, quota: Quota) -> io::Result<()> {
    let mailbox = Mailbox::open(maildir)?;
    if quota.is_none() { size_file::remove(&mailbox.directory) } else { mailbox.recount(quota).map(drop) }
}

/// Counts the files without touching `maildirsize`: for a mailbox without a quota.
///
/// # Errors
/// Those of the system calls.
pub fn counted(maildir: &Path) -> io::Result<Usage> {
    count::all(&open_directory(maildir)?).map(|counted| counted.usage)
}

fn is_old(file: &SizeFile, now: SystemTime) -> bool {
    // A time to come is believed: clocks of other hosts differ.
    now.duration_since(file.modified).is_ok_and(|age| age >= BELIEVED)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// May the sum be wrong?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sure {
    /// The files were counted, and nothing was added since.
    Yes,
    /// It was added up.
    No,
}

/// A locked mailbox.
#[derive(Debug)]
struct Mailbox {
    directory: OwnedFd,
}

impl Mailbox {
    fn open(maildir: &Path) -> io::Result<Self> {
        let directory = open_directory(maildir)?;
        lock(&directory, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { directory })
    }

    fn usage(&self, quota: Quota, now: SystemTime) -> io::Result<(Usage, Sure)> {
        match SizeFile::read(&self.directory)? {
            Some(file) if file.quota == quota && !is_old(&file, now) => Ok((file.usage, if file.lines > 1 { Sure::No } else { Sure::Yes })),
            _ => Ok((self.recount(quota)?, Sure::Yes)),
        }
    }

    /// Counts the files and writes the sum. What has a line in the file now is waited for.
    fn recount(&self, quota: Quota) -> io::Result<Usage> {
        let alone = self.tmp()?;
        if let Some(tmp) = &alone {
            lock(tmp, FlockOperation::NonBlockingLockExclusive)?;
        }
        for _ in 0..COUNTS_MAX {
            let counted = count::all(&self.directory)?;
            size_file::replace(&self.directory, quota, counted.usage)?;
            if counted.is_undisturbed(&self.directory) {
                return Ok(counted.usage);
            }
        }
        // Somebody changes the mailbox all the time: this number will do now, and the next delivery counts again.
        let counted = count::all(&self.directory)?;
        size_file::remove(&self.directory)?;
        Ok(counted.usage)
    }

    /// The mark that a message is on its way; `None` where there is no `tmp`.
    fn in_flight(&self) -> io::Result<Option<OwnedFd>> {
        let tmp = self.tmp()?;
        if let Some(tmp) = &tmp {
            lock(tmp, FlockOperation::NonBlockingLockShared)?;
        }
        Ok(tmp)
    }

    fn tmp(&self) -> io::Result<Option<OwnedFd>> {
        match rustix::fs::openat(&self.directory, "tmp", DIRECTORY, Mode::empty()) {
            Ok(tmp) => Ok(Some(tmp)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// How directories are opened.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
}

/// Waits for a lock, a bounded time. A file system without locks (some NFS) is worked on without.
fn lock(directory: impl AsFd, how: FlockOperation) -> io::Result<()> {
    let mut left = LOCK_WAIT;
    loop {
        match rustix::fs::flock(&directory, how) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if left.is_zero() => return Err(io::Error::from(io::ErrorKind::TimedOut)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                std::thread::sleep(LOCK_PAUSE);
                left = left.saturating_sub(LOCK_PAUSE);
            }
            Err(error) => return without_locks(error).map_err(Into::into),
        }
    }
}

/// No locks here is no error.
fn without_locks(error: rustix::io::Errno) -> Result<(), rustix::io::Errno> {
    use rustix::io::Errno;
    if matches!(error, Errno::BADF | Errno::NOLCK | Errno::OPNOTSUPP) { Ok(()) } else { Err(error) }
}

/// Opens a file of the Maildir for adding to it.
fn open_to_append(directory: &OwnedFd, name: &str) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd)).filter(|file| file.metadata().is_ok_and(|found| found.is_file()))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
