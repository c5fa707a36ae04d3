//! Domains and alias domains: add, remove, list. Called by the command line. The order of the steps is such that a crash leaves mail refused or
//! deferred, never lost, and that the same command can be given again.

use super::acting::ActingAs;
use super::assignments::Assignments;
use super::hashing::{Counted, Scope};
use super::intent::Intent;
use super::journal::{Journal, Lock, lock, lock_directory, own};
use super::recovery::{aside, building, domains_above, owner_above, owner_of, remove_domain_tree, remove_tree};
use super::tree::{clear_leftover, make_dir, make_user, sync_files, sync_users, write_new};
use super::{Admin, AdminError, Change, NewUser, Owner, checked, plain_path};
use crate::names;
use crate::vpasswd::Record;
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
    /// Who owns its files.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner { uid: self.uid, gid: self.gid }
    }

    /// The real domain's name.
    #[must_use]
    pub fn real(&self) -> &str {
        self.alias_of.as_ref().unwrap_or(&self.name)
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
    /// Put into the mailbox of this account of the domain; written down as its directory.
    Account(String),
}

/// Does a new domain get the alias `abuse`, leading to its postmaster (RFC 2142)?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AbuseAlias {
    /// Yes.
    #[default]
    Make,
    /// No, as vpopmail's program.
    LeaveOut,
}

/// A domain to be added.
#[derive(Debug, Clone)]
pub struct NewDomain {
    /// Its name.
    pub name: String,
    /// Its postmaster, whose name is not looked at.
    pub postmaster: NewUser,
    /// What becomes of mail for unknown names.
    pub catch_all: CatchAll,
    /// `abuse`?
    pub abuse: AbuseAlias,
    /// Below whose `domains/` it lies; `None`: vpopmail's.
    pub base: Option<PathBuf>,
    /// Who owns it; `None`: the owner of all others.
    pub owner: Option<Owner>,
}

impl NewDomain {
    /// In the usual place, bouncing mail for unknown names.
    #[must_use]
    pub fn new(name: &str, postmaster_password: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            postmaster: NewUser::new("postmaster", postmaster_password),
            catch_all: CatchAll::default(),
            abuse: AbuseAlias::default(),
            base: None,
            owner: None,
        }
    }
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
        self.add_domain_as(&NewDomain::new(domain, postmaster_password))
    }

    /// The same with everything chosen. The tree comes first, then the accounts, then users/assign, which makes the domain exist.
    pub fn add_domain_as(&self, new: &NewDomain) -> Result<Change, AdminError> {
        let name = checked(&new.name, names::domain(&new.name))?;
        let base = new.base.as_deref().unwrap_or(&self.settings.vpopmail_home);
        plain_path(&self.settings.vpopmail_home)?;
        plain_path(base)?;
        let owner = new.owner.unwrap_or(self.settings.owner);
        let _lock = self.lock_domains()?;
        let mut assignments = Assignments::read(&self.settings.home)?;
        if assignments.find(&name).is_some() {
            return Err(AdminError::DomainExists(name));
        }
        let domains = base.join("domains");
        make_domains_dir(&domains, owner, &self.settings.vpopmail_home)?;
        let (counted, below) = self.count_up(Scope::Site(&domains, owner), 1)?;
        let directory = domains.join(below.first().map_or(Path::new(""), PathBuf::as_path)).join(&name);
        let entry = DomainEntry { name: name.clone(), alias_of: None, directory, uid: owner.uid, gid: owner.gid };
        let records = [self.record_of(&new.postmaster, &entry.directory)?];
        let default = self.default_file(&entry.directory, &new.catch_all)?;
        {
            let _acting = ActingAs::begin(owner_of(&domains)?)?;
            clear_domain_leftover(&entry.directory)?;
        }
        let users = self.settings.home.join("users");
        let intent = Intent::AddDomain { name: name.clone(), directory: Some(entry.directory.clone()), counted: counted.before.clone() };
        let _intent = intent.write(&users)?;
        let mut journal = Journal::default();
        let made = self.make_domain_tree(&mut journal, &entry, &records, (&default, new.abuse)).and_then(|()| {
            self.count(Scope::Site(&domains, owner), &counted)?;
            assignments.insert(&entry);
            assignments.write(&mut journal)?;
            self.list_domain(&mut journal, &name)
        });
        if let Err(error) = made {
            drop(journal);
            self.uncount(Scope::Site(&domains, owner), &counted);
            drop(self.keepers.accounts.remove_domain(&name));
            return Err(error);
        }
        Ok(Change::reload(journal.commit()))
    }

    pub(super) fn count(&self, scope: Scope<'_>, counted: &Counted) -> Result<(), AdminError> {
        if counted.before == counted.after { Ok(()) } else { self.set_hash_state(scope, counted.after.as_ref()) }
    }

    /// After a change that failed.
    pub(super) fn uncount(&self, scope: Scope<'_>, counted: &Counted) {
        if counted.before != counted.after
            && let Err(error) = self.set_hash_state(scope, counted.before.as_ref())
        {
            tracing::error!(%error, "counters of a failed change could not be set back");
        }
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
        let real = target.real().to_owned();
        let entry = DomainEntry { name: alias.clone(), alias_of: Some(real), ..target };
        let intent = Intent::AddDomain { name: alias.clone(), directory: None, counted: None };
        let _intent = intent.write(&self.settings.home.join("users"))?;
        let mut journal = Journal::default();
        assignments.insert(&entry);
        assignments.write(&mut journal)?;
        self.list_domain(&mut journal, &alias)?;
        Ok(Change::reload(journal.commit()))
    }

    /// Removes a domain with all its mail, or only the alias if it is one.
    pub fn remove_domain(&self, domain: &str, aliases: AliasDomains) -> Result<Change, AdminError> {
        let name = checked(domain, names::domain(domain))?;
        let _lock = self.lock_domains()?;
        let assignments = Assignments::read(&self.settings.home)?;
        let entry = assignments.find(&name).ok_or_else(|| AdminError::NoDomain(name.clone()))?;
        let mut gone = vec![name.clone()];
        if entry.alias_of.is_none() {
            let others = assignments.aliases_of(&name);
            if aliases == AliasDomains::Keep && !others.is_empty() {
                return Err(AdminError::HasAliases { domain: name, aliases: others.join(" ") });
            }
            gone.extend(others);
        }
        let directory = entry.alias_of.is_none().then_some(entry.directory.as_path());
        let counted = match directory.and_then(domains_above) {
            Some(domains) => self.count_down(Scope::Site(&domains, entry.owner()))?.after,
            None => None,
        };
        // Nobody adds an account meanwhile.
        let _domain = directory.filter(|path| path.is_dir()).map(lock_directory).transpose()?;
        let intent = Intent::RemoveDomain { names: gone.clone(), directory: directory.map(Path::to_path_buf), counted: counted.clone() };
        let _intent = intent.write(&self.settings.home.join("users"))?;
        let mut journal = Journal::default();
        self.finish_removal(&mut journal, &gone, directory)?;
        let sorted = journal.commit();
        self.forget_domain(&gone, directory, counted.as_ref())?;
        Ok(Change::reload(sorted))
    }

    /// Takes the names out of all lists, and the directory out of the way. May be done again.
    pub(super) fn finish_removal(&self, journal: &mut Journal, names: &[String], directory: Option<&Path>) -> Result<(), AdminError> {
        for name in names {
            self.unlist_domain(journal, name)?;
        }
        if let Some(directory) = directory {
            move_aside(journal, directory)?;
        }
        let mut assignments = Assignments::read(&self.settings.home)?;
        for name in names {
            assignments.remove(name);
        }
        assignments.write(journal)
    }

    /// Forgets the rows, the counters and the mail. May be done again.
    pub(super) fn forget_domain(
        &self,
        names: &[String],
        directory: Option<&Path>,
        counted: Option<&crate::vpasswd::HashState>,
    ) -> Result<(), AdminError> {
        let (Some(directory), Some(real)) = (directory, names.first()) else { return Ok(()) };
        self.keepers.accounts.remove_domain(real)?;
        if self.keepers.aliases.is_some() {
            self.forget_aliases(real)?;
        }
        if let (Some(domains), Some(state)) = (domains_above(directory), counted) {
            let owner = owner_of(&domains)?;
            let is_new = self.hash_state(Scope::Site(&domains, owner))?.as_ref() != Some(state);
            if is_new {
                self.set_hash_state(Scope::Site(&domains, owner), Some(state))?;
            }
        }
        remove_domain_tree(&aside(directory))
    }

    pub(super) fn forget_aliases(&self, real: &str) -> Result<(), AdminError> {
        self.keepers.aliases.as_ref().map_or(Ok(()), |kept| kept.remove_domain(real).map_err(AdminError::from))
    }

    /// All domains and alias domains, sorted by name.
    pub fn domains(&self) -> Result<Vec<DomainEntry>, AdminError> {
        Ok(Assignments::read(&self.settings.home)?.domains())
    }

    /// One domain; of an alias domain the entry of the alias (its directory is the real domain's).
    pub fn domain(&self, domain: &str) -> Result<DomainEntry, AdminError> {
        let name = checked(domain, names::domain(domain))?;
        let places = crate::keepers::Places::at(&self.settings.home, &self.settings.vpopmail_home);
        let found = places.get(&name)?;
        let alias_of = (found.real != name).then_some(found.real);
        Ok(DomainEntry { name, alias_of, directory: found.directory, uid: found.owner.uid, gid: found.owner.gid })
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

    /// The names of its alias domains.
    pub fn alias_domains(&self, domain: &str) -> Result<Vec<String>, AdminError> {
        let entry = self.domain(domain)?;
        Ok(Assignments::read(&self.settings.home)?.aliases_of(entry.real()))
    }

    /// Says what becomes of mail for unknown names.
    pub fn set_catch_all(&self, domain: &str, catch_all: &CatchAll) -> Result<Change, AdminError> {
        let entry = self.domain(domain)?;
        let catch_all = match catch_all {
            CatchAll::Account(name) => match self.keepers.accounts.find(entry.real(), name)? {
                Some(record) => CatchAll::Directory(record.directory.into()),
                None => return Err(AdminError::NoUser(format!("{name}@{}", entry.name))),
            },
            other => other.clone(),
        };
        let text = self.default_file(&entry.directory, &catch_all)?;
        let _lock = self.lock_domain(&entry)?;
        let _acting = ActingAs::begin(entry.owner())?;
        let mut journal = Journal::default();
        journal.replace(&entry.directory.join(".qmail-default"), &text, 0o600, Some(entry.owner()))?;
        let _ = journal.commit();
        Ok(Change::noticed())
    }

    /// The lock of users/ and the control lists; what a dead change left is put right first.
    pub(super) fn lock_domains(&self) -> Result<Lock, AdminError> {
        for directory in ["users", "control"] {
            let path = self.settings.home.join(directory);
            postino_disk::create_dir_durable(&path, 0o755).map_err(AdminError::io(&path))?;
        }
        let held = lock(&self.settings.home.join("users/assign.lock"), None)?;
        self.recover_domains()?;
        Ok(held)
    }

    /// The directory, built beside its place and renamed when it is whole and durable.
    fn make_domain_tree(
        &self,
        journal: &mut Journal,
        entry: &DomainEntry,
        records: &[Record],
        (default, abuse): (&[u8], AbuseAlias),
    ) -> Result<(), AdminError> {
        let owner = entry.owner();
        let parent = entry.directory.parent().unwrap_or(&entry.directory);
        let acting = ActingAs::begin(owner_of(&domains_above(&entry.directory).unwrap_or_else(|| parent.to_path_buf()))?)?;
        let building = building(&entry.directory);
        make_below(parent, owner)?;
        remove_tree(&building)?;
        journal.making_tree(&building);
        make_dir(&building, owner)?;
        drop(acting);
        let mut files = vec![(".qmail-default", default.to_vec())];
        if abuse == AbuseAlias::Make {
            files.push((".qmail-abuse", format!("&postmaster@{}\n", entry.name).into_bytes()));
        }
        if let Some(state) = self.count_up_new() {
            files.push((".dir-control", state.print().into_bytes()));
        }
        fill(&building, &files, owner)?;
        self.keepers.accounts.found_domain(&entry.name, &building, records)?;
        journal.rename(&building, &entry.directory)
    }

    fn default_file(&self, directory: &Path, catch_all: &CatchAll) -> Result<Vec<u8>, AdminError> {
        let action = match catch_all {
            CatchAll::Bounce => "bounce-no-mailbox".to_owned(),
            CatchAll::Delete => "delete".to_owned(),
            CatchAll::Forward(address) => {
                checked(address, names::address(address))?;
                address.clone()
            }
            CatchAll::Account(name) => directory.join(checked(name, names::user(name))?).display().to_string(),
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

/// `domains/` itself, in vpopmail's tree made by root, below somebody's home with that somebody's rights.
fn make_domains_dir(domains: &Path, owner: Owner, vpopmail_home: &Path) -> Result<(), AdminError> {
    let is_ours = domains.parent() == Some(vpopmail_home);
    let acting = if is_ours { None } else { Some(ActingAs::begin(owner)?) };
    if domains.try_exists().map_err(AdminError::io(domains))? {
        return Ok(());
    }
    postino_disk::create_dir_durable(domains, 0o700).map_err(AdminError::io(domains))?;
    drop(acting);
    if is_ours { own(domains, owner) } else { Ok(()) }
}

/// The directories of the hashing above a new one.
pub(super) fn make_below(path: &Path, owner: Owner) -> Result<(), AdminError> {
    if path.try_exists().map_err(AdminError::io(path))? {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_below(parent, owner)?;
        make_dir(path, owner)?;
        return postino_disk::sync_dir(parent).map_err(AdminError::io(parent));
    }
    Ok(())
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

/// Moves the domain's directory out of the way; it may be gone already (an earlier attempt).
fn move_aside(journal: &mut Journal, directory: &Path) -> Result<(), AdminError> {
    match std::fs::symlink_metadata(directory) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(AdminError::io(directory)(error)),
    }
    let aside = aside(directory);
    remove_domain_tree(&aside)?;
    let _acting = owner_above(directory)?.map(ActingAs::begin).transpose()?;
    journal.rename(directory, &aside)
}

/// A crashed attempt to add the domain leaves a directory with a postmaster without mail, named nowhere; that may go. Anything else stays.
fn clear_domain_leftover(directory: &Path) -> Result<(), AdminError> {
    let taken = || AdminError::DirectoryTaken(directory.to_path_buf());
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(AdminError::io(directory)(error)),
    };
    const OURS: [&str; 6] = ["vpasswd", "vpasswd.cdb", ".vpasswd.lock", ".qmail-default", ".qmail-abuse", ".dir-control"];
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
