//! Who receives: users/cdb first, else the answer of the passwd lookup child, else the owner of `alias/`. Decides also who may never receive.

use crate::settings::Settings;
use postino_types::exit;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A user with the rest of a dot-qmail delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Account name.
    pub name: Vec<u8>,
    /// Uid.
    pub uid: u32,
    /// Gid.
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// `-` or empty.
    pub dash: Vec<u8>,
    /// Extension, case kept.
    pub ext: Vec<u8>,
}

/// A delivery that the spawner refuses: exit code and text of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Exit code.
    pub(crate) exit: i32,
    /// Text, ended by LF.
    pub(crate) text: &'static str,
}

const fn refuse(text: &'static str) -> Refusal {
    Refusal { exit: exit::SOFT, text }
}

pub(crate) const SYSTEM: Refusal = refuse("Temporary failure in qmail-lspawn.\n");
pub(crate) const CDB: Refusal = refuse("Trouble reading users/cdb in qmail-lspawn.\n");
pub(crate) const NO_ALIAS: Refusal = refuse("Unable to find alias user!\n");
pub(crate) const ROOT: Refusal = refuse("Not allowed to perform deliveries as root.\n");
pub(crate) const LOW_UID: Refusal = refuse("Not allowed to perform deliveries for a uid below minuid. (#4.3.5)\n");
pub(crate) const OTHER_UID: Refusal = refuse("Unable to deliver for another user without root. (#4.3.5)\n");
pub(crate) const GETPW: Refusal = refuse("Unable to run qmail-getpw.\n");
pub(crate) const RUN: Refusal = refuse("Unable to run qmail-local.\n");
pub(crate) const RUN_REMOTE: Refusal = refuse("Unable to run qmail-remote.\n");
pub(crate) const TIMEOUT: Refusal = refuse("Delivery took too long and was stopped. (#4.3.0)\n");
pub(crate) const REMOTE_CRASHED: Refusal = refuse("qmail-remote crashed.\n");
/// In the words of the child that runs a queue program: a letter for the class first.
pub(crate) const RUN_QUEUE: Refusal = refuse("Zunable to exec qq (#4.3.0)");
pub(crate) const QUEUE_TIMEOUT: Refusal = refuse("Zqq timeout (#4.3.0)");
pub(crate) const QUEUE_CRASHED: Refusal = refuse("Zqq crashed (#4.3.0)");
pub(crate) const CRASHED: Refusal = refuse("qmail-local crashed.\n");

/// Reads the answer of the lookup: user, uid, gid, home, dash, ext, each ended by NUL (the last NUL may be missing).
pub(crate) fn parse(answer: &[u8]) -> Option<User> {
    let answer = answer.strip_suffix(b"\0").unwrap_or(answer);
    let fields: Vec<&[u8]> = answer.split(|&b| b == 0).collect();
    let [name, uid, gid, home, dash, ext] = fields.as_slice() else { return None };
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u32>().ok();
    Some(User {
        name: name.to_vec(),
        uid: number(uid)?,
        gid: number(gid)?,
        home: PathBuf::from(OsString::from_vec(home.to_vec())),
        dash: dash.to_vec(),
        ext: ext.to_vec(),
    })
}

/// The alias user by the owner of `home/alias`, for systems without an account of that name. `None` when there is no such directory.
#[must_use]
pub fn from_owner(home: &Path, local: &[u8]) -> Option<User> {
    let alias = home.join("alias");
    // Not followed: the link's target could be anybody's.
    let meta = std::fs::symlink_metadata(&alias).ok().filter(std::fs::Metadata::is_dir)?;
    Some(User { name: b"alias".to_vec(), uid: meta.uid(), gid: meta.gid(), home: alias, dash: b"-".to_vec(), ext: local.to_vec() })
}

/// May this user receive, from a spawner of uid `own`?
pub(crate) fn check(user: &User, own: u32, settings: &Settings) -> Result<(), Refusal> {
    if own != 0 {
        return if user.uid == own { Ok(()) } else { Err(OTHER_UID) };
    }
    if user.uid == 0 {
        return Err(ROOT);
    }
    if user.uid < settings.minuid { Err(LOW_UID) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ChildLimits, Ids, PrivilegeGain, QueuePrograms};
    use std::time::Duration;

    fn settings() -> Settings {
        Settings {
            home: PathBuf::from("/none"),
            child: Vec::new(),
            getpw: Vec::new(),
            getpw_ids: Ids { uid: 65534, gid: 65534 },
            minuid: 100,
            concurrency: 1,
            timeout: Duration::from_secs(1),
            queue: QueuePrograms {
                child: Vec::new(),
                programs: Vec::new(),
                rules: crate::RuledPrograms::new(postino_control::access::Sources::default()),
                ids: Ids { uid: 65534, gid: 65534 },
                timeout: Duration::from_secs(60),
                concurrency: 1,
            },
            remote: None,
            secret: Vec::new(),
            limits: ChildLimits { memory_bytes: 0, processes: 0, file_bytes: 0, gain: PrivilegeGain::Refused },
        }
    }

    fn user(uid: u32) -> User {
        User { name: b"joe".to_vec(), uid, gid: uid, home: PathBuf::from("/h"), dash: Vec::new(), ext: Vec::new() }
    }

    #[test]
    fn who_may_receive_from_whom() {
        for (uid, own, want) in [
            (0, 0, Err(ROOT)),
            (99, 0, Err(LOW_UID)),
            (100, 0, Ok(())),
            (1000, 1000, Ok(())),
            (1001, 1000, Err(OTHER_UID)),
            (0, 1000, Err(OTHER_UID)),
        ] {
            assert_eq!(check(&user(uid), own, &settings()), want, "uid {uid} by {own}");
        }
    }

    #[test]
    fn answers_of_the_lookup_that_are_not_whole_are_no_user() {
        let answer = b"joe\x001000\x00100\x00/home/joe\x00-\x00Ext-x\x00";
        let parsed = parse(answer).unwrap();
        assert_eq!((parsed.uid, parsed.gid, parsed.ext.as_slice()), (1000, 100, &b"Ext-x"[..]));
        assert_eq!(parse(b"joe\x001000\x00100\x00/home/joe\x00\x00\x00").map(|u| (u.dash, u.ext)), Some((Vec::new(), Vec::new())));
        for bad in [
            &b""[..],
            b"joe",
            b"joe\x00-1\x00100\x00/h\x00\x00\x00",
            b"joe\x00x\x00100\x00/h\x00\x00\x00",
            b"a\x001\x001\x00/h\x00\x00\x00\x00\x00",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
