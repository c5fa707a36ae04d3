//! Aliases of a domain: files `.qmail-NAME` whose lines forward. Called by the command line. Never touches `.qmail-default` nor a line it did not
//! understand.

use super::acting::ActingAs;
use super::journal::Journal;
use super::limits::Act;
use super::users::alias_path;
use super::{Admin, AdminError, Change, DomainEntry, checked};
use crate::names;
use std::os::unix::ffi::OsStrExt;

/// Longest line of an alias, in bytes (vpopmail's field).
const LINE_BYTES_MAX: usize = 160;

/// An alias as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alias {
    /// `name@domain`.
    pub address: String,
    /// The instructions, comments left out, `&` before an address taken off.
    pub lines: Vec<String>,
}

impl Admin {
    /// Adds `target` to the alias `address`, making the alias when there is none. Adding a target twice changes nothing.
    pub fn add_alias(&self, address: &str, target: &str) -> Result<Change, AdminError> {
        let (name, domain) = checked(address, names::address(address))?;
        let line = target_line(target)?;
        let entry = self.domain(&domain)?;
        let here = |line: &str| is_here(&entry, line);
        self.allow_alias(&domain, Act::Create, here, target)?;
        let _lock = self.lock_domain(&entry)?;
        let _acting = ActingAs::begin(entry.owner())?;
        if name == "default" {
            return Err(AdminError::Name { name, reason: names::NameError::Reserved });
        }
        if self.keepers.accounts.find(entry.real(), &name)?.is_some() {
            return Err(AdminError::UserExists(format!("{name}@{domain}")));
        }
        if let Some(kept) = &self.keepers.aliases {
            let known = kept.lines(entry.real(), &name)?.iter().any(|line| instruction(line.as_bytes()).as_deref() == Some(target));
            if !known {
                kept.add_line(entry.real(), &name, line.trim_end())?;
            }
            return Ok(Change::noticed());
        }
        let path = alias_path(&entry.directory, &name);
        let mut text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(AdminError::io(&path)(error)),
        };
        if lines_of(&text).contains(&target.to_owned()) {
            return Ok(Change::noticed());
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        let mut journal = Journal::default();
        journal.replace(&path, &text, 0o600, Some(entry.owner()))?;
        let _ = journal.commit();
        Ok(Change::noticed())
    }

    /// Removes one target of an alias, or with `None` the whole alias. The last target takes the alias with it.
    pub fn remove_alias(&self, address: &str, target: Option<&str>) -> Result<Change, AdminError> {
        let (name, domain) = checked(address, names::address(address))?;
        let entry = self.domain(&domain)?;
        let address = format!("{name}@{domain}");
        self.allow_alias(&domain, Act::Delete, |line| is_here(&entry, line), target.unwrap_or_default())?;
        let _lock = self.lock_domain(&entry)?;
        let _acting = ActingAs::begin(entry.owner())?;
        if let Some(gone) = self.remove_kept(&entry, &name, target)? {
            return if gone { Ok(Change::noticed()) } else { Err(AdminError::NoAlias(address)) };
        }
        let path = alias_path(&entry.directory, &name);
        let text = match std::fs::read(&path) {
            Ok(text) if name != "default" => text,
            Ok(_) => return Err(AdminError::Name { name, reason: names::NameError::Reserved }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(AdminError::NoAlias(address)),
            Err(error) => return Err(AdminError::io(&path)(error)),
        };
        let left: Vec<&[u8]> = match target {
            None => Vec::new(),
            Some(target) => {
                text.split(|&b| b == b'\n').filter(|line| !line.is_empty() && instruction(line).as_deref() != Some(target)).collect()
            }
        };
        if target.is_some_and(|target| !lines_of(&text).contains(&target.to_owned())) {
            return Err(AdminError::NoAlias(format!("{address} -> {}", target.unwrap_or_default())));
        }
        let mut journal = Journal::default();
        if left.iter().any(|line| instruction(line).is_some()) {
            let text: Vec<u8> = left.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            journal.replace(&path, &text, 0o600, Some(entry.owner()))?;
        } else if name == "postmaster" && self.keepers.accounts.find(entry.real(), &name)?.is_none() {
            return Err(AdminError::Postmaster(address));
        } else {
            journal.remove_file(&path)?;
        }
        let _ = journal.commit();
        Ok(Change::noticed())
    }

    /// All aliases of a domain, sorted by name.
    pub fn aliases(&self, domain: &str) -> Result<Vec<Alias>, AdminError> {
        let entry = self.domain(domain)?;
        let real = entry.real();
        let mut aliases = self.kept_aliases(real)?;
        for file in std::fs::read_dir(&entry.directory).map_err(AdminError::io(&entry.directory))? {
            let file = file.map_err(AdminError::io(&entry.directory))?;
            let file_name = file.file_name();
            let Some(stem) = file_name.as_bytes().strip_prefix(b".qmail-").filter(|stem| *stem != b"default") else { continue };
            if !file.file_type().map_err(AdminError::io(&file.path()))?.is_file() {
                continue;
            }
            let text = std::fs::read(file.path()).map_err(AdminError::io(&file.path()))?;
            let name = postino_types::printable::printable(stem).replace(':', ".");
            aliases.retain(|other| other.address != format!("{name}@{real}")); // the file is asked first
            aliases.push(Alias { address: format!("{name}@{real}"), lines: lines_of(&text) });
        }
        aliases.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(aliases)
    }
}

/// Aliases read at once from a database.
const PAGE: usize = 1000;

impl Admin {
    fn remove_kept(&self, entry: &DomainEntry, name: &str, target: Option<&str>) -> Result<Option<bool>, AdminError> {
        let Some(kept) = &self.keepers.aliases else { return Ok(None) };
        let lines = kept.lines(entry.real(), name)?;
        let Some(target) = target.filter(|_| !lines.is_empty()) else {
            return if lines.is_empty() { Ok(None) } else { Ok(Some(kept.remove(entry.real(), name, None)?)) };
        };
        let line = lines.into_iter().find(|line| instruction(line.as_bytes()).as_deref() == Some(target));
        line.map_or(Ok(Some(false)), |line| Ok(Some(kept.remove(entry.real(), name, Some(&line))?)))
    }

    fn kept_aliases(&self, real: &str) -> Result<Vec<Alias>, AdminError> {
        let Some(kept) = &self.keepers.aliases else { return Ok(Vec::new()) };
        let mut aliases: Vec<Alias> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = kept.page(real, after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(aliases) };
            after = Some(last.clone());
            for (name, line) in page {
                let address = format!("{name}@{real}");
                let line = instruction(line.as_bytes());
                match aliases.last_mut().filter(|last| last.address == address) {
                    Some(last) => last.lines.extend(line),
                    None => aliases.push(Alias { address, lines: line.into_iter().collect() }),
                }
            }
        }
    }
}

/// Does the line lead to an account of the domain?
fn is_here(entry: &DomainEntry, line: &str) -> bool {
    let host = line.rsplit_once('@').map(|(_, host)| host.to_ascii_lowercase());
    host.is_some_and(|host| host == entry.name || host == entry.real())
}

fn lines_of(text: &[u8]) -> Vec<String> {
    text.split(|&b| b == b'\n').filter_map(instruction).collect()
}

/// A line without blanks at its end and without `&`; `None` for comments and empty lines.
fn instruction(line: &[u8]) -> Option<String> {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end_matches([' ', '\t']);
    (!line.is_empty() && !line.starts_with('#')).then(|| line.strip_prefix('&').unwrap_or(line).to_owned())
}

fn target_line(target: &str) -> Result<String, AdminError> {
    let wrong = || AdminError::Target(postino_types::printable::printable(target.as_bytes()));
    let (local, host) = target.rsplit_once('@').ok_or_else(wrong)?;
    let good = !local.is_empty() && names::domain(host).is_ok() && target.len() < LINE_BYTES_MAX;
    if good && !target.chars().any(|c| c.is_control() || c == ' ') { Ok(format!("&{target}\n")) } else { Err(wrong()) }
}
