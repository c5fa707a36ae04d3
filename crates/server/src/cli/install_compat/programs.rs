//! The program files: the engine's copy of this program, files of their own for names that scripts touch, links to one file for all others. Called by
//! the installation; each file appears as a whole, and one that is not ours stays.

use super::accounts::Accounts;
use super::record::Record;
use super::{Action, Site, names};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one file that the links lead to.
const MASTER: &str = "postino-compat";
const QUEUE: &str = "qmail-queue";
/// As scanners name the queue program that they stand before.
const QUEUE_BEHIND: &str = "qmail-queue-real";
/// Where the files go that `--force` takes the place of.
const BEFORE: &str = "before-postino";

/// What is installed.
pub(super) struct Sources {
    engine: Vec<u8>,
    compat: Vec<u8>,
    names: Vec<String>,
}

/// Reads both binaries and asks the second for its names.
pub(super) fn sources(compat: Option<&Path>) -> anyhow::Result<Sources> {
    let own = std::env::current_exe().context("cannot find this program's file")?;
    let path = compat.map_or_else(|| own.with_file_name("postino-compat"), Path::to_path_buf);
    let asked = Command::new(&path).arg("--list").output();
    let asked = asked.with_context(|| format!("cannot run {} (--compat FILE names another)", path.display()))?;
    let names: Vec<String> = String::from_utf8(asked.stdout).unwrap_or_default().lines().map(str::to_owned).collect();
    if !asked.status.success() || names.is_empty() || names.iter().any(|name| name.is_empty() || name.contains('/')) {
        bail!("{} does not tell its names; is it postino-compat of this version?", path.display());
    }
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    Ok(Sources { engine: read(&own)?, compat: read(&path)?, names })
}

/// One run over all files.
pub(super) struct Programs<'a> {
    pub(super) site: &'a mut Site,
    pub(super) record: &'a mut Record,
    pub(super) sources: &'a Sources,
    pub(super) accounts: &'a Accounts,
    /// The drop directory's group, which qmail-queue needs while no server runs.
    pub(super) queue_group: Option<u32>,
}

/// How a file should be.
struct Wanted<'a> {
    bytes: &'a [u8],
    mode: u32,
    owner: Option<(u32, u32)>,
}

/// What stands in a file's place.
enum Standing {
    Free,
    /// As it should be.
    Current(Metadata),
    /// Ours, or taken by force.
    Old,
    Foreign,
}

impl Programs<'_> {
    pub(super) fn place(mut self) -> anyhow::Result<()> {
        let sources = self.sources;
        let bin = self.site.home.join("bin");
        let plain = |bytes| Wanted { bytes, mode: 0o755, owner: self.accounts.owner("root", "qmail") };
        let (engine, compat) = (plain(&sources.engine), plain(&sources.compat));
        self.copy(&bin.join("qmail-send"), &engine)?;
        self.copy(&bin.join(MASTER), &compat)?;
        let mut masters = BTreeMap::from([(self.device(&bin), bin.join(MASTER))]);
        for name in &sources.names {
            for folder in names::folders(name) {
                let folder = folder.map_or_else(|| bin.clone(), PathBuf::from);
                let inside = folder.join(name);
                if name == QUEUE {
                    self.queue_program(&bin)?;
                } else if names::alone(name) {
                    self.copy(&inside, &compat)?;
                } else {
                    self.site.folder_of(&inside)?;
                    // Links cannot cross file systems: the first file on another one is a copy, the rest are links to that.
                    let device = self.device(&folder);
                    if let Some(master) = masters.get(&device) {
                        self.link(&inside, &master.clone())?;
                    } else if self.copy(&inside, &compat)? {
                        masters.insert(device, inside);
                    }
                }
            }
        }
        Ok(())
    }

    /// Set-group-id for the drop directory; behind a scanner that took its name it is served under the other one.
    fn queue_program(&mut self, bin: &Path) -> anyhow::Result<()> {
        let sources = self.sources;
        let (named, behind) = (bin.join(QUEUE), bin.join(QUEUE_BEHIND));
        // Root's, not qmailq's: scanners are run as qmailq, and root runs this file. Readable, so that everybody sees that it is ours.
        let owner = self.accounts.owner("root", "qmail").map(|(uid, gid)| (uid, self.queue_group.unwrap_or(gid)));
        let mode = if owner.is_some() { 0o2755 } else { 0o755 };
        let wanted = Wanted { bytes: &sources.compat, mode, owner };
        let is_behind = std::fs::symlink_metadata(self.site.path(&behind)).is_ok_and(|found| found.is_file());
        if !is_behind {
            return self.copy(&named, &wanted).map(|_| ());
        }
        // Moved there by an administrator, with size and time as we recorded them under the first name.
        if let Some(entry) = self.record.files.get(&named).cloned() {
            self.record.files.entry(behind.clone()).or_insert(entry);
            self.record.files.remove(&named);
        }
        self.site.step(Action::Left, named.display().to_string(), format!("stands before {QUEUE_BEHIND}"));
        self.copy(&behind, &wanted).map(|_| ())
    }

    /// A file of its own. False: somebody else's file stays in its place.
    fn copy(&mut self, inside: &Path, wanted: &Wanted<'_>) -> anyhow::Result<bool> {
        self.site.folder_of(inside)?;
        let is_current = |path: &Path, found: &Metadata| found.len() == wanted.bytes.len() as u64 && same_bytes(path, wanted.bytes);
        let standing = self.standing(inside, is_current)?;
        let kept = match &standing {
            Standing::Foreign => return Ok(false),
            Standing::Current(found) => special_as_wanted(found, wanted),
            Standing::Old | Standing::Free => false,
        };
        let fill = |temporary: &Path| -> std::io::Result<()> {
            let mut file = postino_disk::file::create_new(temporary, 0o700)?;
            std::io::Write::write_all(&mut file, wanted.bytes)?;
            if let Some((uid, gid)) = wanted.owner {
                std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
            }
            // After the change of owner, which takes the set-group-id bit away.
            file.set_permissions(std::fs::Permissions::from_mode(wanted.mode))?;
            file.sync_all()
        };
        self.put(inside, &standing, kept, &fill)?;
        Ok(true)
    }

    fn link(&mut self, inside: &Path, master: &Path) -> anyhow::Result<()> {
        let master = self.site.path(master);
        let same_file = std::fs::metadata(&master).ok().map(|m| (m.dev(), m.ino()));
        let bytes: &[u8] = &self.sources.compat;
        let is_current = |path: &Path, found: &Metadata| {
            Some((found.dev(), found.ino())) == same_file || (found.len() == bytes.len() as u64 && same_bytes(path, bytes))
        };
        let standing = self.standing(inside, is_current)?;
        let kept = match &standing {
            Standing::Foreign => return Ok(()),
            Standing::Current(found) => Some((found.dev(), found.ino())) == same_file,
            Standing::Old | Standing::Free => false,
        };
        self.put(inside, &standing, kept, &|temporary| std::fs::hard_link(&master, temporary))
    }

    fn standing(&mut self, inside: &Path, is_current: impl Fn(&Path, &Metadata) -> bool) -> anyhow::Result<Standing> {
        let path = self.site.path(inside);
        let found = match std::fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Standing::Free),
            Err(error) => return Err(error).with_context(|| format!("cannot look at {}", path.display())),
        };
        if found.is_file() && is_current(&path, &found) {
            return Ok(Standing::Current(found));
        }
        if found.is_dir() {
            bail!("{} is a folder", path.display());
        }
        if self.record.is_ours(inside, &found) || self.site.force {
            return Ok(Standing::Old);
        }
        self.site.step(Action::Left, inside.display().to_string(), "not ours, or changed since; --force takes its place");
        Ok(Standing::Foreign)
    }

    /// Puts the file in its place unless it is kept, and records it.
    fn put(&mut self, inside: &Path, standing: &Standing, kept: bool, fill: &dyn Fn(&Path) -> std::io::Result<()>) -> anyhow::Result<()> {
        let path = self.site.path(inside);
        let mut before = None;
        if !kept && !self.site.dry {
            if matches!(standing, Standing::Old) {
                before = save(self.site, self.record, inside)?;
            }
            let temporary =
                path.with_file_name(format!(".{}.{}", inside.file_name().unwrap_or_default().to_string_lossy(), std::process::id()));
            // Of an earlier run that was cut off.
            let _ = std::fs::remove_file(&temporary);
            let placed = fill(&temporary).and_then(|()| std::fs::rename(&temporary, &path));
            if placed.is_err() {
                let _ = std::fs::remove_file(&temporary);
            }
            placed.with_context(|| format!("cannot write {}", path.display()))?;
        }
        let action = match standing {
            _ if kept => Action::Kept,
            Standing::Free => Action::Made,
            _ => Action::Replaced,
        };
        if !self.site.dry {
            self.record.note(inside, &std::fs::symlink_metadata(&path)?, before);
        }
        self.site.step(action, inside.display().to_string(), "");
        Ok(())
    }

    fn device(&self, folder: &Path) -> Option<u64> {
        std::fs::metadata(self.site.path(folder)).ok().map(|found| found.dev())
    }
}

/// A file that only differs in owner and mode is put anew when these are more than ordinary.
fn special_as_wanted(found: &Metadata, wanted: &Wanted<'_>) -> bool {
    let owner = wanted.owner.is_none_or(|(uid, gid)| found.uid() == uid && found.gid() == gid);
    wanted.mode & 0o7000 == 0 || (owner && found.mode() & 0o7777 == wanted.mode)
}

fn same_bytes(path: &Path, bytes: &[u8]) -> bool {
    std::fs::read(path).is_ok_and(|read| read == bytes)
}

/// Keeps somebody else's file before ours takes its place; where it went. Ours is not kept.
pub(super) fn save(site: &Site, record: &Record, inside: &Path) -> anyhow::Result<Option<PathBuf>> {
    let path = site.path(inside);
    let found = std::fs::symlink_metadata(&path)?;
    if record.is_ours(inside, &found) {
        return Ok(None);
    }
    let before = site.home.join(BEFORE);
    let saved = before.join(inside.strip_prefix("/").unwrap_or(inside));
    site.folder_of(&saved)?;
    // An old program keeps its set-id bits for the day when it comes back; until then nobody may run it.
    std::fs::set_permissions(site.path(&before), std::fs::Permissions::from_mode(0o700))?;
    let kept = site.path(&saved);
    if std::fs::symlink_metadata(&kept).is_ok() {
        // The first one is the one to come back.
        return Ok(Some(saved));
    }
    let linked = std::fs::hard_link(&path, &kept).or_else(|error| {
        if error.kind() != std::io::ErrorKind::CrossesDevices {
            return Err(error);
        }
        // `cp` keeps links, owners, set-id bits and times as they are.
        let done = Command::new("cp").arg("-a").arg("--").arg(&path).arg(&kept).status()?;
        if done.success() { Ok(()) } else { Err(std::io::Error::other("cp failed")) }
    });
    linked.with_context(|| format!("cannot keep {} as {}", path.display(), kept.display()))?;
    Ok(Some(saved))
}

/// Takes all of ours away and puts back what was there before.
pub(super) fn remove(site: &mut Site, record: &mut Record) -> anyhow::Result<()> {
    for (inside, entry) in record.files.clone() {
        let path = site.path(&inside);
        let text = inside.display().to_string();
        site.stays_inside(path.parent().unwrap_or(&site.root))?;
        match std::fs::symlink_metadata(&path) {
            Ok(found) if !record.is_ours(&inside, &found) => {
                site.step(Action::Left, text, "changed since");
                continue;
            }
            Ok(_) if site.dry => {}
            Ok(_) => std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?,
            Err(_) => {}
        }
        if !site.dry {
            put_back(site, &inside, &entry)?;
            record.files.remove(&inside);
        }
        site.step(Action::Removed, text, if entry.saved.is_some() || entry.diverted { "the file from before is back" } else { "" });
    }
    super::folders::remove(site)
}

fn put_back(site: &Site, inside: &Path, entry: &super::record::Entry) -> anyhow::Result<()> {
    let path = site.path(inside);
    if entry.diverted {
        return super::sendmail::undivert(site, inside);
    }
    let Some(saved) = &entry.saved else { return Ok(()) };
    let saved = site.path(saved);
    let moved = std::fs::rename(&saved, &path).or_else(|error| {
        if error.kind() != std::io::ErrorKind::CrossesDevices {
            return Err(error);
        }
        let done = Command::new("cp").arg("-a").arg("--").arg(&saved).arg(&path).status()?;
        if done.success() { std::fs::remove_file(&saved) } else { Err(std::io::Error::other("cp failed")) }
    });
    moved.with_context(|| format!("cannot put {} back", path.display()))
}
