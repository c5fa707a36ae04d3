//! Copies a tree of an old machine: directories, files under their names with modes and times, Maildirs message by message. Called by the import.
//! Works with the rights of the trees' owners, follows no link, changes nothing at the source, and may be interrupted and run again.

use super::report::Report;
use anyhow::Context;
use postino_directory::admin::{ActingAs, Owner};
use postino_disk::{Copies, CopyAttributes};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

/// Directories below each other.
const DEPTH_MAX: usize = 40;
/// Largest file whose paths are rewritten (`.qmail…`), bytes.
const REWRITTEN_BYTES_MAX: u64 = 1 << 20;

/// Does the run write?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// No: it only counts.
    Plan,
    /// Yes.
    Copy,
}

/// What is copied and as whom.
pub(super) struct Tree<'a> {
    pub(super) mode: Doing,
    /// Who reads: the owner of the source.
    pub(super) source_owner: Owner,
    /// Who owns the copies.
    pub(super) target_owner: Owner,
    /// Paths in `.qmail` files and `vpasswd`: (old, new) prefixes.
    pub(super) moved: (PathBuf, PathBuf),
    pub(super) report: &'a mut Report,
    pub(super) progress: &'a indicatif::ProgressBar,
}

/// One directory under way.
struct Place {
    source: OwnedFd,
    from: PathBuf,
    to: PathBuf,
    depth: usize,
    /// Bits that only the domain's own directory has.
    top: bool,
}

struct Entry {
    name: OsString,
    kind: FileType,
    stat: rustix::fs::Stat,
}

impl Tree<'_> {
    /// Copies all of `from` into `to`, which is made where it is missing. `from` must be a directory, not a link to one.
    pub(super) fn copy(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = {
            let _reader = ActingAs::begin(self.source_owner)?;
            rustix::fs::open(from, flags, Mode::empty()).with_context(|| format!("cannot open {}", from.display()))?
        };
        let mut copies = match self.mode {
            Doing::Plan => None,
            Doing::Copy => {
                let _writer = ActingAs::begin(self.target_owner)?;
                match std::fs::DirBuilder::new().recursive(false).create(to) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(error).with_context(|| format!("cannot make {}", to.display()));
                    }
                    _ => {}
                }
                set_mode(to, rustix::fs::fstat(&source)?.st_mode)?;
                postino_disk::spread_children(to);
                Some(Copies::new(to).with_context(|| format!("cannot open {}", to.display()))?)
            }
        };
        self.directory(&mut copies, Place { source, from: from.to_path_buf(), to: to.to_path_buf(), depth: 0, top: true })?;
        if let Some(copies) = &mut copies {
            let _writer = ActingAs::begin(self.target_owner)?;
            copies.finish().with_context(|| format!("cannot write below {}", to.display()))?;
            postino_disk::sync_dir(to.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(())
    }

    fn directory(&mut self, copies: &mut Option<Copies>, place: Place) -> anyhow::Result<()> {
        if place.depth > DEPTH_MAX {
            self.report.left(&place.from, "more than forty directories below each other");
            return Ok(());
        }
        if self.mode == Doing::Copy {
            let _writer = ActingAs::begin(self.target_owner)?;
            Copies::sweep(&place.to)?;
        }
        let entries = self.entries(&place)?;
        let has = |name: &str| entries.iter().any(|e| e.kind == FileType::Directory && e.name == *name);
        let is_maildir = has("cur") && has("new");
        for entry in entries {
            let from = place.from.join(&entry.name);
            let to = place.to.join(&entry.name);
            match entry.kind {
                FileType::Directory if is_maildir && entry.name == "tmp" => self.make_dir(copies, &to, &entry)?,
                FileType::Directory => {
                    self.make_dir(copies, &to, &entry)?;
                    let source = self.open(&place.source, &entry.name, OFlags::DIRECTORY)?;
                    let inner = Place { source, from, to, depth: place.depth + 1, top: false };
                    if is_maildir && (entry.name == "cur" || entry.name == "new") {
                        self.messages(copies, &inner)?;
                    } else {
                        self.directory(copies, inner)?;
                    }
                }
                FileType::RegularFile if place.top && (entry.name == ".vpasswd.lock" || entry.name == "vpasswd.cdb") => {}
                FileType::RegularFile => self.file(copies, &place, &to, &entry)?,
                FileType::Symlink => self.link(copies, &place, &to, &entry)?,
                _ => self.report.left(&from, "neither file nor directory nor link"),
            }
        }
        Ok(())
    }

    fn entries(&self, place: &Place) -> anyhow::Result<Vec<Entry>> {
        let _reader = ActingAs::begin(self.source_owner)?;
        let read = || -> rustix::io::Result<Vec<Entry>> {
            let mut entries = Vec::new();
            for found in Dir::read_from(&place.source)? {
                let found = found?;
                let name = found.file_name().to_bytes();
                if matches!(name, b"." | b"..") {
                    continue;
                }
                let stat = match rustix::fs::statat(&place.source, found.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => stat,
                    // A living mailbox: a reader moved it meanwhile. The next run finds it.
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(error) => return Err(error),
                };
                let name = OsStr::from_bytes(name).to_os_string();
                entries.push(Entry { name, kind: FileType::from_raw_mode(stat.st_mode), stat });
            }
            Ok(entries)
        };
        let mut entries = read().with_context(|| format!("cannot read {}", place.from.display()))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn open(&self, folder: &OwnedFd, name: &OsStr, flags: OFlags) -> anyhow::Result<OwnedFd> {
        let _reader = ActingAs::begin(self.source_owner)?;
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(folder.as_fd(), name, flags, Mode::empty()).with_context(|| format!("cannot open {}", name.display()))
    }

    fn make_dir(&mut self, copies: &mut Option<Copies>, to: &Path, entry: &Entry) -> anyhow::Result<()> {
        let Some(copies) = copies else { return Ok(()) };
        let _writer = ActingAs::begin(self.target_owner)?;
        copies.make_dir(to, entry.stat.st_mode & 0o777).with_context(|| format!("cannot make {}", to.display()))
    }

    /// A plain file. One of the same size and time (of the same time, where paths in it are rewritten) is there already.
    fn file(&mut self, copies: &mut Option<Copies>, place: &Place, to: &Path, entry: &Entry) -> anyhow::Result<()> {
        let is_text = entry.name.as_bytes().starts_with(b".qmail") || (place.top && entry.name == "vpasswd");
        let rewrites = is_text && self.moved.0 != self.moved.1;
        if let Ok(found) = std::fs::symlink_metadata(to) {
            use std::os::unix::fs::MetadataExt as _;
            let same = found.mtime() == entry.stat.st_mtime && (rewrites || found.len() == u64::try_from(entry.stat.st_size)?);
            if found.is_file() && same {
                self.report.known += 1;
                return Ok(());
            }
        }
        self.count(entry)?;
        let Some(copies) = copies else { return Ok(()) };
        let mut source = File::from(self.open(&place.source, &entry.name, OFlags::empty())?);
        let mut bytes = Vec::new();
        if is_text {
            (&mut source).take(REWRITTEN_BYTES_MAX.max(if place.top { 1 << 30 } else { 0 })).read_to_end(&mut bytes)?;
            if rewrites {
                bytes = moved_paths(&bytes, self.moved.0.as_os_str().as_bytes(), self.moved.1.as_os_str().as_bytes());
            }
            if entry.name == "vpasswd" {
                let data = account_data(&bytes).with_context(|| format!("{}", place.from.join("vpasswd").display()))?;
                let _writer = ActingAs::begin(self.target_owner)?;
                copies.add(data.as_slice(), &to.with_extension("cdb"), attributes(entry))?;
            }
        }
        let _writer = ActingAs::begin(self.target_owner)?;
        copies.add(bytes.as_slice().chain(source), to, attributes(entry)).with_context(|| format!("cannot write {}", to.display()))?;
        Ok(())
    }

    /// `cur` or `new` of a Maildir: names stay, since UIDs and flags hang on them. A message that is there under another name (a reader saw it since
    /// the last run) gets the source's name again.
    fn messages(&mut self, copies: &mut Option<Copies>, place: &Place) -> anyhow::Result<()> {
        let mut there = BTreeMap::new();
        let maildir = place.to.parent().unwrap_or(Path::new("/"));
        if copies.is_some() || maildir.is_dir() {
            let _writer = ActingAs::begin(self.target_owner)?;
            if self.mode == Doing::Copy {
                Copies::sweep(&place.to)?;
            }
            for part in ["cur", "new"] {
                let Ok(names) = std::fs::read_dir(maildir.join(part)) else { continue };
                for entry in names {
                    let path = entry?.path();
                    there.insert(unique(path.file_name().unwrap_or_default()).to_vec(), path);
                }
            }
        }
        for entry in self.entries(place)? {
            if entry.kind != FileType::RegularFile {
                self.report.left(&place.from.join(&entry.name), "no message: neither file");
                continue;
            }
            let to = place.to.join(&entry.name);
            match (there.get(unique(&entry.name)), &mut *copies) {
                (Some(path), _) if *path == to => self.report.known += 1,
                (Some(path), Some(copies)) => {
                    let _writer = ActingAs::begin(self.target_owner)?;
                    copies.rename(path, &to).with_context(|| format!("cannot rename {}", path.display()))?;
                }
                (Some(_), None) => {}
                (None, copies) => {
                    self.count(&entry)?;
                    self.report.messages += 1;
                    let Some(copies) = copies else { continue };
                    let source = match self.open(&place.source, &entry.name, OFlags::empty()) {
                        Ok(source) => File::from(source),
                        Err(error) if is_gone(&error) => continue,
                        Err(error) => return Err(error),
                    };
                    let _writer = ActingAs::begin(self.target_owner)?;
                    copies.add(source, &to, attributes(&entry)).with_context(|| format!("cannot write {}", to.display()))?;
                }
            }
        }
        Ok(())
    }

    /// A link that stays inside the tree (ezmlm's `.qmail-LIST`) is made again; others are named.
    fn link(&mut self, copies: &mut Option<Copies>, place: &Place, to: &Path, entry: &Entry) -> anyhow::Result<()> {
        let target = {
            let _reader = ActingAs::begin(self.source_owner)?;
            rustix::fs::readlinkat(place.source.as_fd(), &entry.name, Vec::new())?
        };
        let target = Path::new(OsStr::from_bytes(target.as_bytes())).to_path_buf();
        let climbs = target.components().any(|part| part == Component::ParentDir);
        let new = match target.strip_prefix(&self.moved.0) {
            Ok(rest) if target.is_absolute() && !climbs => self.moved.1.join(rest),
            _ if target.is_relative() && !climbs => target,
            _ => {
                self.report.left(&place.from.join(&entry.name), &format!("a link to {}, outside the tree", target.display()));
                return Ok(());
            }
        };
        let Some(copies) = copies else { return Ok(()) };
        let _writer = ActingAs::begin(self.target_owner)?;
        copies.make_link(&new, to).with_context(|| format!("cannot make {}", to.display()))
    }

    fn count(&mut self, entry: &Entry) -> anyhow::Result<()> {
        self.report.files += 1;
        let bytes = u64::try_from(entry.stat.st_size)?;
        self.report.bytes += bytes;
        self.progress.inc(bytes);
        Ok(())
    }
}

fn is_gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<rustix::io::Errno>() == Some(&rustix::io::Errno::NOENT)
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o777))
        .with_context(|| format!("cannot chmod {}", path.display()))
}

fn attributes(entry: &Entry) -> CopyAttributes {
    let nanoseconds = i64::try_from(entry.stat.st_mtime_nsec).unwrap_or_default();
    CopyAttributes { mode: entry.stat.st_mode & 0o777, modified: (entry.stat.st_mtime, nanoseconds) }
}

/// A message's name without its flags.
fn unique(name: &OsStr) -> &[u8] {
    name.as_bytes().split(|&b| b == b':').next().unwrap_or_default()
}

/// Replaces `old` by `new` wherever it begins a path: nothing of a path stands before it, and `/` or no letter of a path after it.
pub(super) fn moved_paths(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let is_path = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-');
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let before = at.checked_sub(1).and_then(|i| text.get(i));
        let after = rest.get(old.len());
        let begins = rest.starts_with(old) && !before.is_some_and(is_path) && after.is_none_or(|b| *b == b'/' || !is_path(b));
        if begins {
            out.extend_from_slice(new);
            at += old.len();
        } else {
            out.extend(rest.first());
            at += 1;
        }
    }
    out
}

/// `vpasswd.cdb` of these lines.
fn account_data(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut writer = postino_control::cdb::CdbWriter::new();
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&b| b == b':').context("a line without a colon")?;
        let (name, rest) = line.split_at(colon);
        writer.add(name, rest.get(1..).unwrap_or_default())?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_move_and_words_that_only_look_so_stay() {
        let text = b"| /home/vpopmail/bin/vdelivermail '' /home/vpopmail/domains/x/u\n/home/vpopmail2/Maildir/\n/srv/home/vpopmail/x\n/home/vpopmail\n";
        let want = b"| /new/bin/vdelivermail '' /new/domains/x/u\n/home/vpopmail2/Maildir/\n/srv/home/vpopmail/x\n/new\n";
        assert_eq!(moved_paths(text, b"/home/vpopmail", b"/new"), want);
        assert_eq!(moved_paths(b"", b"/a", b"/b"), b"");
    }
}
