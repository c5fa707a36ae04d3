//! Which home the programs work on, and its files that may be missing.

use std::io;
use std::path::{Path, PathBuf};

/// POSTINO_HOME, /var/qmail when it is there, else /var/lib/postino. With a set-group-id bit the environment is the caller's and not asked:
/// it would choose where the group's rights are used.
pub(crate) fn choose() -> PathBuf {
    if !has_borrowed_rights() {
        return postino_control::home::choose(None);
    }
    let qmail = Path::new(postino_control::home::QMAIL_HOME);
    if qmail.is_dir() { qmail.to_path_buf() } else { PathBuf::from(postino_control::home::OWN_HOME) }
}

/// The file has a set-id bit: words, environment and descriptors are those of somebody with other rights.
pub(crate) fn has_borrowed_rights() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    getuid() != geteuid() || getgid() != getegid()
}

/// What a file holds; `None` without it. A file that is there and cannot be read is an error: it must not count as missing.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if_there(std::fs::read(path))
}

/// `None` for what is not there.
pub(crate) fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
