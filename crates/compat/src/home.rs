//! Which home the programs work on.

use std::path::{Path, PathBuf};

/// POSTINO_HOME, /var/qmail when it is there, else /var/lib/postino. With a set-group-id bit the environment is the caller's and not asked:
/// it would choose where the group's rights are used.
pub(crate) fn choose() -> PathBuf {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    if getuid() == geteuid() && getgid() == getegid() {
        return postino_control::home::choose(None);
    }
    let qmail = Path::new(postino_control::home::QMAIL_HOME);
    if qmail.is_dir() { qmail.to_path_buf() } else { PathBuf::from(postino_control::home::OWN_HOME) }
}
