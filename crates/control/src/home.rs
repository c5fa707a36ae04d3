//! Which directory is the home: `--home`, POSTINO_HOME, /var/qmail when it is there, else /var/lib/postino. Called once at start.
//! Never makes a directory.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The home of an installation that qmail made.
pub const QMAIL_HOME: &str = "/var/qmail";
/// The home when there is no qmail.
pub const OWN_HOME: &str = "/var/lib/postino";

/// vpopmail's home on a machine that qmail and vpopmail made.
const VPOPMAIL_HOME: &str = "/home/vpopmail";

/// Chooses the home from the option, the environment and the disk.
#[must_use]
pub fn choose(option: Option<&Path>) -> PathBuf {
    choose_from(option, std::env::var_os("POSTINO_HOME"), Path::new(QMAIL_HOME).is_dir())
}

fn choose_from(option: Option<&Path>, environment: Option<OsString>, qmail_is_there: bool) -> PathBuf {
    if let Some(home) = option {
        return home.to_path_buf();
    }
    match environment.filter(|e| !e.is_empty()) {
        Some(home) => PathBuf::from(home),
        None if qmail_is_there => PathBuf::from(QMAIL_HOME),
        None => PathBuf::from(OWN_HOME),
    }
}

/// vpopmail's home where `control/vpopmail-home` does not say: the home itself, and on a qmail machine that of the account.
pub(crate) fn vpopmail(home: &Path) -> PathBuf {
    let own = home != Path::new(QMAIL_HOME) || home.join("domains").is_dir() || !Path::new(VPOPMAIL_HOME).is_dir();
    if own { home.to_path_buf() } else { PathBuf::from(VPOPMAIL_HOME) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order() {
        let env = || Some(OsString::from("/e"));
        assert_eq!(choose_from(Some(Path::new("/o")), env(), true), Path::new("/o"));
        assert_eq!(choose_from(None, env(), true), Path::new("/e"));
        assert_eq!(choose_from(None, Some(OsString::new()), true), Path::new(QMAIL_HOME));
        assert_eq!(choose_from(None, None, false), Path::new(OWN_HOME));
    }
}
