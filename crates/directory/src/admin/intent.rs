//! What a change of several files is about to do, written down durably before its first step and removed after its last: who finds one later (the
//! next change, check-store, the server at its start) knows that its writer died, and finishes or undoes it. Called by changes. An error that the
//! writer lives to see is undone by its journal, not by this.

use super::{AdminError, journal};
use crate::vpasswd::HashState;
use std::path::{Path, PathBuf};

/// Name of the file, in `users/` for domains, in the domain's directory for its accounts.
pub(super) const FILE: &str = ".change";
/// The name that it has before it is whole.
pub(super) const TEMPORARY: &str = "..change.new";
/// Larger ones are none of ours.
const BYTES_MAX: u64 = 64 << 20;

/// A change under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Intent {
    /// A domain, or an alias domain without directory: done when users/assign names it.
    AddDomain { name: String, directory: Option<PathBuf>, counted: Option<HashState> },
    /// Domains that go, and the directory of the real one: once decided, it is done.
    RemoveDomain { names: Vec<String>, directory: Option<PathBuf>, counted: Option<HashState> },
    /// Accounts and their directories: done when the keeper has them.
    AddUsers { users: Vec<(String, PathBuf)>, counted: Option<HashState> },
    /// An account: once decided, it is done. `counted` is the state after it.
    RemoveUser { name: String, directory: PathBuf, counted: Option<HashState> },
}

impl Intent {
    /// Lines; names, and paths that the administration makes, have no line ends.
    pub(super) fn print(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let state = |state: &Option<HashState>| state.as_ref().map(|state| state.print().replace('\n', "|")).unwrap_or_default();
        let mut lines = match self {
            Self::AddDomain { name, directory, counted } => vec!["add-domain".into(), state(counted), path(directory), name.clone()],
            Self::RemoveDomain { names, directory, counted } => {
                let mut lines = vec!["remove-domain".into(), state(counted), path(directory)];
                lines.extend(names.iter().cloned());
                lines
            }
            Self::AddUsers { users, counted } => {
                let mut lines = vec!["add-users".into(), state(counted)];
                lines.extend(users.iter().flat_map(|(name, directory)| [name.clone(), directory.display().to_string()]));
                lines
            }
            Self::RemoveUser { name, directory, counted } => {
                vec!["remove-user".into(), state(counted), name.clone(), directory.display().to_string()]
            }
        };
        lines.push("end".into());
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// `None`: not one, or not whole.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut lines: Vec<&str> = text.lines().collect();
        if lines.pop()? != "end" {
            return None;
        }
        let mut lines = lines.into_iter();
        let kind = lines.next()?;
        let counted = match lines.next()? {
            "" => None,
            state => Some(HashState::parse(state.replace('|', "\n").as_bytes())?),
        };
        let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
        Some(match kind {
            "add-domain" => Self::AddDomain { directory: path(lines.next()?), name: lines.next()?.to_owned(), counted },
            "remove-domain" => Self::RemoveDomain { directory: path(lines.next()?), names: lines.map(str::to_owned).collect(), counted },
            "add-users" => {
                let mut users = Vec::new();
                while let Some(name) = lines.next() {
                    users.push((name.to_owned(), PathBuf::from(lines.next()?)));
                }
                Self::AddUsers { users, counted }
            }
            "remove-user" => Self::RemoveUser { name: lines.next()?.to_owned(), directory: lines.next()?.into(), counted },
            _ => return None,
        })
    }

    /// Writes it down; gone again when the guard is dropped, for the writer has then finished or undone.
    pub(super) fn write(&self, directory: &Path) -> Result<Written, AdminError> {
        let path = directory.join(FILE);
        let text = self.print();
        let note = postino_disk::Replacement { name: FILE, bytes: text.as_bytes(), mode: 0o600 };
        postino_disk::replace_files(directory, &[note]).map_err(AdminError::io(&path))?;
        Ok(Written { path })
    }
}

/// A note that stands.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
}

impl Drop for Written {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::error!(%error, path = %self.path.display(), "a finished change is still written down");
        }
    }
}

/// The note that a dead writer left in `directory`. One that is not whole was never acted on.
pub(super) fn left_in(directory: &Path) -> Result<Option<Intent>, AdminError> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let path = directory.join(FILE);
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let file = match std::fs::File::options().read(true).custom_flags(no_follow).open(&path) {
        Ok(file) => file,
        Err(error) if crate::files::is_absent(&error) => return Ok(None),
        Err(error) => return Err(AdminError::io(&path)(error)),
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(AdminError::io(&path))?;
    Ok(Intent::parse(&text))
}

/// Forgets the note, durably.
pub(super) fn forget(directory: &Path) -> Result<(), AdminError> {
    let path = directory.join(FILE);
    match std::fs::remove_file(&path) {
        Err(error) if !crate::files::is_absent(&error) => Err(AdminError::io(&path)(error)),
        _ => journal::sync_parent(&path),
    }
}

/// Removes temporary files that dead writers left beside the files of these names (`.NAME.PID_N`).
pub(super) fn sweep(directory: &Path, names: &[&str]) -> Result<(), AdminError> {
    for entry in std::fs::read_dir(directory).map_err(AdminError::io(directory))? {
        let entry = entry.map_err(AdminError::io(directory))?;
        let name = entry.file_name();
        let Some((stem, suffix)) = name.to_str().and_then(|name| name.strip_prefix('.')).and_then(|name| name.rsplit_once('.')) else {
            continue;
        };
        let pid = suffix.split_once('_').and_then(|(pid, _)| pid.parse::<u32>().ok());
        let Some(pid) = pid.filter(|_| names.contains(&stem)) else { continue };
        let lives = Path::new("/proc").join(pid.to_string()).try_exists().unwrap_or(true);
        if !lives {
            drop(std::fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let counted = Some(HashState::added(None));
        let all = [
            Intent::AddDomain { name: "a.test".into(), directory: Some("/v/domains/a.test".into()), counted: None },
            Intent::AddDomain { name: "a.test".into(), directory: None, counted: None },
            Intent::RemoveDomain {
                names: vec!["a.test".into(), "b.test".into()],
                directory: Some("/v/a".into()),
                counted: counted.clone(),
            },
            Intent::AddUsers { users: vec![("a".into(), "/v/a/0/a".into()), ("b".into(), "/v/a/b".into())], counted: counted.clone() },
            Intent::RemoveUser { name: "a".into(), directory: "/v/a".into(), counted },
        ];
        for intent in all {
            let text = intent.print();
            for cut in 0..text.len() - 1 {
                assert_eq!(Intent::parse(&text[..cut]), None, "torn at {cut}: {text}");
            }
            assert_eq!(Intent::parse(&text), Some(intent));
        }
    }
}
