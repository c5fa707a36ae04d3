//! `lastauth`: who logged in last, from where; its time stamp is the time. Called after a granted login, off the hot path, best effort:
//! a login never waits for it and never fails by it.

use crate::kept::Kept;
use postino_ports::accounts::LastLogin;
use std::collections::HashMap;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// A login from the same address is written down once in this time.
const WRITTEN_EVERY: Duration = Duration::from_secs(60);
/// Accounts remembered.
const ENTRIES_MAX: usize = 10_000;
/// Writes at once; more logins than that at one moment are not written down.
const WRITES_MAX: usize = 4;

/// What was written when.
#[derive(Debug)]
pub(crate) struct LastLogins {
    written: Mutex<HashMap<PathBuf, (IpAddr, Duration)>>,
    writes: Arc<Semaphore>,
}

impl LastLogins {
    pub(crate) fn new() -> Self {
        Self { written: Mutex::default(), writes: Arc::new(Semaphore::new(WRITES_MAX)) }
    }

    /// Tells the keeper of the account with this address, else writes the file in `home`; a blocking thread, if it is news.
    pub(crate) fn note(&self, kept: Option<(Arc<Kept>, String)>, home: &Path, peer: IpAddr, now: Duration) {
        if !self.is_news(home, peer, now) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.writes).try_acquire_owned() else { return };
        let path = home.join("lastauth");
        tokio::task::spawn_blocking(move || {
            let done = match kept {
                None => write(&path, peer).map_err(|error| error.to_string()),
                Some(kept) => tell(&kept, peer),
            };
            if let Err(error) = done {
                tracing::debug!(path = %path.display(), %error, "lastauth not written");
            }
            drop(permit);
        });
    }

    fn is_news(&self, home: &Path, peer: IpAddr, now: Duration) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if written.get(home).is_some_and(|(from, at)| *from == peer && now < at.saturating_add(WRITTEN_EVERY)) {
            return false;
        }
        if written.len() >= ENTRIES_MAX {
            written.clear();
        }
        written.insert(home.to_path_buf(), (peer, now));
        true
    }
}

/// Tells whoever keeps the logins.
fn tell((kept, address): &(Arc<Kept>, String), peer: IpAddr) -> Result<(), String> {
    let (name, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let at = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let login = LastLogin { address: peer.to_canonical().to_string(), at };
    kept.keepers.logins.note(domain, name, &login).map_err(|error| error.to_string())
}

/// In place, as vpopmail does: a torn `lastauth` hurts nobody, and no new name appears beside the mail.
fn write(path: &Path, peer: IpAddr) -> std::io::Result<()> {
    // Nor does it wait at a pipe that somebody put there: few threads write these files.
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(path)?;
    file.write_all(peer.to_canonical().to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_is_another_address_or_a_minute_later() {
        let last = LastLogins::new();
        let (home, one, two) = (Path::new("/d/u"), IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let at = Duration::from_secs;
        assert!(last.is_news(home, one, at(0)));
        assert!(!last.is_news(home, one, at(59)));
        assert!(last.is_news(home, one, at(60)));
        assert!(last.is_news(home, two, at(61)));
    }

    #[test]
    fn writes_the_plain_address_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lastauth");
        write(&path, "::ffff:192.0.2.33".parse().unwrap()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"192.0.2.33");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(dir.path().join("victim"), &path).unwrap();
        assert!(write(&path, one()).is_err());
        assert!(!dir.path().join("victim").try_exists().unwrap());
        std::fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert!(write(&path, one()).is_err(), "at a pipe it does not wait");
    }

    fn one() -> IpAddr {
        IpAddr::from([127, 0, 0, 1])
    }
}
