//! Aliases of a domain: files `.qmail-NAME` whose lines forward. Called by the command line. Never touches `.qmail-default` nor a line it did not
//! understand.

use super::account_file;
use super::acting::ActingAs;
use super::journal::{Journal, lock};
use super::users::alias_path;
use super::{Admin, AdminError, Change, checked};
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
        let _acting = ActingAs::begin(entry.owner())?;
        let _lock = lock(&entry.directory.join(".vpasswd.lock"), Some(entry.owner()))?;
        if name == "default" {
            return Err(AdminError::Name { name, reason: names::NameError::Reserved });
        }
        if account_file::read(&entry.directory, entry.owner())?.contains(&name) {
            return Err(AdminError::UserExists(format!("{name}@{domain}")));
        }
        let path = alias_path(&entry.directory, &name);
        let mut text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(AdminError::io(&path)(error)),
        };
        if lines_of(&text).contains(&target.to_owned()) {
            return Ok(Change::NOTICED);
        }
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(line.as_bytes());
        let mut journal = Journal::default();
        journal.replace(&path, &text, 0o600, Some(entry.owner()))?;
        journal.commit();
        Ok(Change::NOTICED)
    }

    /// Removes one target of an alias, or with `None` the whole alias. The last target takes the alias with it.
    pub fn remove_alias(&self, address: &str, target: Option<&str>) -> Result<Change, AdminError> {
        let (name, domain) = checked(address, names::address(address))?;
        let entry = self.domain(&domain)?;
        let address = format!("{name}@{domain}");
        let _acting = ActingAs::begin(entry.owner())?;
        let accounts = account_file::open(&entry.directory, entry.owner())?;
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
        } else if name == "postmaster" && !accounts.contains(&name) {
            return Err(AdminError::Postmaster(address));
        } else {
            journal.remove_file(&path)?;
        }
        journal.commit();
        Ok(Change::NOTICED)
    }

    /// All aliases of a domain, sorted by name.
    pub fn aliases(&self, domain: &str) -> Result<Vec<Alias>, AdminError> {
        let entry = self.domain(domain)?;
        let real = entry.alias_of.as_ref().unwrap_or(&entry.name);
        let mut aliases = Vec::new();
        for file in std::fs::read_dir(&entry.directory).map_err(AdminError::io(&entry.directory))? {
            let file = file.map_err(AdminError::io(&entry.directory))?;
            let file_name = file.file_name();
            let Some(stem) = file_name.as_bytes().strip_prefix(b".qmail-").filter(|stem| *stem != b"default") else { continue };
            if !file.file_type().map_err(AdminError::io(&file.path()))?.is_file() {
                continue;
            }
            let text = std::fs::read(file.path()).map_err(AdminError::io(&file.path()))?;
            let name = postino_types::printable::printable(stem).replace(':', ".");
            aliases.push(Alias { address: format!("{name}@{real}"), lines: lines_of(&text) });
        }
        aliases.sort_by(|a, b| a.address.cmp(&b.address));
        Ok(aliases)
    }
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
