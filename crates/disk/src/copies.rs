//! Copies of many files, durable in groups: written under temporary names, synced together, renamed, their directories synced. Called by the
//! import of old trees. Never replaces what it was not told to, never follows a link at the target.

use crate::dir::sync_dir;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Files that wait for one sync.
const GROUP_FILES: usize = 512;
/// Bytes that wait for one sync.
const GROUP_BYTES: u64 = 64 << 20;
/// Temporary names begin so: readers of Maildirs pass over names that begin with a dot.
const TEMPORARY: &str = ".postino-copy.";

/// What a copy is to have besides its bytes.
#[derive(Debug, Clone, Copy)]
pub struct CopyAttributes {
    /// Permission bits, exactly.
    pub mode: u32,
    /// Time of the last change, seconds and nanoseconds.
    pub modified: (i64, i64),
}

/// A group of copies under way. Dropped without [`Copies::finish`], the unfinished ones leave temporary names that the next run takes away.
#[derive(Debug)]
pub struct Copies {
    /// On the file system that is synced.
    place: File,
    waiting: Vec<(PathBuf, PathBuf)>,
    bytes: u64,
    touched: BTreeSet<PathBuf>,
}

impl Copies {
    /// Copies into the tree at `place`, an existing directory; all of it on one file system.
    pub fn new(place: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(place, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { place: File::from(fd), waiting: Vec::new(), bytes: 0, touched: BTreeSet::new() })
    }

    /// Copies all of `source` to `target`, which is replaced. Durable after the next [`Copies::finish`] (or earlier).
    pub fn add(&mut self, mut source: impl io::Read, target: &Path, attributes: CopyAttributes) -> io::Result<u64> {
        let directory = target.parent().unwrap_or(Path::new("/"));
        let temporary = directory.join(format!("{TEMPORARY}{}", self.waiting.len()));
        ignore_absent(std::fs::remove_file(&temporary))?;
        let mut file = crate::create_new(&temporary, attributes.mode)?;
        let bytes = io::copy(&mut source, &mut file)?;
        let (seconds, nanoseconds) = attributes.modified;
        let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
        self.waiting.push((temporary, target.to_path_buf()));
        self.bytes += bytes;
        if self.waiting.len() >= GROUP_FILES || self.bytes >= GROUP_BYTES {
            self.finish()?;
        }
        Ok(bytes)
    }

    /// Gives an entry of the target another name in its tree; durable after the next [`Copies::finish`].
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)?;
        self.touched.extend([from, to].into_iter().filter_map(Path::parent).map(Path::to_path_buf));
        Ok(())
    }

    /// Makes a directory; one that is there is left as it is.
    pub fn make_dir(&mut self, path: &Path, mode: u32) -> io::Result<()> {
        match rustix::fs::mkdir(path, Mode::from_raw_mode(0o700)) {
            Ok(()) => rustix::fs::chmodat(rustix::fs::CWD, path, Mode::from_raw_mode(mode), AtFlags::empty())?,
            Err(rustix::io::Errno::EXIST) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        self.touched.extend(path.parent().map(Path::to_path_buf));
        Ok(())
    }

    /// Makes a symbolic link; whatever has the name stays.
    pub fn make_link(&mut self, target: &Path, at: &Path) -> io::Result<()> {
        match std::os::unix::fs::symlink(target, at) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made.map(|()| self.touched.extend(at.parent().map(Path::to_path_buf))),
        }
    }

    /// All that was added is on stable storage under its name when this returns.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.waiting.is_empty() {
            // One sync for all of the group: the content first, the names after it.
            rustix::fs::syncfs(&self.place)?;
        }
        for (temporary, target) in self.waiting.drain(..) {
            std::fs::rename(&temporary, &target)?;
            self.touched.extend(target.parent().map(Path::to_path_buf));
        }
        self.bytes = 0;
        for directory in std::mem::take(&mut self.touched) {
            sync_dir(&directory)?;
        }
        Ok(())
    }

    /// Takes away the temporary files that an interrupted run left in `directory`.
    pub fn sweep(directory: &Path) -> io::Result<()> {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                ignore_absent(std::fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }
}

fn ignore_absent(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn copies_have_their_bytes_mode_and_time_and_replace_no_file_behind_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("precious"), "mine").unwrap();
        std::os::unix::fs::symlink("precious", dir.path().join("a")).unwrap();
        std::os::unix::fs::symlink("precious", dir.path().join(format!("{TEMPORARY}0"))).unwrap();
        let mut copies = Copies::new(dir.path()).unwrap();
        let attributes = CopyAttributes { mode: 0o640, modified: (1_000_000_000, 5) };
        copies.add(b"text".as_slice(), &dir.path().join("a"), attributes).unwrap();
        assert!(dir.path().join("a").is_symlink(), "not before it is synced");
        copies.finish().unwrap();
        let made = std::fs::symlink_metadata(dir.path().join("a")).unwrap();
        assert_eq!((made.mode() & 0o7777, made.mtime(), made.len(), made.is_file()), (0o640, 1_000_000_000, 4, true));
        assert_eq!(std::fs::read_to_string(dir.path().join("precious")).unwrap(), "mine");
        std::fs::write(dir.path().join(format!("{TEMPORARY}7")), "left").unwrap();
        Copies::sweep(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
