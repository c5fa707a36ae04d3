//! Alias lines in LDAP: an entry of class `valias` an alias, `aa` (aliasAddress) its address, `di` (deliveryInstruction) its lines. Called through the
//! port. LDAP has sets: the same line twice is one, and the order is the one in which the server keeps values (OpenLDAP: as they came).

use super::Ldap;
use super::connection::{Question, code};
use super::entry::texts;
use super::names::alias_address;
use ldap3::{Mod, Scope, SearchEntry};
use postino_ports::accounts::{AccountsError, Aliases};
use std::collections::{BTreeMap, HashSet};

const ADDRESS: &str = "aa";
const LINE: &str = "di";
/// The attributes' other names, under which a server may give them back.
const ADDRESS_LONG: &str = "aliasAddress";
const LINE_LONG: &str = "deliveryInstruction";
/// How often a line is tried against somebody who adds and removes the same alias.
const TRIES: usize = 4;

fn either(entry: &SearchEntry, short: &str, long: &str) -> Vec<String> {
    let found = texts(entry, short);
    if found.is_empty() { texts(entry, long) } else { found }
}

fn one(value: &str) -> HashSet<Vec<u8>> {
    HashSet::from([value.as_bytes().to_vec()])
}

impl Ldap {
    fn add_to_alias(&self, dn: &str, line: &str) -> Result<Result<(), u32>, AccountsError> {
        let change = vec![Mod::Add(LINE.as_bytes().to_vec(), one(line))];
        Ok(match self.connections.change(|c| c.modify(dn, change))? {
            Err(code::VALUE_EXISTS) => Ok(()),
            other => other,
        })
    }

    fn new_alias(&self, domain: &str, alias: &str, line: &str) -> Result<Result<(), u32>, AccountsError> {
        let dn = self.settings.alias_dn(domain, alias);
        let attributes = vec![
            (b"objectClass".to_vec(), HashSet::from([b"top".to_vec(), b"valias".to_vec()])),
            (ADDRESS.as_bytes().to_vec(), one(&alias_address(domain, alias))),
            (LINE.as_bytes().to_vec(), one(line)),
        ];
        self.connections.change(|c| c.add(&dn, attributes))
    }

    fn remove_alias(&self, dn: &str) -> Result<bool, AccountsError> {
        match self.connections.change(|c| c.delete(dn))? {
            Ok(()) => Ok(true),
            Err(code::NO_OBJECT) => Ok(false),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }
}

impl Aliases for Ldap {
    fn lines(&self, domain: &str, alias: &str) -> Result<Vec<String>, AccountsError> {
        let dn = self.settings.alias_dn(domain, alias);
        let entry = self.connections.read(|c| c.entry(&dn, "(objectClass=valias)", &[LINE]))?;
        Ok(entry.map(|entry| either(&entry, LINE, LINE_LONG)).unwrap_or_default())
    }

    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<(String, String)>, AccountsError> {
        let base = self.settings.domain_dn(domain);
        let question = Question { base: &base, scope: Scope::OneLevel, filter: "(objectClass=valias)", attributes: &[ADDRESS, LINE] };
        let found = self.connections.read(|c| {
            let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
            c.each(&question, |entry| {
                let Some(address) = either(&entry, ADDRESS, ADDRESS_LONG).into_iter().next() else { return };
                let name = address.rsplit_once('@').map_or(address.as_str(), |(name, _)| name).to_ascii_lowercase();
                if after.is_none_or(|after| name.as_str() > after) {
                    found.insert(name, either(&entry, LINE, LINE_LONG));
                    if found.len() > count_max {
                        found.pop_last();
                    }
                }
            })?;
            Ok(found)
        })?;
        Ok(found.into_iter().flat_map(|(name, lines)| lines.into_iter().map(move |line| (name.clone(), line))).collect())
    }

    fn add_line(&self, domain: &str, alias: &str, line: &str) -> Result<(), AccountsError> {
        self.writable()?;
        let dn = self.settings.alias_dn(domain, alias);
        for _ in 0..TRIES {
            match self.add_to_alias(&dn, line)? {
                Ok(()) => return Ok(()),
                Err(code::NO_OBJECT) => {}
                Err(code) => return Err(self.connections.refusal(code)),
            }
            match self.new_alias(domain, alias, line)? {
                Ok(()) => return Ok(()),
                Err(code::ENTRY_EXISTS) => {}
                Err(code::NO_OBJECT) => return Err(AccountsError::NoDomain(domain.to_owned())),
                Err(code) => return Err(self.connections.refusal(code)),
            }
        }
        Err(AccountsError::Unavailable { what: format!("LDAP: {dn} comes and goes") })
    }

    fn remove(&self, domain: &str, alias: &str, line: Option<&str>) -> Result<bool, AccountsError> {
        self.writable()?;
        let dn = self.settings.alias_dn(domain, alias);
        let Some(line) = line else { return self.remove_alias(&dn) };
        let change = vec![Mod::Delete(LINE.as_bytes().to_vec(), one(line))];
        match self.connections.change(|c| c.modify(&dn, change))? {
            Ok(()) => Ok(true),
            Err(code::NO_OBJECT | code::NO_ATTRIBUTE) => Ok(false),
            // The class wants at least one line: this was the last.
            Err(code::CLASS) => self.remove_alias(&dn),
            Err(code) => Err(self.connections.refusal(code)),
        }
    }

    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError> {
        self.writable()?;
        self.remove_all(domain, "(objectClass=valias)")?;
        Ok(())
    }
}
