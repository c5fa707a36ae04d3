//! The programs that rules by client address name in QMAILQUEUE. Asked by `task` before it runs one that the worker named; reads the rules again
//! only when their file looks different.

use postino_control::access::Sources;
use rustix::process::geteuid;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The rules' file, and what it named when it was last read.
#[derive(Debug, Clone)]
pub struct RuledPrograms(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    sources: Sources,
    /// Nothing was read yet.
    fresh: bool,
    programs: Vec<PathBuf>,
}

impl RuledPrograms {
    /// Nothing is read before the first question.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self(Arc::new(Mutex::new(State { sources, fresh: true, programs: Vec::new() })))
    }

    /// True when a rule sets QMAILQUEUE to this program; a relative name counts from `home`. Costs a stat(2) while nothing changes.
    pub(crate) fn name(&self, program: &Path, home: &Path) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.sources.look() || state.fresh {
            state.fresh = false;
            state.programs = read(&state.sources).unwrap_or_default();
        }
        state.programs.iter().any(|named| home.join(named) == program)
    }
}

/// Who may write the rules may name any program: as root, believe only root's.
fn read(sources: &Sources) -> Option<Vec<PathBuf>> {
    let (rules, file) = sources.read().ok()?;
    let meta = std::fs::metadata(file?).ok()?;
    let is_roots = meta.uid() == 0 && meta.mode() & 0o022 == 0;
    if geteuid().is_root() && !is_roots {
        return None;
    }
    let mut programs: Vec<PathBuf> = rules.values_of("QMAILQUEUE").map(PathBuf::from).collect();
    programs.sort();
    programs.dedup();
    Some(programs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_control::access::Service;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_changed_file_counts_and_one_that_others_may_write_does_not() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("control/tcp.smtp");
        fs::create_dir(home.path().join("control")).unwrap();
        let rules = RuledPrograms::new(Sources::standard(home.path(), Service::Smtp));
        let names = |program: &str| rules.name(&home.path().join(program), home.path());
        assert!(!names("bin/scan"));
        fs::write(&file, "10.:allow,QMAILQUEUE=\"bin/scan\"\n11.:allow,QMAILQUEUE=\"bin/scan\"\n").unwrap();
        assert!(names("bin/scan") && !names("bin/other"));
        assert_eq!(rules.0.lock().unwrap().programs.len(), 1);
        fs::write(&file, "10.:allow,QMAILQUEUE=\"/bin/other\"\n").unwrap();
        assert!(!names("bin/scan") && rules.name(Path::new("/bin/other"), home.path()));
        // Long unchanged, so that only its look tells.
        fs::File::options().write(true).open(&file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert!(rules.name(Path::new("/bin/other"), home.path()));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(rules.name(Path::new("/bin/other"), home.path()), !geteuid().is_root());
        fs::write(&file, "10.:allwo\n").unwrap();
        assert!(!rules.name(Path::new("/bin/other"), home.path()));
    }
}
