//! Folders of a qmail home, the queue's with its drop directory, and the table of timeouts that qmail-remote keeps. Called by the installation; what exists
//! keeps its owner and mode.

use super::accounts::Accounts;
use super::{Action, Site};
use anyhow::Context;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Bytes of `queue/lock/tcpto` (qmail's own size).
const TCPTO_BYTES: usize = 1024;
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
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    site.step(Action::Made, inside.display().to_string(), "");
    Ok(())
}

pub(super) fn own(path: &Path, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).with_context(|| format!("cannot chown {}", path.display()))
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
    if !site.dry {
        own(&site.path(&lock), owner)?;
    }
    let inside: PathBuf = lock.join("tcpto");
    let path = site.path(&inside);
    if path.try_exists()? {
        site.step(Action::Kept, inside.display().to_string(), "");
        return Ok(());
    }
    if !site.dry {
        postino_disk::replace_file(&path, &[0; TCPTO_BYTES], 0o644)?;
        own(&path, accounts.owner("qmailr", "qmail"))?;
    }
    site.step(Action::Made, inside.display().to_string(), "");
    Ok(())
}
