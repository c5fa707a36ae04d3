//! Folders of a qmail home, the queue's with its drop directory, and the table of timeouts that qmail-remote keeps. Called by the installation; what exists
//! keeps its owner and mode.

use super::accounts::Accounts;
use super::{Action, Site};
use anyhow::Context;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Bytes of `queue/lock/tcpto` (qmail's own size).
const TCPTO_BYTES: usize = 1024;
/// vpopmail's home.
const VPOPMAIL: &str = "/home/vpopmail";
/// What the engine works as unless `server.toml` says something else.
const WORKER: &str = "qmails";

/// Makes them; returns the owner of the queue.
pub(super) fn make(site: &mut Site, accounts: &Accounts) -> anyhow::Result<Option<(u32, u32)>> {
    let folders = [
        ("", 0o755, "root", "qmail"),
        ("alias", 0o2755, "alias", "qmail"),
        ("bin", 0o755, "root", "qmail"),
        ("boot", 0o755, "root", "qmail"),
        ("control", 0o755, "root", "qmail"),
        ("doc", 0o755, "root", "qmail"),
        ("man", 0o755, "root", "qmail"),
        ("users", 0o755, "root", "qmail"),
    ];
    for (name, mode, user, group) in folders {
        let inside = if name.is_empty() { site.home.clone() } else { site.home.join(name) };
        folder(site, &inside, mode, accounts.owner(user, group))?;
    }
    let vpopmail = [("", 0o755), ("bin", 0o755), ("etc", 0o755), ("domains", 0o700), ("users", 0o700)];
    for (name, mode) in vpopmail {
        let inside = Path::new(VPOPMAIL).join(name);
        folder(site, &inside, mode, accounts.owner("vpopmail", "vchkpw"))?;
    }
    name_vpopmails_home(site)?;
    let owner = worker(site, accounts)?;
    let home = site.path(&site.home);
    if !site.dry {
        crate::home::prepare(&home, owner)?;
    }
    table_of_timeouts(site, accounts, owner.map(|(uid, _)| uid))?;
    Ok(owner)
}

fn folder(site: &mut Site, inside: &Path, mode: u32, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
    site.folder_of(inside)?;
    let path = site.path(inside);
    if path.is_dir() {
        site.step(Action::Kept, inside.display().to_string(), "");
        return Ok(());
    }
    if !site.dry {
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        own(&path, owner)?;
        crate::home::set_mode(&path, mode)?;
    }
    site.step(Action::Made, inside.display().to_string(), "");
    Ok(())
}

fn own(path: &Path, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).with_context(|| format!("cannot chown {}", path.display()))
}

/// Where accounts lie is written down, unless the home has domains of its own: the engine makes an empty `domains/`, which must not decide.
fn name_vpopmails_home(site: &mut Site) -> anyhow::Result<()> {
    let inside = site.home.join("control/vpopmail-home");
    let path = site.path(&inside);
    let has_own = std::fs::read_dir(site.path(&site.home.join("domains"))).is_ok_and(|mut found| found.next().is_some());
    if has_own || path.try_exists()? {
        return Ok(());
    }
    if !site.dry {
        postino_disk::replace_file(&path, format!("{VPOPMAIL}\n").as_bytes(), 0o644)?;
    }
    site.step(Action::Made, inside.display().to_string(), "vpopmail's domains lie there");
    Ok(())
}

/// The account that the engine works as. A home without `server.toml` gets one that names it: who owns the queue must not depend on which accounts
/// a later day brings.
fn worker(site: &mut Site, accounts: &Accounts) -> anyhow::Result<Option<(u32, u32)>> {
    let inside = site.home.join("control/server.toml");
    let path = site.path(&inside);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if !site.dry {
                let text =
                    format!("# What qmail's control files never had; `postino config doc` explains each key.\nuser = \"{WORKER}\"\n");
                postino_disk::replace_file(&path, text.as_bytes(), 0o644)?;
            }
            site.step(Action::Made, inside.display().to_string(), format!("the engine works as {WORKER}"));
            return Ok(accounts.account(WORKER));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let toml: toml::Table = text.parse().with_context(|| format!("cannot understand {}", path.display()))?;
    let named = toml.get("user").and_then(toml::Value::as_str).unwrap_or("postino");
    match accounts.account(named) {
        Some(owner) => Ok(Some(owner)),
        // As the engine does it: qmail's own account where that of `serve` was never made.
        None => Ok(site.user(named).ok().flatten().or_else(|| accounts.account(WORKER))),
    }
}

/// qmail-remote does without it, and then tries dead hosts again and again. The folder is the worker's, who keeps the queue's lock there, also where
/// qmail made it for an account of its own; qmailr enters by its group.
fn table_of_timeouts(site: &mut Site, accounts: &Accounts, worker: Option<u32>) -> anyhow::Result<()> {
    let lock = site.home.join("queue/lock");
    let owner = accounts.owner("qmailr", "qmail").map(|(qmailr, group)| (worker.unwrap_or(qmailr), group));
    folder(site, &lock, 0o750, owner)?;
    let inside: PathBuf = lock.join("tcpto");
    let made =
        if site.dry { !site.path(&inside).try_exists()? } else { table(&site.path(&lock), owner, accounts.owner("qmailr", "qmail"))? };
    site.step(if made { Action::Made } else { Action::Kept }, inside.display().to_string(), "");
    Ok(())
}

/// The table of timeouts while no host stands in it. Folders stay: they may have been there before.
pub(super) fn remove(site: &mut Site) -> anyhow::Result<()> {
    if site.dry {
        return Ok(());
    }
    let home = site.path(&site.home);
    if remove_table(&home.join("queue/lock"))? {
        site.step(Action::Removed, site.home.join("queue/lock/tcpto").display().to_string(), "");
    }
    Ok(())
}

/// As [`table`], by a descriptor. False: there is none, or hosts stand in it.
fn remove_table(folder: &Path) -> anyhow::Result<bool> {
    use rustix::fs::{AtFlags, Mode, OFlags};
    let act = || -> std::io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let folder = rustix::fs::open(folder, flags | OFlags::DIRECTORY, Mode::empty())?;
        let mut bytes = Vec::new();
        let table = File::from(rustix::fs::openat(&folder, "tcpto", flags, Mode::empty())?);
        std::io::Read::read_to_end(&mut std::io::Read::take(table, 2 * TCPTO_BYTES as u64), &mut bytes)?;
        if bytes != [0; TCPTO_BYTES] {
            return Ok(false);
        }
        rustix::fs::unlinkat(&folder, "tcpto", AtFlags::empty())?;
        Ok(true)
    };
    match act() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        result => result.with_context(|| format!("cannot remove tcpto in {}", folder.display())),
    }
}

/// By a descriptor of the folder: its place is the worker's, who must not lead root's hands elsewhere by a link. False: there is one.
fn table(folder: &Path, owner: Option<(u32, u32)>, user: Option<(u32, u32)>) -> anyhow::Result<bool> {
    use rustix::fs::{Mode, OFlags};
    let only_new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = || -> std::io::Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::open(folder, flags, Mode::empty())?);
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::fchown(&folder, Some(uid), Some(gid))?;
        }
        let mut table = match rustix::fs::openat(&folder, "tcpto", only_new, Mode::from_raw_mode(0o644)) {
            Err(rustix::io::Errno::EXIST) => return Ok(false),
            made => File::from(made?),
        };
        std::io::Write::write_all(&mut table, &[0; TCPTO_BYTES])?;
        if let Some((uid, gid)) = user {
            std::os::unix::fs::fchown(&table, Some(uid), Some(gid))?;
        }
        table.sync_all()?;
        folder.sync_all()?;
        Ok(true)
    };
    make().with_context(|| format!("cannot make tcpto in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker owns queue/ and could put a link in lock's place.
    #[test]
    fn the_table_is_not_made_where_a_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let (real, lock) = (dir.path().join("real"), dir.path().join("lock"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &lock).unwrap();
        assert!(table(&lock, None, None).is_err() && !real.join("tcpto").try_exists().unwrap());
        assert!(table(&real, None, None).unwrap() && !table(&real, None, None).unwrap());
        assert_eq!(std::fs::read(real.join("tcpto")).unwrap(), [0; TCPTO_BYTES]);
        assert!(remove_table(&lock).is_err() && remove_table(&real).unwrap() && !remove_table(&real).unwrap());
        std::fs::write(real.join("tcpto"), [1; TCPTO_BYTES]).unwrap();
        assert!(!remove_table(&real).unwrap());
    }
}
