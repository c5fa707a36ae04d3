//! `etc/open-smtp`: the addresses that may relay since somebody logged in from there, one line each, `IP:allow,RELAYCLIENT="",RBLSMTPD=""`, a tab and
//! the Unix time. Called through the port by roaming and the command line. Never touches the rules that are made from it.

use crate::admin::{acting_for, lock_file};
use postino_ports::accounts::{AccountsError, Relays};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// What an opened address may do, as vpopmail writes it: relay, and not be asked about in block lists.
const GRANT: &str = ":allow,RELAYCLIENT=\"\",RBLSMTPD=\"\"";
/// More rows than that are no roaming users; the oldest go.
pub(crate) const ROWS_MAX: usize = 65_536;
/// Largest file that is read.
const BYTES_MAX: u64 = 16 << 20;

/// The keeper of opened relays in a file.
#[derive(Debug, Clone)]
pub struct OpenSmtp {
    etc: PathBuf,
}

impl OpenSmtp {
    /// In vpopmail's `etc` directory.
    #[must_use]
    pub fn new(vpopmail_home: &Path) -> Self {
        Self { etc: vpopmail_home.join("etc") }
    }

    fn path(&self) -> PathBuf {
        self.etc.join("open-smtp")
    }

    fn read(&self) -> Result<Vec<(IpAddr, i64)>, AccountsError> {
        read_bounded(&self.path()).map(|text| rows(&text)).map_err(|error| trouble(&self.path(), &error))
    }

    /// Under the lock: reads, changes, and writes when `change` says that something is new.
    fn change<T>(&self, change: impl FnOnce(&mut Vec<(IpAddr, i64)>) -> (T, Written)) -> Result<T, AccountsError> {
        let acting = acting_for(&self.etc).map_err(|error| AccountsError::Unavailable { what: error.to_string() })?;
        let lock = lock_file(&self.etc.join("open-smtp.lock")).map_err(|error| AccountsError::Unavailable { what: error.to_string() })?;
        let mut rows = self.read()?;
        let (answer, written) = change(&mut rows);
        if written == Written::Yes {
            postino_disk::replace_file(&self.path(), &text(&rows), 0o600).map_err(|error| trouble(&self.path(), &error))?;
        }
        drop((lock, acting));
        Ok(answer)
    }
}

#[derive(PartialEq, Eq)]
enum Written {
    Yes,
    No,
}

impl Relays for OpenSmtp {
    fn open(&self, address: IpAddr, at: i64) -> Result<bool, AccountsError> {
        self.change(|rows| {
            let address = address.to_canonical();
            let before = rows.len();
            rows.retain(|(known, _)| *known != address);
            let is_new = rows.len() == before;
            if rows.len() >= ROWS_MAX {
                rows.sort_by_key(|(_, at)| *at);
                rows.drain(..=rows.len() - ROWS_MAX);
            }
            rows.push((address, at));
            (is_new, Written::Yes)
        })
    }

    fn list(&self) -> Result<Vec<(IpAddr, i64)>, AccountsError> {
        self.read()
    }

    fn clear(&self, until: i64) -> Result<u64, AccountsError> {
        self.change(|rows| removed(rows, |(_, at)| *at > until))
    }

    fn close(&self, address: IpAddr) -> Result<bool, AccountsError> {
        let address = address.to_canonical();
        self.change(|rows| removed(rows, |(known, _)| *known != address)).map(|count| count > 0)
    }
}

fn removed(rows: &mut Vec<(IpAddr, i64)>, stays: impl FnMut(&(IpAddr, i64)) -> bool) -> (u64, Written) {
    let before = rows.len();
    rows.retain(stays);
    let count = before - rows.len();
    (u64::try_from(count).unwrap_or(u64::MAX), if count == 0 { Written::No } else { Written::Yes })
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => file.take(BYTES_MAX).read_to_end(&mut text).map(|_| text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(text),
        Err(error) => Err(error),
    }
}

/// Lines that are none (torn by a crash of another program, written by hand) open nothing and go with the next change.
fn rows(text: &[u8]) -> Vec<(IpAddr, i64)> {
    let text = String::from_utf8_lossy(text);
    let row = |line: &str| {
        let (rule, at) = line.split_once('\t')?;
        let (address, _) = rule.rsplit_once(":allow")?;
        let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
        Some((address.to_canonical(), at.trim().parse().ok()?))
    };
    text.lines().filter_map(row).take(ROWS_MAX).collect()
}

fn text(rows: &[(IpAddr, i64)]) -> Vec<u8> {
    rows.iter().flat_map(|(address, at)| format!("{}\t{at}\n", rule(*address)).into_bytes()).collect()
}

/// The rule of an opened address for tcprules(1); IPv6 addresses stand in brackets there.
pub(crate) fn rule(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("{v4}{GRANT}"),
        IpAddr::V6(v6) => format!("[{v6}]{GRANT}"),
    }
}

fn trouble(path: &Path, error: &io::Error) -> AccountsError {
    AccountsError::Unavailable { what: format!("{}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn rows_are_vpopmails_to_the_letter() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let keeper = OpenSmtp::new(dir.path());
        assert_eq!(keeper.list().unwrap(), []);
        assert!(keeper.open(ip("192.0.2.33"), 100).unwrap());
        assert!(keeper.open(ip("2001:db8::1"), 101).unwrap());
        assert!(!keeper.open(ip("::ffff:192.0.2.33"), 102).unwrap(), "an IPv4-mapped address is the IPv4 address");
        let text = std::fs::read_to_string(dir.path().join("etc/open-smtp")).unwrap();
        assert_eq!(text, "[2001:db8::1]:allow,RELAYCLIENT=\"\",RBLSMTPD=\"\"\t101\n192.0.2.33:allow,RELAYCLIENT=\"\",RBLSMTPD=\"\"\t102\n");
        assert_eq!(keeper.list().unwrap(), [(ip("2001:db8::1"), 101), (ip("192.0.2.33"), 102)]);
        assert_eq!(keeper.clear(101).unwrap(), 1);
        assert_eq!(keeper.clear(101).unwrap(), 0);
        assert!(keeper.close(ip("192.0.2.33")).unwrap());
        assert!(!keeper.close(ip("192.0.2.33")).unwrap());
        assert_eq!(keeper.list().unwrap(), []);
    }

    #[test]
    fn what_is_no_row_opens_nothing() {
        let torn = b"192.0.2.1:allow,RELAYCLIENT=\"\"\t12\n:allow\t5\n192.0.2.2\t9\nx:allow\t1\n192.0.2.3:allow,REL\n192.0.2.4:deny\t3\n\xff\n192.0.2.5:allow\tnow\n";
        assert_eq!(rows(torn), [(ip("192.0.2.1"), 12)]);
    }

    #[test]
    fn callers_at_once_lose_no_row() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let keeper = OpenSmtp::new(dir.path());
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                let keeper = &keeper;
                scope.spawn(move || assert!(keeper.open(IpAddr::from([192, 0, 2, n]), 1).unwrap()));
            }
        });
        assert_eq!(keeper.list().unwrap().len(), 8);
    }
}
