//! An entry of class `qmailUser` ↔ an account record. Called by the accounts keeper. Pure: no connection.

use super::names::directory;
use super::settings::{Layout, LdapSettings};
use ldap3::{Mod, SearchEntry};
use postino_ports::accounts::AccountsError;
use postino_types::account::Record;
use std::collections::HashSet;

/// How crypt(3) hashes are marked in `userPassword` (RFC 2307 5.3), so that the directory itself understands them at a bind.
const CRYPT: &str = "{crypt}";

/// All values of an attribute as bytes; names of attributes fold case.
fn values(entry: &SearchEntry, name: &str) -> Vec<Vec<u8>> {
    let same = |key: &&String| key.eq_ignore_ascii_case(name);
    let text = entry.attrs.keys().find(same).and_then(|key| entry.attrs.get(key));
    let bytes = entry.bin_attrs.keys().find(same).and_then(|key| entry.bin_attrs.get(key));
    let text = text.into_iter().flatten().map(|value| value.clone().into_bytes());
    text.chain(bytes.into_iter().flatten().cloned()).collect()
}

/// Values that are text, in the order in which the server gave them.
pub(super) fn texts(entry: &SearchEntry, name: &str) -> Vec<String> {
    values(entry, name).into_iter().filter_map(|value| String::from_utf8(value).ok()).collect()
}

/// The account's name in `domain`: of an address the local part, if the domain is the right one. `None`: the entry is somebody else's.
pub(super) fn name_of(entry: &SearchEntry, settings: &LdapSettings, domain: &str) -> Option<String> {
    let fits = |value: &String| match value.rsplit_once('@') {
        Some((name, host)) => host.eq_ignore_ascii_case(domain).then(|| name.to_ascii_lowercase()),
        None => Some(value.to_ascii_lowercase()),
    };
    texts(entry, &settings.names.user).iter().find_map(fits)
}

/// The record of `name` in an entry.
pub(super) fn record(entry: &SearchEntry, settings: &LdapSettings, domain: &str, name: &str) -> Result<Record, AccountsError> {
    let names = &settings.names;
    let damaged = |what: &str| AccountsError::Damaged { what: format!("{}: {what}", entry.dn) };
    let text = |attribute: &str| -> Result<Option<String>, AccountsError> {
        let first = values(entry, attribute).into_iter().next();
        first.map(|value| String::from_utf8(value).map_err(|_| damaged(attribute))).transpose()
    };
    let number = |attribute: &str, default: u32| -> Result<u32, AccountsError> {
        text(attribute)?.map_or(Ok(default), |value| value.trim().parse().map_err(|_| damaged(attribute)))
    };
    let stored = text(&names.directory)?.filter(|value| !value.is_empty());
    let home = match (stored, &settings.layout) {
        (Some(stored), _) => stored,
        (None, Layout::Existing(existing)) => directory(&existing.directory, domain, name).ok_or_else(|| damaged("no directory"))?,
        (None, Layout::Vpopmail) => String::new(),
    };
    Ok(Record {
        name: name.to_owned(),
        password: text(&names.password)?.map(without_crypt).unwrap_or_default(),
        kind: number(&names.kind, 1)?,
        flags: number(&names.flags, 0)?,
        gecos: values(entry, &names.gecos).into_iter().next().unwrap_or_default(),
        directory: home,
        quota: text(&names.quota)?.unwrap_or_default(),
        clear: text(&names.clear)?,
    })
}

fn without_crypt(value: String) -> String {
    match value.split_at_checked(CRYPT.len()) {
        Some((mark, hash)) if mark.eq_ignore_ascii_case(CRYPT) => hash.to_owned(),
        _ => value,
    }
}

fn with_crypt(hash: &str) -> String {
    if hash.is_empty() || hash.starts_with('{') { hash.to_owned() } else { format!("{CRYPT}{hash}") }
}

/// The directory holds text: a comment of other bytes is taken for Latin-1, as it was written where vpopmail was young.
fn comment(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|&b| char::from(b)).collect(), str::to_owned)
}

/// Every attribute of a record with its value; an empty one is not there (LDAP knows no empty text).
fn attributes<'a>(record: &Record, settings: &'a LdapSettings) -> Vec<(&'a str, Vec<u8>)> {
    let names = &settings.names;
    vec![
        (names.password.as_str(), with_crypt(&record.password).into_bytes()),
        (names.kind.as_str(), record.kind.to_string().into_bytes()),
        (names.flags.as_str(), record.flags.to_string().into_bytes()),
        (names.gecos.as_str(), comment(&record.gecos).into_bytes()),
        (names.directory.as_str(), record.directory.clone().into_bytes()),
        (names.quota.as_str(), record.quota.clone().into_bytes()),
        (names.clear.as_str(), record.clear.clone().unwrap_or_default().into_bytes()),
    ]
}

/// What makes a new entry.
pub(super) fn additions(record: &Record, settings: &LdapSettings) -> Vec<(Vec<u8>, HashSet<Vec<u8>>)> {
    let name = record.name.clone().into_bytes();
    let one = |value: Vec<u8>| HashSet::from([value]);
    let classes = ["top", "person", "organizationalPerson", "qmailUser"].map(|class| class.as_bytes().to_vec());
    let fixed = vec![
        (b"objectClass".to_vec(), HashSet::from(classes)),
        (settings.names.user.clone().into_bytes(), one(name.clone())),
        (b"cn".to_vec(), one(name.clone())),
        (b"sn".to_vec(), one(name)),
    ];
    let said = attributes(record, settings).into_iter().filter(|(_, value)| !value.is_empty());
    fixed.into_iter().chain(said.map(|(name, value)| (name.as_bytes().to_vec(), one(value)))).collect()
}

/// What makes an entry say `record`: each attribute replaced as a whole, an empty one removed.
pub(super) fn replacements(record: &Record, settings: &LdapSettings) -> Vec<Mod<Vec<u8>>> {
    let said = |value: Vec<u8>| if value.is_empty() { HashSet::new() } else { HashSet::from([value]) };
    attributes(record, settings).into_iter().map(|(name, value)| Mod::Replace(name.as_bytes().to_vec(), said(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Bind, Existing};
    use super::*;
    use std::collections::HashMap;

    fn entry(attributes: &[(&str, &str)]) -> SearchEntry {
        let attrs = attributes.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
        SearchEntry { dn: "uid=x".into(), attrs, bin_attrs: HashMap::new() }
    }

    #[test]
    fn an_entry_says_what_the_record_said() {
        let settings = LdapSettings::new("ldap://x", "o=mail", Bind::Anonymous);
        let record = Record {
            name: "pippo".into(),
            password: "$6$salt$hash".into(),
            kind: 1,
            flags: 0x802,
            gecos: b"P. Ippo".to_vec(),
            directory: "/v/d/pippo".into(),
            quota: "5S".into(),
            clear: None,
        };
        let mut attrs: HashMap<String, Vec<String>> = HashMap::new();
        for (name, values) in additions(&record, &settings) {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            attrs.insert(text(name), values.into_iter().map(text).collect());
        }
        assert_eq!(attrs["userPassword"], ["{crypt}$6$salt$hash"]);
        assert!(!attrs.contains_key("clearPassword"), "no empty value");
        let entry = SearchEntry { dn: "uid=pippo".into(), attrs, bin_attrs: HashMap::new() };
        assert_eq!(super::record(&entry, &settings, "example.org", "pippo").unwrap(), record);
    }

    #[test]
    fn foreign_entries() {
        let mut settings = LdapSettings::new("ldap://x", "o=mail", Bind::Anonymous);
        settings.names.user = "mail".into();
        settings.layout = Layout::Existing(Existing { filter: "(mail={user}@{domain})".into(), directory: "/m/{domain}/{user}".into() });
        let mut found = entry(&[("MAIL", "Pippo@Example.org"), ("userPassword", "{SSHA}abc")]);
        assert_eq!(name_of(&found, &settings, "example.org").as_deref(), Some("pippo"));
        assert_eq!(name_of(&found, &settings, "example.com"), None);
        let read = record(&found, &settings, "example.org", "pippo").unwrap();
        assert_eq!(
            (read.directory.as_str(), read.password.as_str(), read.quota_or_none()),
            ("/m/example.org/pippo", "{SSHA}abc", "NOQUOTA")
        );
        found.attrs.insert("qmailGID".into(), vec!["lots".into()]);
        assert!(matches!(record(&found, &settings, "example.org", "pippo"), Err(AccountsError::Damaged { .. })), "unknown flags are not 0");
    }
}
