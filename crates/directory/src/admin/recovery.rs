//! What a change that died half-way left, finished or undone. Called before each change under its lock, by check-store, and by the server at its
//! start. Does nothing when nothing is left; may be done again.

use super::acting::ActingAs;
use super::assignments::Assignments;
use super::hashing::Scope;
use super::intent::{self, Intent};
use super::journal::{Journal, lock_directory, lock_within};
use super::tree::clear_leftover;
use super::{Admin, AdminError, DomainEntry};
use crate::files::is_absent;
use crate::vpasswd::HashState;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

const USERS_FILES: [&str; 3] = ["assign", "cdb", intent::FILE];
const CONTROL_FILES: [&str; 5] = ["locals", "rcpthosts", "virtualdomains", "morercpthosts", "morercpthosts.cdb"];
/// Temporary files of the accounts of one domain, by their fixed names, and what is replaced one by one.
const DOMAIN_TEMPORARIES: [&str; 2] = [".vpasswd.new", ".vpasswd.cdb.new"];
const DOMAIN_FILES: [&str; 4] = [intent::FILE, ".dir-control", ".qmail-default", ".qmailadmin-limits"];

impl Admin {
    /// Puts right what died half-way anywhere; says what it found, one line each. Looks at every domain.
    pub fn recover(&self) -> Result<Vec<String>, AdminError> {
        let mut found = Vec::new();
        if !self.settings.home.join("users").try_exists().map_err(AdminError::io(&self.settings.home))? {
            return Ok(found);
        }
        let left = intent::left_in(&self.settings.home.join("users"))?.is_some();
        drop(self.lock_domains()?);
        if left {
            found.push("users: a change of domains was not finished".to_owned());
        }
        for entry in self.domains()?.into_iter().filter(|entry| entry.alias_of.is_none()) {
            if self.is_left_in(&entry) {
                found.push(format!("{}: a change of its accounts was not finished", entry.name));
                drop(self.lock_domain(&entry)?);
            }
        }
        Ok(found)
    }

    /// What is wrong with domains and accounts, one line each; empty: they are whole. Only looks.
    pub fn check(&self) -> Result<Vec<String>, AdminError> {
        let mut problems = Vec::new();
        if !self.settings.home.join("users/assign").try_exists().map_err(AdminError::io(&self.settings.home))? {
            return Ok(problems);
        }
        for listed in self.domains()? {
            let name = &listed.name;
            match self.domain(name) {
                Ok(found) if found == listed => {}
                Ok(_) | Err(AdminError::NoDomain(_)) => {
                    problems.push(format!("{name}: users/cdb says other than users/assign (qmail-newu makes it anew)"))
                }
                Err(error) => return Err(error),
            }
            if listed.alias_of.is_some() {
                continue;
            }
            if !listed.directory.is_dir() {
                problems.push(format!("{name}: {} is not there", listed.directory.display()));
            } else if let Err(error) = self.keepers.accounts.count(name) {
                problems.push(format!("{name}: {error}"));
            }
        }
        Ok(problems)
    }

    fn is_left_in(&self, entry: &DomainEntry) -> bool {
        let names = DOMAIN_TEMPORARIES.into_iter().chain([intent::FILE, intent::TEMPORARY]);
        names.into_iter().any(|name| std::fs::symlink_metadata(entry.directory.join(name)).is_ok())
    }

    /// Before a change of domains, under their lock.
    pub(super) fn recover_domains(&self) -> Result<(), AdminError> {
        let users = self.settings.home.join("users");
        intent::sweep(&users, &USERS_FILES)?;
        drop(std::fs::remove_file(users.join(intent::TEMPORARY)));
        intent::sweep(&self.settings.home.join("control"), &CONTROL_FILES)?;
        match intent::left_in(&users)? {
            None if std::fs::symlink_metadata(users.join(intent::FILE)).is_ok() => intent::forget(&users), // torn: nothing was done yet
            None => Ok(()),
            Some(Intent::AddDomain { name, directory, counted }) => {
                self.recover_added(&name, directory.as_deref(), counted.as_ref())?;
                intent::forget(&users)
            }
            Some(Intent::RemoveDomain { names, directory, counted }) => {
                let mut journal = Journal::default();
                self.finish_removal(&mut journal, &names, directory.as_deref())?;
                let _ = journal.commit();
                self.forget_domain(&names, directory.as_deref(), counted.as_ref())?;
                intent::forget(&users)
            }
            Some(Intent::AddUsers { .. } | Intent::RemoveUser { .. }) => intent::forget(&users),
        }
    }

    fn recover_added(&self, name: &str, directory: Option<&Path>, counted: Option<&HashState>) -> Result<(), AdminError> {
        let assignments = Assignments::read(&self.settings.home)?;
        let mut journal = Journal::default();
        if assignments.find(name).is_some() {
            assignments.write(&mut journal)?;
            self.list_domain(&mut journal, name)?;
            let _ = journal.commit();
            return Ok(());
        }
        let Some(directory) = directory else { return Ok(()) };
        self.keepers.accounts.remove_domain(name)?;
        if self.keepers.aliases.is_some() {
            self.forget_aliases(name)?;
        }
        let owner = owner_of(directory.parent().unwrap_or(directory))?;
        let acting = ActingAs::begin(owner)?;
        for path in [building(directory), directory.to_path_buf()] {
            remove_tree(&path)?;
        }
        drop(acting);
        if let Some(domains) = domains_above(directory) {
            self.put_back(Scope::Site(&domains, owner), counted)?;
        }
        Ok(())
    }

    /// Counters as they were; one that was not there goes.
    fn put_back(&self, scope: Scope<'_>, before: Option<&HashState>) -> Result<(), AdminError> {
        if self.hash_state(scope)?.as_ref() == before { Ok(()) } else { self.set_hash_state(scope, before) }
    }

    /// The lock for changes of a domain's accounts. What a dead change left is put right first.
    pub(super) fn lock_domain(&self, entry: &DomainEntry) -> Result<File, AdminError> {
        let _acting = ActingAs::begin(entry.owner())?;
        let lock = lock_directory(&entry.directory)?;
        drop(std::fs::remove_file(entry.directory.join(intent::TEMPORARY)));
        let stray = DOMAIN_TEMPORARIES.map(|name| entry.directory.join(name));
        if stray.iter().any(|path| std::fs::symlink_metadata(path).is_ok())
            && let Ok(idle) = lock_within(&entry.directory.join(".vpasswd.lock"), Some(entry.owner()), Duration::ZERO)
        {
            stray.iter().for_each(|path| drop(std::fs::remove_file(path)));
            drop(idle);
            self.keepers.accounts.rebuild(entry.real())?; // the text may be new and the data base old
        }
        let is_left = std::fs::symlink_metadata(entry.directory.join(intent::FILE)).is_ok();
        if !is_left {
            return Ok(lock);
        }
        intent::sweep(&entry.directory, &DOMAIN_FILES)?;
        match intent::left_in(&entry.directory)? {
            Some(Intent::AddUsers { users, counted }) => self.recover_users(entry, &users, counted.as_ref())?,
            Some(Intent::RemoveUser { name, directory, counted }) => {
                if self.keepers.accounts.find(entry.real(), &name)?.is_some() {
                    self.keepers.accounts.remove(entry.real(), &name)?;
                }
                remove_own_tree(entry, &directory)?;
                self.put_back(Scope::Domain(entry), counted.as_ref())?;
            }
            Some(Intent::AddDomain { .. } | Intent::RemoveDomain { .. }) | None => {}
        }
        intent::forget(&entry.directory)?;
        Ok(lock)
    }

    fn recover_users(&self, entry: &DomainEntry, users: &[(String, PathBuf)], counted: Option<&HashState>) -> Result<(), AdminError> {
        let Some((first, _)) = users.first() else { return Ok(()) };
        // All or none were inserted.
        if self.keepers.accounts.find(entry.real(), first)?.is_some() {
            return Ok(());
        }
        for (_, directory) in users {
            if directory.starts_with(&entry.directory) {
                clear_leftover(directory)?;
                remove_empty_above(entry, directory);
            }
        }
        self.put_back(Scope::Domain(entry), counted)
    }
}

/// Directories of the hashing that hold nothing any more.
fn remove_empty_above(entry: &DomainEntry, directory: &Path) {
    let above = directory.ancestors().skip(1).take_while(|path| path.starts_with(&entry.directory) && *path != entry.directory);
    for path in above {
        drop(std::fs::remove_dir(path));
    }
}

/// Where a directory is made before it has its name.
pub(super) fn building(directory: &Path) -> PathBuf {
    beside(directory, ".new-")
}

/// Where a directory waits for its end.
pub(super) fn aside(directory: &Path) -> PathBuf {
    beside(directory, ".removed-")
}

fn beside(directory: &Path, prefix: &str) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!("{prefix}{name}"))
}

/// The `domains` directory that this domain's directory lies below.
pub(super) fn domains_above(directory: &Path) -> Option<PathBuf> {
    directory.ancestors().skip(1).find(|path| path.file_name().is_some_and(|name| name == "domains")).map(Path::to_path_buf)
}

pub(super) fn owner_of(path: &Path) -> Result<super::Owner, AdminError> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::symlink_metadata(path).map_err(AdminError::io(path))?;
    Ok(super::Owner { uid: found.uid(), gid: found.gid() })
}

/// Only below the domain, and never the domain itself.
pub(super) fn remove_own_tree(entry: &DomainEntry, directory: &Path) -> Result<(), AdminError> {
    if directory.starts_with(&entry.directory) && directory != entry.directory {
        remove_tree(directory)?;
        remove_tree(&aside(directory))?;
    }
    Ok(())
}

/// Who may change the directory that a domain's directory lies in. `None`: that is not there.
pub(super) fn owner_above(directory: &Path) -> Result<Option<super::Owner>, AdminError> {
    let above = domains_above(directory).or_else(|| directory.parent().map(Path::to_path_buf));
    match above.as_deref().map(owner_of) {
        Some(Ok(owner)) => Ok(Some(owner)),
        None => Ok(None),
        Some(Err(AdminError::Io { source, .. })) if is_absent(&source) => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

/// Removes a domain's directory with no more rights than those that own it and the place where it lies: one of them may have put a link there that
/// leads to the files of others.
pub(super) fn remove_domain_tree(path: &Path) -> Result<(), AdminError> {
    let Some(above) = owner_above(path)? else { return Ok(()) };
    let owner = match owner_of(path) {
        Err(AdminError::Io { source, .. }) if is_absent(&source) => return Ok(()),
        other => other?,
    };
    if owner != above && owner.uid != 0 {
        let _acting = ActingAs::begin(owner)?;
        drop(std::fs::remove_dir_all(path)); // the directory itself is not his to remove
    }
    let _acting = ActingAs::begin(above)?;
    remove_tree(path)
}

/// Gone already is no error.
pub(super) fn remove_tree(path: &Path) -> Result<(), AdminError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if !is_absent(&error) => Err(AdminError::io(path)(error)),
        _ => Ok(()),
    }
}
