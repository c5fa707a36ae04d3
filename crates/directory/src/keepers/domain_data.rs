//! `.qmailadmin-limits` and `.dir-control` of domains, `etc/vlimits.default`, `etc/ip_alias_map`. Called through the port. What the lines mean is
//! said in `types::account`.

use super::place::{DomainPlace, Places};
use super::{damaged, io, read_if_there};
use crate::admin::ActingAs;
use crate::admin::Owner;
use crate::admin::journal::own;
use crate::files::is_absent;
use crate::vpasswd::{DomainLimits, HashState};
use postino_ports::accounts::{AccountsError, DomainData};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct FileDomainData {
    places: Places,
}

impl FileDomainData {
    pub(super) fn new(places: Places) -> Self {
        Self { places }
    }

    fn site(&self, directory: &str) -> Result<DomainPlace, AccountsError> {
        let directory = self.places.vpopmail_home.join(directory);
        let found = std::fs::metadata(&directory).map_err(io(&directory))?;
        Ok(DomainPlace { real: String::new(), directory, owner: Owner { uid: found.uid(), gid: found.gid() } })
    }

    fn limits_file(&self, domain: &str) -> Result<(DomainPlace, &'static str), AccountsError> {
        if domain.is_empty() {
            return Ok((self.site("etc")?, "vlimits.default"));
        }
        Ok((self.places.get(domain)?, ".qmailadmin-limits"))
    }

    fn hash_place(&self, domain: &str) -> Result<DomainPlace, AccountsError> {
        if domain.is_empty() { self.site("domains") } else { self.places.get(domain) }
    }

    fn map_path(&self) -> PathBuf {
        self.places.vpopmail_home.join("etc/ip_alias_map")
    }
}

/// Writes a file with its owner's rights, or removes it.
fn put(place: &DomainPlace, name: &str, text: Option<&str>, mode: u32) -> Result<(), AccountsError> {
    let path = place.directory.join(name);
    let _acting = ActingAs::begin(place.owner)?;
    let Some(text) = text else {
        return match std::fs::remove_file(&path) {
            Ok(()) => postino_disk::sync_dir(&place.directory).map_err(io(&path)),
            Err(error) if is_absent(&error) => Ok(()),
            Err(error) => Err(io(&path)(error)),
        };
    };
    postino_disk::replace_file(&path, text.as_bytes(), mode).map_err(io(&path))?;
    Ok(own(&path, place.owner)?)
}

/// The state in this file.
pub(crate) fn hash_state_in(path: &Path) -> Result<Option<HashState>, AccountsError> {
    read_if_there(path)?.map(|text| HashState::parse(&text).ok_or_else(|| damaged(path))).transpose()
}

/// Writes the state into the `.dir-control` of this directory, or removes it.
pub(crate) fn put_hash_state(directory: &Path, owner: Owner, state: Option<&HashState>) -> Result<(), AccountsError> {
    let place = DomainPlace { real: String::new(), directory: directory.to_path_buf(), owner };
    put(&place, ".dir-control", state.map(HashState::print).as_deref(), 0o600)
}

/// Lines `IP DOMAIN`.
fn pairs(text: &[u8]) -> Vec<(IpAddr, String)> {
    let text = String::from_utf8_lossy(text);
    let pair = |line: &str| {
        let mut words = line.split([' ', '\t', ':']).filter(|word| !word.is_empty());
        // An IPv6 address has colons of its own.
        let whole = line.split_once([' ', '\t']).and_then(|(ip, rest)| Some((ip.parse().ok()?, rest.trim().to_owned())));
        whole.or_else(|| Some((words.next()?.parse().ok()?, words.next()?.to_owned())))
    };
    text.lines().filter_map(pair).collect()
}

impl DomainData for FileDomainData {
    fn limits(&self, domain: &str) -> Result<Option<DomainLimits>, AccountsError> {
        let (place, name) = match self.limits_file(domain) {
            Ok(file) => file,
            Err(AccountsError::Unavailable { .. }) if domain.is_empty() => return Ok(None), // no etc/
            Err(error) => return Err(error),
        };
        Ok(read_if_there(&place.directory.join(name))?.map(|text| DomainLimits::parse(&text)))
    }

    fn set_limits(&self, domain: &str, limits: Option<&DomainLimits>) -> Result<(), AccountsError> {
        let (place, name) = self.limits_file(domain)?;
        put(&place, name, limits.map(DomainLimits::print).as_deref(), 0o600)
    }

    fn domain_of(&self, address: IpAddr) -> Result<Option<String>, AccountsError> {
        let address = address.to_canonical();
        Ok(self.addresses()?.into_iter().find(|(ip, _)| *ip == address).map(|(_, domain)| domain))
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, String)>, AccountsError> {
        Ok(pairs(&read_if_there(&self.map_path())?.unwrap_or_default()))
    }

    fn set_domain_of(&self, address: IpAddr, domain: Option<&str>) -> Result<(), AccountsError> {
        let address = address.to_canonical();
        let place = self.site("etc")?;
        let acting = ActingAs::begin(place.owner)?;
        let _lock = crate::admin::journal::lock(&place.directory.join("ip_alias_map.lock"), Some(place.owner))?;
        let mut all: Vec<(IpAddr, String)> = self.addresses()?.into_iter().filter(|(ip, _)| *ip != address).collect();
        all.extend(domain.map(|domain| (address, domain.to_owned())));
        all.sort();
        let text: String = all.iter().map(|(ip, domain)| format!("{ip} {domain}\n")).collect();
        put(&place, "ip_alias_map", Some(&text), 0o644)?;
        drop(acting);
        Ok(())
    }

    fn hash_state(&self, domain: &str) -> Result<Option<HashState>, AccountsError> {
        hash_state_in(&self.hash_place(domain)?.directory.join(".dir-control"))
    }

    fn set_hash_state(&self, domain: &str, state: Option<&HashState>) -> Result<(), AccountsError> {
        let place = self.hash_place(domain)?;
        // vdeldomain leaves the file with the mode of its umask, the other programs with 0600.
        let shrinks = domain.is_empty() && {
            let old = hash_state_in(&place.directory.join(".dir-control"))?.unwrap_or_default();
            state.is_some_and(|new| new.current_users < old.current_users)
        };
        put(&place, ".dir-control", state.map(HashState::print).as_deref(), if shrinks { 0o644 } else { 0o600 })
    }
}
