//! What of this machine would keep a home from being served: accounts, rights, folders, ports, certificates. Called by `check`, in part by
//! `supervise`; looks only (a port is bound for a moment and let go).

use crate::bind;
use crate::control_socket::Client;
use postino_control::Config;
use postino_directory::admin::{Admin, DomainEntry};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What was found.
#[derive(Default)]
pub(crate) struct Findings {
    /// These keep the server from starting or from working.
    pub(crate) errors: Vec<String>,
    /// These want a look.
    pub(crate) warnings: Vec<String>,
}

/// Looks at everything.
pub(crate) fn look(config: &Config) -> Findings {
    let mut found = Findings::default();
    let account = crate::compose::account(&config.server.user);
    match &account {
        Ok(Some((uid, gid))) => {
            found.errors.extend(passable(&config.home, *uid, *gid).err());
            readable(config, *uid, *gid, &mut found);
        }
        Ok(None) => {}
        Err(e) => found.errors.push(e.to_string()),
    }
    domains(config, account.as_ref().ok(), &mut found);
    for identity in &config.server.tls {
        if let Err(e) = postino_net::tls::Identity::read(identity) {
            found.errors.push(format!("server.toml: [[tls]] {}: {e}", identity.host));
        }
    }
    for account in &config.server.fetch {
        for (key, file) in account.files() {
            if let Err(e) = std::fs::File::open(file) {
                found.errors.push(format!("server.toml: [[fetch]] {}: {key}: {}: {e}", account.name, file.display()));
            }
        }
    }
    found.warnings.extend(crate::keepers::trouble(config));
    folders(config, &mut found);
    assignments(config, &mut found);
    listeners(config, &mut found);
    found
}

/// May this account read a thing (`bit` 4), or pass a folder (`bit` 1)? Of its groups only the first is asked, as the worker has no other.
fn may(meta: &Metadata, uid: u32, gid: u32, bit: u32) -> bool {
    let shift = if meta.uid() == uid {
        6
    } else if meta.gid() == gid {
        3
    } else {
        0
    };
    (meta.mode() >> shift) & bit != 0
}

/// Every folder down to the home must let the worker through.
pub(crate) fn passable(home: &Path, uid: u32, gid: u32) -> Result<(), String> {
    let blocked = home.ancestors().find(|dir| std::fs::metadata(dir).is_ok_and(|m| !may(&m, uid, gid, 1)));
    match blocked {
        Some(dir) => Err(format!(
            "the server's account (uid {uid}) cannot pass through {0}: chmod o+x {0}, or put the home elsewhere with --home",
            dir.display()
        )),
        None => Ok(()),
    }
}

/// The worker reads control/ and users/ itself, at start and at every SIGHUP.
fn readable(config: &Config, uid: u32, gid: u32, found: &mut Findings) {
    for folder in ["control", "users"] {
        for entry in std::fs::read_dir(config.home.join(folder)).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let hidden = name.as_encoded_bytes().starts_with(b".") || name.as_encoded_bytes().ends_with(b".lock");
            if !hidden && std::fs::metadata(&path).is_ok_and(|m| m.is_file() && !may(&m, uid, gid, 4)) {
                found.errors.push(format!(
                    "{}: the server's account {1} cannot read it: chgrp {1} FILE && chmod g+r FILE",
                    path.display(),
                    config.server.user
                ));
            }
        }
    }
}

fn folders(config: &Config, found: &mut Findings) {
    for name in ["queue", "run", "tls", "domains", "users", "alias"] {
        let path = config.home.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(meta) if meta.is_symlink() && matches!(name, "domains" | "users" | "alias") => {}
            Ok(_) => found.errors.push(format!("{} is not a folder", path.display())),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                found.warnings.push(format!("{} does not exist yet; `postino serve` makes it", path.display()));
            }
            Err(e) => found.errors.push(format!("{}: {e}", path.display())),
        }
    }
    let domains = config.vpopmail_home.join("domains");
    if config.vpopmail_home != config.home && !domains.is_dir() {
        found.errors.push(format!("control/vpopmail-home: there is no folder {}", domains.display()));
    }
}

/// The worker delivers to virtual mailboxes under its own uid. `account`: its ids when we are root, `None` when they are not known.
fn domains(config: &Config, account: Option<&Option<(u32, u32)>>, found: &mut Findings) {
    let Some(account) = account else { return };
    let worker = account.map_or_else(|| nix::unistd::geteuid().as_raw(), |(uid, _)| uid);
    let known = Admin::for_config(config).and_then(|admin| admin.domains()); // who keeps the accounts does not matter here
    match known {
        Ok(entries) => entries.iter().filter(|e| e.alias_of.is_none()).for_each(|entry| domain(worker, entry, found)),
        // As another user than root and the server's there is nothing to be seen.
        Err(e) => found.warnings.push(format!("the virtual domains cannot be looked at: {e}")),
    }
}

fn domain(worker: u32, entry: &DomainEntry, found: &mut Findings) {
    let directory = entry.directory.display();
    let meta = match std::fs::metadata(&entry.directory) {
        Ok(meta) => meta,
        Err(e) => return found.errors.push(format!("domain {}: {directory}: {e}", entry.name)),
    };
    if meta.uid() != worker {
        found.errors.push(format!(
            "domain {}: {directory} belongs to uid {}, the server works as uid {worker}: give it the folder (chown -R), or name the owner as `user` in server.toml",
            entry.name,
            meta.uid()
        ));
    } else if std::fs::metadata(entry.directory.join("vpasswd")).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
        found.errors.push(format!("domain {}: {directory}/vpasswd is missing, so nobody there has a mailbox", entry.name));
    }
}

/// qmail's rule: users/cdb counts, users/assign is its source.
fn assignments(config: &Config, found: &mut Findings) {
    let changed = |name: &str| std::fs::metadata(config.home.join("users").join(name)).and_then(|m| m.modified());
    let (Ok(source), compiled) = (changed("assign"), changed("cdb")) else { return };
    if compiled.map_or(true, |compiled| compiled < source) {
        found.warnings.push(format!("{}/users/cdb is missing or older than users/assign; run qmail-newu", config.home.display()));
    }
}

fn listeners(config: &Config, found: &mut Findings) {
    if config.server.listeners.iter().all(|(_, addresses)| addresses.is_empty()) {
        found.errors.push(bind::NO_LISTENER.into());
    }
    // A server that runs on this home has the ports.
    if Client::connect(&config.home).is_ok_and(|client| client.is_none()) {
        let all = config.server.listeners.iter().flat_map(|(kind, addresses)| addresses.iter().map(move |address| (*kind, *address)));
        // One line a reason: they mostly share it.
        let mut refused: BTreeMap<ErrorKind, (Vec<String>, Error)> = BTreeMap::new();
        for (kind, address) in all {
            if let Err(e) = postino_net::listener::bind(address) {
                let place = format!("{address} for {}", bind::name_of(kind));
                refused.entry(e.kind()).or_insert_with(|| (Vec::new(), e)).0.push(place);
            }
        }
        found.errors.extend(refused.into_values().map(|(places, e)| bind::refusal(&places.join(", "), &e)));
    }
}
