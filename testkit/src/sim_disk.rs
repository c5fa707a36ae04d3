//! A disk in memory that keeps what is synced apart from what is not, and fails or crashes at the k-th operation. For fault loops: run the code with
//! k = 1, 2, … until a run ends without a fault; after each crash every subset of unsynced changes may be gone. Reads no clock, no randomness: a seed decides.

use postino_ports::disk::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Power is cut: this and every later call fails; nothing more reaches the disk.
    Crash,
    /// The call fails with EIO; a sync that fails loses the bytes or names for good.
    Eio,
    /// The call fails with ENOSPC (a write may have stored a part).
    Enospc,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    /// So many of them are on stable storage.
    durable: usize,
}

#[derive(Debug, Clone)]
enum Change {
    Add(String, u64),
    Drop(String),
}

#[derive(Debug, Clone, Default)]
struct Directory {
    names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    pending: Vec<Change>,
}

#[derive(Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    directories: BTreeMap<PathBuf, Directory>,
    next_inode: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
}

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// A disk with these (durable) directories.
    #[must_use]
    pub fn new(directories: &[&str]) -> Self {
        let disk = Self::default();
        for path in directories {
            disk.state.lock().unwrap().directories.insert(PathBuf::from(path), Directory::default());
        }
        disk
    }

    /// Sets the fault for operation number `k` (from 1, counted from now).
    pub fn fault_at(&self, k: u64, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        state.operations = 0;
        state.fault = Some((k, fault));
    }

    /// True when the chosen operation has been reached.
    #[must_use]
    pub fn fault_happened(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.fault.is_some_and(|(k, _)| state.operations >= k)
    }

    /// The disk after the power has come back: of everything that was not synced, a part chosen by `seed` is gone, torn or zeroed.
    #[must_use]
    pub fn after_crash(&self, seed: u64) -> Self {
        let state = self.state.lock().unwrap();
        let mut dice = Dice(seed.wrapping_mul(2_654_435_769).wrapping_add(1));
        let mut fresh = State { next_inode: state.next_inode, ..State::default() };
        for (id, inode) in &state.inodes {
            let unsynced = inode.bytes.len() - inode.durable;
            let kept = inode.durable + usize::try_from(dice.below(unsynced as u64 + 1)).unwrap();
            let mut bytes = inode.bytes[..kept].to_vec();
            if dice.below(3) == 0 {
                bytes[inode.durable..].fill(0);
            }
            fresh.inodes.insert(*id, Inode { durable: bytes.len(), bytes });
        }
        for (path, directory) in &state.directories {
            let mut names = directory.durable.clone();
            for change in &directory.pending {
                if dice.below(2) == 0 {
                    apply(&mut names, change);
                }
            }
            let durable = names.clone();
            fresh.directories.insert(path.clone(), Directory { names, durable, pending: Vec::new() });
        }
        Self { state: Arc::new(Mutex::new(fresh)) }
    }

    /// What a reader sees in `path` now; `None` without such a file.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state.lock().unwrap();
        let (directory, name) = split(path);
        let inode = state.directories.get(&directory)?.names.get(&name)?;
        state.inodes.get(inode).map(|i| i.bytes.clone())
    }

    /// Operations since the start or the last `fault_at`.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().unwrap().operations
    }
}

fn apply(names: &mut BTreeMap<String, u64>, change: &Change) {
    match change {
        Change::Add(name, inode) => names.insert(name.clone(), *inode),
        Change::Drop(name) => names.remove(name),
    };
}

fn split(path: &Path) -> (PathBuf, String) {
    (path.parent().unwrap_or_else(|| Path::new("")).to_path_buf(), path.file_name().unwrap().to_string_lossy().into_owned())
}

fn not_found() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl State {
    /// Counts one operation; tells whether it fails.
    fn step(&mut self) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("power is off"));
        }
        self.operations += 1;
        match self.fault {
            Some((k, Fault::Crash)) if k == self.operations => {
                self.crashed = true;
                Err(io::Error::other("power is off"))
            }
            Some((k, Fault::Eio)) if k == self.operations => Err(io::Error::from_raw_os_error(5)),
            Some((k, Fault::Enospc)) if k == self.operations => Err(io::Error::from_raw_os_error(28)),
            _ => Ok(()),
        }
    }

    fn change(&mut self, path: &Path, change: Change) -> io::Result<()> {
        let directory = self.directories.get_mut(path).ok_or_else(not_found)?;
        apply(&mut directory.names, &change);
        directory.pending.push(change);
        Ok(())
    }

    fn inode_of(&self, path: &Path) -> io::Result<Option<u64>> {
        let (directory, name) = split(path);
        Ok(self.directories.get(&directory).ok_or_else(not_found)?.names.get(&name).copied())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.inode_of(from)?.ok_or_else(not_found)?;
        let (from_directory, from_name) = split(from);
        let (to_directory, to_name) = split(to);
        self.change(&to_directory, Change::Add(to_name, inode))?;
        self.change(&from_directory, Change::Drop(from_name))
    }
}

struct SimFile {
    disk: SimDisk,
    inode: u64,
}

impl DiskFile for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state.lock().unwrap();
        let step = state.step();
        let stored = if step.is_ok() { bytes.len() } else { bytes.len() / 2 };
        state.inodes.get_mut(&self.inode).unwrap().bytes.extend_from_slice(&bytes[..stored]);
        step
    }
    fn sync(self: Box<Self>) -> io::Result<()> {
        let mut state = self.disk.state.lock().unwrap();
        state.step()?;
        let inode = state.inodes.get_mut(&self.inode).unwrap();
        inode.durable = inode.bytes.len();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path, _mode: u32) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        if state.inode_of(path)?.is_some() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        let (directory, name) = split(path);
        state.change(&directory, Change::Add(name, inode))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        if state.inode_of(to)?.is_some() {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists));
        }
        state.rename(from, to)
    }
    fn rename_over(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        state.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        state.inode_of(path)?.ok_or_else(not_found)?;
        let (directory, name) = split(path);
        state.change(&directory, Change::Drop(name))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        let directory = state.directories.get_mut(path).ok_or_else(not_found)?;
        directory.durable = directory.names.clone();
        directory.pending.clear();
        Ok(())
    }
    fn has(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        Ok(state.inode_of(path)?.is_some())
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock().unwrap();
        state.step()?;
        Ok(state.directories.get(path).ok_or_else(not_found)?.names.keys().cloned().collect())
    }
}

/// A small generator (xorshift): the same seed gives the same crash.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
