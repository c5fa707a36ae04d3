//! Roaming users (POP before SMTP): who has logged in from an address may send mail to other hosts from there for a while. Opened addresses are
//! kept by a keeper; tcpserver sees them in `tcp.smtp.cdb`, made here from the administrator's rules and the rows. Called by vchkpw, clearopensmtp, the
//! running server and `postino relay`. Decides nothing about a login: whoever calls has seen it succeed.

use crate::admin::{AdminError, acting_for, lock_file};
use crate::keepers::{OpenSmtp, relay_rule};
use postino_control::tcprules::Rules;
use postino_ports::accounts::{AccountsError, Relays};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Why relaying was not opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum RoamingError {
    /// The keeper of the rows.
    #[error(transparent)]
    Rows(#[from] AccountsError),
    /// The administrator's rules are none.
    #[error("{file}: unable to parse this line: {line}")]
    Rules {
        /// Which file.
        file: PathBuf,
        /// The line, printable.
        line: String,
    },
    /// The compiled rules cannot be replaced: made by other hands.
    #[error("unable to replace {file}: {source}{advice}")]
    Replace {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do about it, with what leads to it.
        advice: String,
    },
    /// A file cannot be read, or a directory not made.
    #[error("{file}: {source}")]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The work was broken off.
    #[error("interrupted")]
    Interrupted,
    /// Locks and rights.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// More open addresses than that are no roaming users.
pub const ROWS_MAX: usize = crate::keepers::RELAY_ROWS_MAX;

/// The rows with the rules that are made from them.
#[derive(Debug, Clone)]
pub struct Roaming {
    relays: Arc<dyn Relays>,
    etc: PathBuf,
    rules: PathBuf,
    keep: Duration,
}

impl Roaming {
    /// `rules`: the administrator's own, `etc/tcp.smtp` unless named. `keep`: how long an address stays open.
    #[must_use]
    pub fn new(relays: Arc<dyn Relays>, vpopmail_home: &Path, rules: Option<&Path>, keep: Duration) -> Self {
        let etc = vpopmail_home.join("etc");
        let rules = rules.map_or_else(|| etc.join("tcp.smtp"), Path::to_path_buf);
        Self { relays, etc, rules, keep }
    }

    /// With rows in vpopmail's own file.
    #[must_use]
    pub fn in_files(vpopmail_home: &Path, rules: Option<&Path>, keep: Duration) -> Self {
        Self::new(Arc::new(OpenSmtp::new(vpopmail_home)), vpopmail_home, rules, keep)
    }

    /// Makes `etc` in vpopmail's home when nothing has made it yet (a home without vpopmail's history), as the home's owner.
    ///
    /// # Errors
    /// The owner cannot be taken on, or the directory cannot be made.
    pub fn prepare(&self) -> Result<(), RoamingError> {
        if self.etc.is_dir() {
            return Ok(());
        }
        let acting = acting_for(self.etc.parent().unwrap_or(Path::new("/")))?;
        let made = match std::fs::create_dir(&self.etc) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(RoamingError::Read { file: self.etc.clone(), source: error }),
            _ => Ok(()),
        };
        drop(acting);
        made
    }

    /// The compiled rules, beside their text.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        let mut name = self.rules.clone().into_os_string();
        name.push(".cdb");
        name.into()
    }

    /// Opens, or moves the time on. The rules are compiled only when the address is new. Says whether it was.
    ///
    /// # Errors
    /// See [`RoamingError`]; the row may be there although the rules are not compiled yet.
    pub fn open(&self, address: IpAddr, now: i64) -> Result<bool, RoamingError> {
        let is_new = self.relays.open(address, now)?;
        // A crash between row and rules: the next login of the address finds it known, and clearopensmtp compiles in any case.
        if is_new {
            self.compile()?;
        }
        Ok(is_new)
    }

    /// The addresses that are open at `now`, with the times of their last logins. What claims to come from the future is a wrong clock's work.
    ///
    /// # Errors
    /// The keeper's.
    pub fn open_at(&self, now: i64) -> Result<Vec<(IpAddr, i64)>, RoamingError> {
        let (from, to) = (self.until(now), now.saturating_add(CLOCK_SLACK_S));
        let mut rows = self.relays.list()?;
        rows.retain(|(_, at)| *at > from && *at <= to);
        Ok(rows)
    }

    /// Are there rows whose time has run out?
    ///
    /// # Errors
    /// The keeper's.
    pub fn has_run_out(&self, now: i64) -> Result<bool, RoamingError> {
        Ok(self.relays.list()?.iter().any(|(_, at)| *at <= self.until(now)))
    }

    /// Forgets those whose time has run out, and compiles the rules always. Says how many went.
    ///
    /// # Errors
    /// See [`RoamingError`].
    pub fn clear(&self, now: i64) -> Result<u64, RoamingError> {
        let count = self.relays.clear(self.until(now))?;
        self.compile()?;
        Ok(count)
    }

    /// Forgets one. Says whether it was there.
    ///
    /// # Errors
    /// See [`RoamingError`].
    pub fn close(&self, address: IpAddr) -> Result<bool, RoamingError> {
        let was_there = self.relays.close(address)?;
        if was_there {
            self.compile()?;
        }
        Ok(was_there)
    }

    /// Rows of this time and before have run out at `now`.
    #[must_use]
    pub fn until(&self, now: i64) -> i64 {
        now.saturating_sub(i64::try_from(self.keep.as_secs()).unwrap_or(i64::MAX))
    }

    /// The administrator's rules first: where both name an address, his word is found first. One at a time, so the last one has seen all rows.
    fn compile(&self) -> Result<(), RoamingError> {
        let acting = acting_for(&self.etc)?;
        let lock = lock_file(&self.etc.join("open-smtp.lock"))?;
        let mut text = match std::fs::read(&self.rules) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(RoamingError::Read { file: self.rules.clone(), source }),
        };
        if text.last().is_some_and(|&last| last != b'\n') {
            text.push(b'\n');
        }
        for (address, _) in self.relays.list()? {
            text.extend_from_slice(relay_rule(address).as_bytes());
            text.push(b'\n');
        }
        let rules = Rules::parse(&text).map_err(|error| RoamingError::Rules { file: self.rules.clone(), line: error.text })?;
        let compiled = self.compiled();
        let bytes = rules.to_cdb().map_err(AdminError::from)?;
        // For everybody's eyes: the SMTP server's user reads it.
        postino_disk::replace_file(&compiled, &bytes, 0o644).map_err(|source| self.by_other_hands(source))?;
        drop((lock, acting));
        Ok(())
    }

    fn by_other_hands(&self, source: io::Error) -> RoamingError {
        let file = self.compiled();
        let folder = file.parent().unwrap_or(Path::new("/"));
        let advice = match std::fs::metadata(folder) {
            Ok(found) if source.kind() == io::ErrorKind::PermissionDenied => format!(
                ": it, or its directory {} (owner {}:{}, mode {:o}), was made by another user and cannot be written by uid {}; give both to vpopmail: chown vpopmail:vchkpw {} {}",
                folder.display(),
                found.uid(),
                found.gid(),
                found.mode() & 0o7777,
                rustix::process::geteuid().as_raw(),
                folder.display(),
                file.display()
            ),
            _ => String::new(),
        };
        RoamingError::Replace { file, source, advice }
    }
}

/// Clocks of two programs on one machine differ by no more.
const CLOCK_SLACK_S: i64 = 300;

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "RELAYCLIENT";

    fn relays(roaming: &Roaming, ip: &str) -> bool {
        let bytes = std::fs::read(roaming.compiled()).unwrap();
        let cdb = postino_control::cdb::Cdb::new(bytes.as_slice()).unwrap();
        let verdict = Rules::from_cdb(&cdb).unwrap().lookup(ip.parse().unwrap(), None, None);
        verdict.is_some_and(|verdict| verdict.variable(RULE).is_some())
    }

    fn world() -> (tempfile::TempDir, Roaming) {
        let dir = tempfile::tempdir().unwrap();
        let roaming = Roaming::in_files(dir.path(), None, Duration::from_secs(180 * 60));
        roaming.prepare().unwrap();
        roaming.prepare().unwrap();
        std::fs::write(dir.path().join("etc/tcp.smtp"), "192.0.2.9:deny\n:allow").unwrap();
        (dir, roaming)
    }

    #[test]
    fn a_login_opens_and_time_closes() {
        let (dir, roaming) = world();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(roaming.open(ip("192.0.2.1"), 1000).unwrap());
        assert!(relays(&roaming, "192.0.2.1") && !relays(&roaming, "192.0.2.2"));
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
        let before = inode(&roaming.compiled());
        assert!(!roaming.open(ip("192.0.2.1"), 2000).unwrap());
        assert_eq!(inode(&roaming.compiled()), before, "compiled only for a new address");
        assert!(roaming.open(ip("2001:db8::1"), 3000).unwrap());
        assert!(relays(&roaming, "2001:db8::1") && !relays(&roaming, "2001:db8::2"), "IPv6: exactly the address");
        assert!(roaming.open(ip("192.0.2.9"), 3000).unwrap());
        assert!(!relays(&roaming, "192.0.2.9"), "the administrator's word about an address is found first");
        assert_eq!(roaming.open_at(2000 + 10_799).unwrap().len(), 3);
        assert_eq!(roaming.open_at(2000 + 10_800).unwrap().len(), 2);
        assert_eq!(roaming.open_at(0).unwrap(), [], "rows from the future count for nothing");
        assert_eq!(roaming.clear(2000 + 10_800).unwrap(), 1);
        assert!(!relays(&roaming, "192.0.2.1") && relays(&roaming, "2001:db8::1"));
        assert!(roaming.close(ip("2001:db8::1")).unwrap() && !relays(&roaming, "2001:db8::1"));
        let mode = std::fs::metadata(roaming.compiled()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o644, "the SMTP server's user reads it");
        let names: Vec<_> = std::fs::read_dir(dir.path().join("etc")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 4, "no temporary file is left: {names:?}");
    }

    #[test]
    fn broken_rules_keep_the_old_ones() {
        let (dir, roaming) = world();
        roaming.clear(1).unwrap();
        let before = std::fs::read(roaming.compiled()).unwrap();
        std::fs::write(dir.path().join("etc/tcp.smtp"), "10.:alow\n").unwrap();
        let error = roaming.open(IpAddr::from([192, 0, 2, 1]), 5).unwrap_err();
        assert!(error.to_string().ends_with("unable to parse this line: 10.:alow"), "{error}");
        assert_eq!(std::fs::read(roaming.compiled()).unwrap(), before);
    }

    #[test]
    fn rules_made_by_other_hands_are_named() {
        let (_dir, roaming) = world();
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let text = roaming.by_other_hands(denied()).to_string();
        assert!(text.starts_with("unable to replace /") && text.contains("tcp.smtp.cdb: permission denied"), "{text}");
        assert!(text.contains("was made by another user") && text.contains("chown vpopmail:vchkpw"), "{text}");
    }
}
