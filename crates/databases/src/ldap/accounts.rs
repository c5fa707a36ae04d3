//! Accounts in LDAP entries. Called through the port. One entry is one account, changed in one step; the domain is an `ou` that may stay empty.

use super::Ldap;
use super::connection::{Question, code};
use super::entry::{additions, name_of, record, replacements};
use super::names::filter;
use super::settings::{Authentication, Layout};
use ldap3::{Scope, SearchEntry};
use postino_ports::accounts::{Accounts, AccountsError};
use postino_types::account::Record;
use std::collections::{BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a list of names serves for its next page: LDAP servers sort nothing without an overlay.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(30);
/// Longest list that is kept.
const SNAPSHOT_NAMES_MAX: usize = 200_000;
/// Records asked for by one search.
const RECORDS_AT_ONCE: usize = 50;
/// A login name in a filter or DN is no longer than this.
const NAME_BYTES_MAX: usize = 255;

/// The names of the domain that was paged through last.
#[derive(Debug, Default)]
pub(super) struct Snapshot(Mutex<Option<Listed>>);

#[derive(Debug)]
struct Listed {
    domain: String,
    names: BTreeSet<String>,
    at: Instant,
}

impl Snapshot {
    fn page(&self, domain: &str, after: &str, count_max: usize) -> Option<Vec<String>> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = listed.as_ref().filter(|l| l.domain == domain && l.at.elapsed() < SNAPSHOT_AGE_MAX)?;
        Some(next_names(&listed.names, Some(after), count_max))
    }

    fn keep(&self, domain: &str, names: BTreeSet<String>) {
        let listed = (names.len() <= SNAPSHOT_NAMES_MAX).then(|| Listed { domain: domain.to_owned(), names, at: Instant::now() });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = listed;
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn next_names(names: &BTreeSet<String>, after: Option<&str>, count_max: usize) -> Vec<String> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, Excluded);
    names.range::<str, _>((from, Unbounded)).take(count_max).cloned().collect()
}

impl Ldap {
    fn class_filter(&self, domain: &str) -> String {
        match &self.settings.layout {
            Layout::Vpopmail => "(objectClass=qmailUser)".to_owned(),
            Layout::Existing(existing) => filter(&existing.filter, domain, None),
        }
    }

    /// Where a domain's accounts are, and how deep.
    fn place_of(&self, domain: &str) -> (String, Scope) {
        match self.settings.layout {
            Layout::Vpopmail => (self.settings.domain_dn(domain), Scope::OneLevel),
            Layout::Existing(_) => (self.settings.base.clone(), Scope::Subtree),
        }
    }

    fn attributes(&self) -> [&str; 8] {
        let names = &self.settings.names;
        [&names.user, &names.password, &names.kind, &names.flags, &names.gecos, &names.directory, &names.quota, &names.clear]
            .map(String::as_str)
    }

    /// The entry of an account. Two that fit are nobody: the operator must look.
    fn entry_of(&self, domain: &str, name: &str, attributes: &[&str]) -> Result<Option<SearchEntry>, AccountsError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || domain.len() > NAME_BYTES_MAX {
            return Ok(None);
        }
        let found = match &self.settings.layout {
            Layout::Vpopmail => {
                let dn = self.settings.account_dn(domain, name);
                self.connections.read(|c| c.entry(&dn, "(objectClass=qmailUser)", attributes))?
            }
            Layout::Existing(existing) => self.only(&filter(&existing.filter, domain, Some(name)), attributes)?,
        };
        // Servers fold more than case; a name is only itself.
        Ok(found.filter(|entry| name_of(entry, &self.settings, domain).as_deref() == Some(name)))
    }

    fn only(&self, filter: &str, attributes: &[&str]) -> Result<Option<SearchEntry>, AccountsError> {
        let question = Question { base: &self.settings.base, scope: Scope::Subtree, filter, attributes };
        let mut found = self.connections.read(|c| {
            let mut found = Vec::new();
            c.each(&question, |entry| {
                if found.len() < 2 {
                    found.push(entry);
                }
            })?;
            Ok(found)
        })?;
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err(AccountsError::Damaged { what: format!("LDAP: more than one entry for {filter}") }),
        }
    }

    fn names(&self, domain: &str) -> Result<BTreeSet<String>, AccountsError> {
        let (base, scope) = self.place_of(domain);
        let attributes = [self.settings.names.user.as_str()];
        let question = Question { base: &base, scope, filter: &self.class_filter(domain), attributes: &attributes };
        self.connections.read(|c| {
            let mut names = BTreeSet::new();
            c.each(&question, |entry| names.extend(name_of(&entry, &self.settings, domain)))?;
            Ok(names)
        })
    }

    /// The records of these names, in their order; who went in the meantime is left out.
    fn records(&self, domain: &str, names: &[String]) -> Result<Vec<Record>, AccountsError> {
        let (base, scope) = self.place_of(domain);
        let mut records = Vec::with_capacity(names.len());
        for some in names.chunks(RECORDS_AT_ONCE) {
            let filter = self.filter_of(domain, some);
            let question = Question { base: &base, scope, filter: &filter, attributes: &self.attributes() };
            let entries = self.connections.read(|c| {
                let mut entries = Vec::new();
                c.each(&question, |entry| entries.push(entry))?;
                Ok(entries)
            })?;
            let mut found = Vec::with_capacity(entries.len());
            for entry in &entries {
                if let Some(name) = name_of(entry, &self.settings, domain).filter(|name| some.contains(name)) {
                    found.push(record(entry, &self.settings, domain, &name)?);
                }
            }
            found.sort_by(|a, b| a.name.cmp(&b.name));
            records.append(&mut found);
        }
        Ok(records)
    }

    fn filter_of(&self, domain: &str, names: &[String]) -> String {
        let one = |name: &String| match &self.settings.layout {
            Layout::Vpopmail => format!("({}={})", self.settings.names.user, ldap3::ldap_escape(name.as_str())),
            Layout::Existing(existing) => filter(&existing.filter, domain, Some(name)),
        };
        let any: String = names.iter().map(one).collect();
        match self.settings.layout {
            Layout::Vpopmail => format!("(&(objectClass=qmailUser)(|{any}))"),
            Layout::Existing(_) => format!("(|{any})"),
        }
    }
}

impl Accounts for Ldap {
    fn find(&self, domain: &str, name: &str) -> Result<Option<Record>, AccountsError> {
        let entry = self.entry_of(domain, name, &self.attributes())?;
        entry.map(|entry| record(&entry, &self.settings, domain, name)).transpose()
    }

    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<Record>, AccountsError> {
        let kept = after.and_then(|after| self.snapshot.page(domain, after, count_max));
        let names = match kept {
            Some(names) => names,
            None => {
                let all = self.names(domain)?;
                let names = next_names(&all, after, count_max);
                self.snapshot.keep(domain, all);
                names
            }
        };
        self.records(domain, &names)
    }

    fn count(&self, domain: &str) -> Result<u64, AccountsError> {
        Ok(u64::try_from(self.names(domain)?.len()).unwrap_or(u64::MAX))
    }

    fn add_domain(&self, domain: &str) -> Result<(), AccountsError> {
        self.writable()?;
        let dn = self.settings.domain_dn(domain);
        let one = |value: &str| HashSet::from([value.as_bytes().to_vec()]);
        let attributes = vec![
            (b"objectClass".to_vec(), HashSet::from([b"top".to_vec(), b"organizationalUnit".to_vec()])),
            (b"ou".to_vec(), one(if domain.is_empty() { "users" } else { domain })),
        ];
        match self.connections.change(|c| c.add(&dn, attributes))? {
            Ok(()) | Err(code::ENTRY_EXISTS) => Ok(()),
            Err(code::NO_OBJECT) => Err(AccountsError::Unavailable { what: format!("LDAP: no entry {}", self.settings.base) }),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }

    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError> {
        self.writable()?;
        self.snapshot.forget();
        self.remove_all(domain, "(objectClass=qmailUser)")?;
        let dn = self.settings.domain_dn(domain);
        match self.connections.change(|c| c.delete(&dn))? {
            // Aliases may still be below it: they have their own keeper, who takes the rest away.
            Ok(()) | Err(code::NO_OBJECT | code::NOT_LEAF) => Ok(()),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }

    fn insert(&self, domain: &str, record: &Record) -> Result<(), AccountsError> {
        self.writable()?;
        self.snapshot.forget();
        let dn = self.settings.account_dn(domain, &record.name);
        match self.connections.change(|c| c.add(&dn, additions(record, &self.settings)))? {
            Ok(()) => Ok(()),
            Err(code::ENTRY_EXISTS) => Err(AccountsError::Exists(record.name.clone())),
            Err(code::NO_OBJECT) => Err(AccountsError::NoDomain(domain.to_owned())),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }

    fn update(&self, domain: &str, record: &Record) -> Result<(), AccountsError> {
        self.writable()?;
        let dn = self.settings.account_dn(domain, &record.name);
        match self.connections.change(|c| c.modify(&dn, replacements(record, &self.settings)))? {
            Ok(()) => Ok(()),
            Err(code::NO_OBJECT) => Err(AccountsError::Missing(record.name.clone())),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }

    fn remove(&self, domain: &str, name: &str) -> Result<(), AccountsError> {
        self.writable()?;
        self.snapshot.forget();
        let dn = self.settings.account_dn(domain, name);
        match self.connections.change(|c| c.delete(&dn))? {
            Ok(()) => Ok(()),
            Err(code::NO_OBJECT) => Err(AccountsError::Missing(name.to_owned())),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }

    fn check_password(&self, domain: &str, name: &str, password: &[u8]) -> Result<Option<bool>, AccountsError> {
        if self.settings.authentication != Authentication::Bind {
            return Ok(None);
        }
        // A bind without a password succeeds as nobody (RFC 4513 5.1.2): it must never be a login.
        let Some(password) = std::str::from_utf8(password).ok().filter(|text| !text.is_empty() && !text.contains('\0')) else {
            return Ok(Some(false));
        };
        let Some(entry) = self.entry_of(domain, name, &[self.settings.names.user.as_str()])? else { return Ok(Some(false)) };
        match self.connections.may_bind(&entry.dn, password)? {
            Ok(()) => Ok(Some(true)),
            Err(code::CREDENTIALS | code::INAPPROPRIATE | code::CONSTRAINT | code::NO_OBJECT) => Ok(Some(false)),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }
}

impl Ldap {
    /// Removes every entry of a class directly below a domain.
    pub(super) fn remove_all(&self, domain: &str, class: &str) -> Result<(), AccountsError> {
        let base = self.settings.domain_dn(domain);
        let question = Question { base: &base, scope: Scope::OneLevel, filter: class, attributes: &["1.1"] };
        let all = self.connections.read(|c| {
            let mut all = Vec::new();
            c.each(&question, |entry| all.push(entry.dn))?;
            Ok(all)
        })?;
        for dn in all {
            match self.connections.change(|c| c.delete(&dn))? {
                Ok(()) | Err(code::NO_OBJECT) => {}
                Err(code) => return Err(self.connections.refusal(code)),
            }
        }
        Ok(())
    }
}
