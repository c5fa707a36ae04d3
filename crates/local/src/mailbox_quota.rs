//! A mailbox's quota at delivery, in vpopmail's way: room is taken before the message is written, a full mailbox has its domain's words, and who is
//! nearly full is told so in his mailbox, once a day. Called by the delivery in process and by `vdelivermail`; blocking. Never bounces anything.

use crate::host_name;
use postino_disk::maildir_file::{Delivered, Earlier, MaildirFile, deliver};
use postino_disk::maildir_quota::{self, Reservation, Room, Wanted};
use postino_message::date::with_day;
use postino_ports::disk::Disk;
use postino_types::Time;
use postino_types::account::{Quota, Usage};
use rustix::fs::OFlags;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// From this part of the quota on, in per cent, the user is warned.
const WARNED_FROM_PER_CENT: u64 = 90;
/// Longest text of a domain, bytes.
const TEXT_BYTES_MAX: u64 = 65_536;
/// Longest host part of a file name (vpopmail's number).
const HOST_BYTES_MAX: usize = 32;
/// What a full mailbox says where nobody wrote other words.
const FULL: &str = "user is over quota\n";

/// A mailbox with a quota.
#[derive(Debug)]
pub struct Limited<'a> {
    /// `user@domain`, for the warning's Delivered-To.
    pub address: &'a str,
    /// The Maildir; it is there.
    pub maildir: &'a Path,
    /// What it may hold.
    pub quota: Quota,
    /// The domain's directory: its texts go before those of all domains.
    pub domain: &'a Path,
    /// The directory of all domains.
    pub domains: &'a Path,
}

/// May the message come in?
#[derive(Debug)]
pub enum Admitted {
    /// Yes; the room is given back unless it is kept.
    Room(Reservation),
    /// No, with the words for the sender, as they stand in the file.
    Full(Vec<u8>),
}

/// Takes room for a message of `message_bytes` that will be a file of `file_bytes`, and warns the user.
///
/// # Errors
/// Those of reading and writing the mailbox: temporary.
pub fn admit(disk: &dyn Disk, limited: &Limited<'_>, message_bytes: u64, file_bytes: u64, now: Time) -> io::Result<Admitted> {
    let wanted = Wanted { quota: limited.quota, message_bytes, file_bytes, now: system_time(now) };
    let judged = maildir_quota::reserve(limited.maildir, wanted)?;
    let full = matches!(judged.room, Room::Full);
    if full || is_nearly_full(limited.quota, judged.before) {
        warn(disk, limited, now)?;
    }
    Ok(match judged.room {
        Room::Reserved(room) => Admitted::Room(room),
        Room::Full => Admitted::Full(text(limited, ".over-quota.msg")?.unwrap_or_else(|| FULL.into())),
    })
}

fn is_nearly_full(quota: Quota, before: Usage) -> bool {
    quota.per_cent(before) >= WARNED_FROM_PER_CENT
}

/// Once a day: a copy of the domain's `.quotawarn.msg`. Without one only the day is noted.
fn warn(disk: &dyn Disk, limited: &Limited<'_>, now: Time) -> io::Result<()> {
    if !maildir_quota::warning_is_due(limited.maildir, system_time(now))? {
        return Ok(());
    }
    let Some(message) = text(limited, ".quotawarn.msg")? else { return Ok(()) };
    let head = format!("Delivered-To: {}\nDate: {}\n", limited.address, with_day(now));
    put(disk, limited.maildir, &[head.as_bytes(), &message].concat(), now)
}

/// Puts one message into a mailbox whatever its quota says, and adds it to the sum: a warning, a notice to everybody.
///
/// # Errors
/// Those of writing the mailbox.
pub fn put(disk: &dyn Disk, maildir: &Path, message: &[u8], now: Time) -> io::Result<()> {
    let bytes = message.len() as u64;
    let name = format!("{},S={bytes}", unique_name(now));
    let target = MaildirFile { maildir, name: &name, earlier: Earlier::InNew };
    match deliver(disk, target, &mut |file| file.write_all(message))? {
        Delivered::Now => maildir_quota::note(maildir, bytes),
        Delivered::AlreadyThere => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
    }
}

/// `TIME.PID.HOST` for the first file of a process, `TIME.PID_N.HOST` for later ones: unlike any other name.
#[must_use]
pub fn unique_name(now: Time) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = match NEXT.fetch_add(1, Ordering::Relaxed) {
        0 => String::new(),
        n => format!("_{n}"),
    };
    let host = host_name::clean();
    format!("{}.{}{number}.{}", now.secs(), std::process::id(), host.get(..HOST_BYTES_MAX).unwrap_or(host))
}

/// The file of this name of the domain, else of all domains; `None`: neither has one.
fn text(limited: &Limited<'_>, name: &str) -> io::Result<Option<Vec<u8>>> {
    for directory in [limited.domain, limited.domains] {
        if let Some(text) = read_text(&directory.join(name))? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// A regular file, at most [`TEXT_BYTES_MAX`] of it. Never waits on a pipe.
fn read_text(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(TEXT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// The directory of the domain that an account's directory lies in: the nearest one above it with the domain's name, else the one above it.
#[must_use]
pub fn domain_directory(home: &Path, address: &str) -> PathBuf {
    let domain = address.rsplit('@').next().unwrap_or_default();
    let above = || home.ancestors().skip(1);
    let named = above().find(|path| path.file_name().is_some_and(|name| name == domain));
    named.or_else(|| above().next()).unwrap_or(home).to_path_buf()
}

fn system_time(now: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(now.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_disk::RealDisk;
    use std::fs;

    struct House {
        root: tempfile::TempDir,
    }

    impl House {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            for part in ["tmp", "new", "cur"] {
                fs::create_dir_all(root.path().join("domains/x.test/0/joe/Maildir").join(part)).unwrap();
            }
            Self { root }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join("domains").join(name)
        }

        fn admit(&self, quota: &str, bytes: u64, day: i64) -> Result<(), String> {
            let (maildir, domains) = (self.path("x.test/0/joe/Maildir"), self.path(""));
            let domain = domain_directory(&self.path("x.test/0/joe"), "joe@x.test");
            let quota = Quota::parse(quota);
            let limited = Limited { address: "joe@x.test", maildir: &maildir, quota, domain: &domain, domains: &domains };
            let now = Time::from_secs(crate::now().secs() + day * 86_400);
            match admit(&RealDisk::new(), &limited, bytes, bytes, now).unwrap() {
                Admitted::Room(room) => {
                    room.keep();
                    Ok(())
                }
                Admitted::Full(text) => Err(String::from_utf8(text).unwrap()),
            }
        }

        fn mails(&self) -> Vec<String> {
            let files = fs::read_dir(self.path("x.test/0/joe/Maildir/new")).unwrap();
            files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
        }
    }

    #[test]
    fn the_domains_words_go_before_everybodys_and_those_before_ours() {
        let house = House::new();
        assert_eq!(house.admit("9S", 10, 0), Err("user is over quota\n".to_owned()));
        fs::write(house.path(".over-quota.msg"), "everybody's\n").unwrap();
        assert_eq!(house.admit("9S", 10, 0), Err("everybody's\n".to_owned()));
        fs::write(house.path("x.test/.over-quota.msg"), "ours").unwrap();
        assert_eq!(house.admit("9S", 10, 0), Err("ours".to_owned()));
        assert!(house.mails().is_empty());
    }

    #[test]
    fn who_is_nearly_full_is_warned_once_a_day() {
        let house = House::new();
        fs::write(house.path("x.test/.quotawarn.msg"), "Subject: full\n\nwarn\n").unwrap();
        assert_eq!(house.admit("1000S", 900, 0), Ok(()));
        assert!(house.mails().is_empty(), "90 % is reached only now");
        assert_eq!(house.admit("1000S", 1, 0), Ok(()));
        assert_eq!(house.admit("1000S", 1000, 0), Err("user is over quota\n".to_owned()));
        let mails = house.mails();
        assert_eq!(mails.len(), 1);
        assert!(mails[0].starts_with("Delivered-To: joe@x.test\nDate: "), "{mails:?}");
        assert!(mails[0].ends_with(" -0000\nSubject: full\n\nwarn\n"), "{mails:?}");
        let sum = fs::read_to_string(house.path("x.test/0/joe/Maildir/maildirsize")).unwrap();
        assert!(sum.contains(&format!("\n{} 1\n", mails[0].len())), "{sum}");
        assert!(house.admit("1000S", 5000, 1).is_err());
        assert_eq!(house.mails().len(), 2, "a day later");
    }

    #[test]
    fn where_a_domain_is() {
        for (home, want) in
            [("/v/domains/x.test/joe", "/v/domains/x.test"), ("/v/domains/x.test/0/joe", "/v/domains/x.test"), ("/a/b", "/a")]
        {
            assert_eq!(domain_directory(Path::new(home), "joe@x.test"), Path::new(want));
        }
    }
}
