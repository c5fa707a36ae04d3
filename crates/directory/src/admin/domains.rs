//! Domains and alias domains: add, remove, list. Called by the command line. The order of the steps is such that a crash leaves mail refused or
//! deferred, never lost, and that the same command can be given again.

use super::account_file;
use super::acting::ActingAs;
use super::assignments::Assignments;
use super::journal::{Journal, Lock, lock, own};
use super::tree::{clear_leftover, make_dir, make_user, sync_files, sync_users, write_new};
use super::{Admin, AdminError, Change, NewUser, Owner, checked, plain_path};
use crate::names;
use std::path::{Path, PathBuf};

/// A domain as users/assign has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEntry {
    /// Its name, lower case.
    pub name: String,
    /// The real domain, when this is an alias.
    pub alias_of: Option<String>,
    /// Where its accounts lie.
    pub directory: PathBuf,
    /// Owner of its mailboxes.
    pub uid: u32,
    /// Group of its mailboxes.
    pub gid: u32,
}

impl DomainEntry {
    pub(super) fn owner(&self) -> Owner {
        Owner { uid: self.uid, gid: self.gid }
    }
}

/// What becomes of mail for names that nobody has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CatchAll {
    /// Refused (`bounce-no-mailbox`).
    #[default]
    Bounce,
    /// Accepted and thrown away.
    Delete,
    /// Forwarded to an address.
    Forward(String),
    /// Put into the Maildir of this directory.
    Directory(PathBuf),
}

/// What removing a domain does to its alias domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AliasDomains {
    /// A domain that has some stays.
    Keep,
    /// They go with it.
    Remove,
}

impl Admin {
    /// Adds a domain with its postmaster, and `abuse` leading to the postmaster (RFC 2142). `virtualdomains`, `rcpthosts`, `locals` follow.
    pub fn add_domain(&self, domain: &str, postmaster_password: &[u8]) -> Result<Change, AdminError> {
        let name = checked(domain, names::domain(domain))?;
        plain_path(&self.settings.vpopmail_home)?;
        let _lock = self.lock_domains()?;
        let mut assignments = Assignments::read(&self.settings.home)?;
        if assignments.find(&name).is_some() {
            return Err(AdminError::DomainExists(name));
        }
        let entry = self.entry(&name, None, self.settings.vpopmail_home.join("domains").join(&name));
        let mut journal = Journal::default();
        self.make_domain_tree(&mut journal, &entry, postmaster_password)?;
        assignments.insert(&entry);
        assignments.write(&mut journal)?;
        self.list_domain(&mut journal, &name)?;
        journal.commit();
        Ok(Change::RELOAD)
    }

    /// Makes `alias` another name of the existing domain `real`.
    pub fn add_alias_domain(&self, real: &str, alias: &str) -> Result<Change, AdminError> {
        let (real, alias) = (checked(real, names::domain(real))?, checked(alias, names::domain(alias))?);
        let _lock = self.lock_domains()?;
        let mut assignments = Assignments::read(&self.settings.home)?;
        let target = assignments.find(&real).ok_or(AdminError::NoDomain(real))?;
        if assignments.find(&alias).is_some() {
            return Err(AdminError::DomainExists(alias));
        }
        let real = target.alias_of.unwrap_or(target.name);
        let mut entry = self.entry(&alias, Some(real), target.directory);
        (entry.uid, entry.gid) = (target.uid, target.gid);
        let mut journal = Journal::default();
        assignments.insert(&entry);
        assignments.write(&mut journal)?;
        self.list_domain(&mut journal, &alias)?;
        journal.commit();
        Ok(Change::RELOAD)
    }

    /// Removes a domain with all its mail, or only the alias if it is one.
    pub fn remove_domain(&self, domain: &str, aliases: AliasDomains) -> Result<Change, AdminError> {
        let name = checked(domain, names::domain(domain))?;
        let _lock = self.lock_domains()?;
        let mut assignments = Assignments::read(&self.settings.home)?;
        let entry = assignments.find(&name).ok_or_else(|| AdminError::NoDomain(name.clone()))?;
        let mut gone = vec![name.clone()];
        if entry.alias_of.is_none() {
            let others: Vec<String> =
                assignments.domains().into_iter().filter(|d| d.alias_of.as_deref() == Some(&name)).map(|d| d.name).collect();
            if aliases == AliasDomains::Keep && !others.is_empty() {
                return Err(AdminError::HasAliases { domain: name, aliases: others.join(" ") });
            }
            gone.extend(others);
        }
        let mut journal = Journal::default();
        for name in &gone {
            self.unlist_domain(&mut journal, name)?;
        }
        let moved = if entry.alias_of.is_none() { move_aside(&mut journal, &entry.directory)? } else { None };
        for name in &gone {
            assignments.remove(name);
        }
        assignments.write(&mut journal)?;
        journal.commit();
        if let Some(moved) = moved {
            std::fs::remove_dir_all(&moved).map_err(AdminError::io(&moved))?;
        }
        Ok(Change::RELOAD)
    }

    /// All domains and alias domains, sorted by name.
    pub fn domains(&self) -> Result<Vec<DomainEntry>, AdminError> {
        Ok(Assignments::read(&self.settings.home)?.domains())
    }

    /// One domain; of an alias domain the entry of the alias (its directory is the real domain's).
    pub fn domain(&self, domain: &str) -> Result<DomainEntry, AdminError> {
        let name = checked(domain, names::domain(domain))?;
        Assignments::read(&self.settings.home)?.find(&name).ok_or(AdminError::NoDomain(name))
    }

    /// What happens to mail for unknown names in `domain`; `None` when its `.qmail-default` is something else.
    pub fn catch_all(&self, domain: &str) -> Result<Option<CatchAll>, AdminError> {
        use crate::dot_qmail::{Action, Meaning, meaning};
        let path = self.domain(domain)?.directory.join(".qmail-default");
        let text = std::fs::read(&path).map_err(AdminError::io(&path))?;
        Ok(match meaning(&text, b"") {
            Meaning::Vdelivermail(Action::Bounce) => Some(CatchAll::Bounce),
            Meaning::Vdelivermail(Action::Delete) => Some(CatchAll::Delete),
            Meaning::Vdelivermail(Action::Forward(to)) => Some(CatchAll::Forward(String::from_utf8_lossy(to.as_bytes()).into_owned())),
            Meaning::Vdelivermail(Action::Directory(path)) => {
                Some(CatchAll::Directory(PathBuf::from(String::from_utf8_lossy(&path).into_owned())))
            }
            _ => None,
        })
    }

    /// Says what becomes of mail for unknown names.
    pub fn set_catch_all(&self, domain: &str, catch_all: &CatchAll) -> Result<Change, AdminError> {
        let entry = self.domain(domain)?;
        let text = self.default_file(catch_all)?;
        let _acting = ActingAs::begin(entry.owner())?;
        let mut journal = Journal::default();
        journal.replace(&entry.directory.join(".qmail-default"), &text, 0o600, Some(entry.owner()))?;
        journal.commit();
        Ok(Change::NOTICED)
    }

    fn entry(&self, name: &str, alias_of: Option<String>, directory: PathBuf) -> DomainEntry {
        DomainEntry { name: name.to_owned(), alias_of, directory, uid: self.settings.owner.uid, gid: self.settings.owner.gid }
    }

    fn lock_domains(&self) -> Result<Lock, AdminError> {
        for directory in ["users", "control"] {
            let path = self.settings.home.join(directory);
            postino_disk::create_dir_durable(&path, 0o755).map_err(AdminError::io(&path))?;
        }
        lock(&self.settings.home.join("users/assign.lock"), None)
    }

    /// The directory, built beside its place and renamed when it is whole and durable.
    fn make_domain_tree(&self, journal: &mut Journal, entry: &DomainEntry, postmaster_password: &[u8]) -> Result<(), AdminError> {
        let owner = self.settings.owner;
        let domains = self.settings.vpopmail_home.join("domains");
        self.make_domains_dir(&domains)?;
        let record = self.hashed(&entry.directory, &NewUser::new("postmaster", postmaster_password))?;
        clear_domain_leftover(&entry.directory)?;
        let building = domains.join(format!(".new-{}", entry.name));
        match std::fs::remove_dir_all(&building) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(AdminError::io(&building)(error)),
            _ => {}
        }
        journal.making_tree(&building);
        make_dir(&building, owner)?;
        let mut files = account_file::fresh(&[record], owner)?.to_vec();
        files.push((".qmail-default", self.default_file(&CatchAll::Bounce)?));
        files.push((".qmail-abuse", format!("&postmaster@{}\n", entry.name).into_bytes()));
        fill(&building, &files, owner)?;
        journal.rename(&building, &entry.directory)
    }

    fn make_domains_dir(&self, domains: &Path) -> Result<(), AdminError> {
        if domains.try_exists().map_err(AdminError::io(domains))? {
            return Ok(());
        }
        postino_disk::create_dir_durable(domains, 0o700).map_err(AdminError::io(domains))?;
        own(domains, self.settings.owner)
    }

    fn default_file(&self, catch_all: &CatchAll) -> Result<Vec<u8>, AdminError> {
        let action = match catch_all {
            CatchAll::Bounce => "bounce-no-mailbox".to_owned(),
            CatchAll::Delete => "delete".to_owned(),
            CatchAll::Forward(address) => {
                checked(address, names::address(address))?;
                address.clone()
            }
            CatchAll::Directory(path) => match path.to_str() {
                Some(text) if path.is_absolute() => text.to_owned(),
                _ => return Err(AdminError::Target(path.display().to_string())),
            },
        };
        let line = format!("| {}/bin/vdelivermail '' {action}\n", self.settings.vpopmail_home.display());
        match crate::dot_qmail::meaning(line.as_bytes(), b"") {
            crate::dot_qmail::Meaning::Vdelivermail(_) => Ok(line.into_bytes()),
            _ => Err(AdminError::Target(action)), // a path with blanks or shell signs
        }
    }
}

/// What a new domain holds, durable. The directory is its owner's already, so it is filled with the owner's rights.
fn fill(building: &Path, files: &[(&str, Vec<u8>)], owner: Owner) -> Result<(), AdminError> {
    let _acting = ActingAs::begin(owner)?;
    for (name, bytes) in files {
        write_new(&building.join(name), bytes, owner)?;
    }
    let postmaster = building.join("postmaster");
    make_user(&postmaster, owner)?;
    sync_files(&files.iter().map(|(name, _)| building.join(name)).collect::<Vec<_>>())?;
    sync_users(building, &[postmaster])
}

/// Moves the domain's directory out of the way; `None` when it is gone already (an earlier attempt).
fn move_aside(journal: &mut Journal, directory: &Path) -> Result<Option<PathBuf>, AdminError> {
    let name = directory.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let aside = directory.with_file_name(format!(".removed-{name}"));
    match std::fs::symlink_metadata(directory) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let left = std::fs::symlink_metadata(&aside).is_ok();
            return Ok(left.then_some(aside));
        }
        Err(error) => return Err(AdminError::io(directory)(error)),
    }
    if std::fs::symlink_metadata(&aside).is_ok() {
        std::fs::remove_dir_all(&aside).map_err(AdminError::io(&aside))?;
    }
    journal.rename(directory, &aside)?;
    Ok(Some(aside))
}

/// A crashed attempt to add the domain leaves a directory with a postmaster without mail, named nowhere; that may go. Anything else stays.
fn clear_domain_leftover(directory: &Path) -> Result<(), AdminError> {
    let taken = || AdminError::DirectoryTaken(directory.to_path_buf());
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(AdminError::io(directory)(error)),
    };
    const OURS: [&str; 5] = ["vpasswd", "vpasswd.cdb", ".vpasswd.lock", ".qmail-default", ".qmail-abuse"];
    for entry in entries {
        let name = entry.map_err(AdminError::io(directory))?.file_name();
        if name != "postmaster" && !OURS.iter().any(|ours| name == *ours) {
            return Err(taken());
        }
    }
    let text = std::fs::read(directory.join("vpasswd")).unwrap_or_default();
    if text.split(|&b| b == b'\n').any(|line| !line.is_empty() && !line.starts_with(b"postmaster:")) {
        return Err(taken());
    }
    clear_leftover(&directory.join("postmaster"))?;
    std::fs::remove_dir_all(directory).map_err(AdminError::io(directory))
}
