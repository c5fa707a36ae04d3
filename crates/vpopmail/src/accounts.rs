//! Accounts as the programs here look them up and change them. Called by those that change existing ones; adding and removing is the administration's.

use crate::complaint::{Complaint, number};
use crate::domains::{self, Domain};
use crate::rights::Rights;
use crate::{World, onchange};
use postino_types::account::{Quota, Record};
use std::io;
use std::path::Path;

/// Accounts that are read at once.
const PAGE: usize = 1000;

/// A domain of ours.
pub(crate) fn domain(world: &World, name: &str) -> Result<Domain, Complaint> {
    domains::find(&world.config, name).map_err(Complaint::error)?.ok_or_else(|| Complaint::numbered(number::NO_DOMAIN))
}

/// One account.
pub(crate) fn record(world: &World, domain: &Domain, user: &str) -> Result<Option<Record>, Complaint> {
    Ok(world.keepers().map_err(Complaint::error)?.accounts.find(&domain.name, user)?)
}

/// All accounts of a domain, in pages: what `work` does to them does not disturb the walk.
pub(crate) fn each(world: &World, domain: &Domain, mut work: impl FnMut(&Record) -> Result<(), Complaint>) -> Result<(), Complaint> {
    let keepers = world.keepers().map_err(Complaint::error)?;
    let mut after: Option<String> = None;
    loop {
        let page = keepers.accounts.page(&domain.name, after.as_deref(), PAGE)?;
        page.iter().try_for_each(&mut work)?;
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return Ok(()),
        }
    }
}

/// Changes one account and tells the site's hook.
pub(crate) fn edit(world: &World, domain: &Domain, user: &str, change: impl FnOnce(&mut Record)) -> Result<(), Complaint> {
    let address = format!("{user}@{}", domain.name);
    let _ = world.admin()?.edit(&address, change)?;
    onchange::tell(&world.config.vpopmail_home, "mod_user", &[&address]);
    Ok(())
}

/// The account's `maildirsize` says the quota from now on; without one it goes.
pub(crate) fn set_size_file(domain: &Domain, record: &Record, quota: Quota) -> Result<(), Complaint> {
    let maildir = Path::new(&record.directory).join("Maildir");
    let set = Rights::of(domain.uid, domain.gid).and_then(|_owner| postino_disk::maildir_quota::set(&maildir, quota));
    match set {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Complaint::error(format_args!("{}: {error}", maildir.display()))),
        _ => Ok(()),
    }
}

/// The password's hash, and the clear text where that is kept.
pub(crate) fn secrets(world: &World, password: &str) -> Result<(String, Option<String>), Complaint> {
    secrets_fit(password)?;
    let hash = postino_directory::password::hash_password(password.as_bytes(), world.new_hash()).map_err(Complaint::error)?;
    Ok((hash, world.config.vpopmail.clear_passwords.then(|| password.to_owned())))
}

/// A hash that somebody else made.
pub(crate) fn ready_hash(hash: &str) -> Result<String, Complaint> {
    if hash.len() > PASSWORD_BYTES_MAX || hash.contains(':') || hash.bytes().any(|b| b.is_ascii_control()) {
        return Err(Complaint::numbered(number::PASSWORD_TOO_LONG));
    }
    Ok(hash.to_owned())
}

/// A comment that fits its field.
pub(crate) fn gecos(text: &str) -> Result<Vec<u8>, Complaint> {
    if text.len() > GECOS_BYTES_MAX {
        return Err(Complaint::numbered(number::GECOS_TOO_LONG));
    }
    if text.contains(':') || text.bytes().any(|b| b.is_ascii_control()) {
        return Err(Complaint::error("a comment holds no colon and no control character"));
    }
    Ok(text.as_bytes().to_vec())
}

const PASSWORD_BYTES_MAX: usize = 128;
const GECOS_BYTES_MAX: usize = 48;

/// May this be a password?
pub(crate) fn secrets_fit(password: &str) -> Result<(), Complaint> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Complaint::numbered(number::PASSWORD_TOO_LONG));
    }
    if password.is_empty() || password.bytes().any(|b| b.is_ascii_control()) {
        return Err(Complaint::words(255, "Please input password\n"));
    }
    Ok(())
}
