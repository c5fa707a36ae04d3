//! Files read whole or by position, kept as long as their stamp (device, inode, size, modification time) stays. Called by everything in this
//! crate that looks something up. Bounded; one stat(2) a use; never trusts a name without looking.

use crate::trouble::{Depth, Trouble};
use postino_control::cdb::{Cdb, CdbError, Source};
use postino_types::Time;
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files up to this size are kept in memory, larger ones open.
const IN_MEMORY_BYTES_MAX: u64 = 1 << 20;
/// Entries kept.
const ENTRIES_MAX: usize = 512;
/// Largest text file that is read whole.
const TEXT_BYTES_MAX: u64 = 64 << 20;

/// Which state of a file was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }

    /// Was `self` changed before `other`?
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        (self.seconds, self.nanoseconds) < (other.seconds, other.nanoseconds)
    }
}

/// The state of `path` now; `None` when there is no such file.
pub(crate) fn stamp(path: &Path) -> Result<Option<Stamp>, Trouble> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Trouble::io(path, &error)),
    }
}

/// True when the error says "there is none", not "cannot tell".
pub(crate) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Bytes of a data base, in memory or in an open file.
#[derive(Debug)]
pub(crate) enum Bytes {
    Memory(Vec<u8>),
    Open(File),
}

impl Source for Bytes {
    fn size(&self) -> Result<u64, CdbError> {
        match self {
            Self::Memory(bytes) => bytes.size(),
            Self::Open(file) => file.size(),
        }
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError> {
        match self {
            Self::Memory(bytes) => bytes.read_exact_at(offset, buffer),
            Self::Open(file) => Source::read_exact_at(file, offset, buffer),
        }
    }
}

/// A file in a form in which it answers questions.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// A constant data base.
    Data(Cdb<Bytes>),
    /// Lines `key:rest`; the first of equal keys counts.
    Lines(HashMap<Vec<u8>, Vec<u8>>),
    /// A dot-qmail file.
    Small(Small),
}

/// A dot-qmail file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Small {
    pub(crate) text: Vec<u8>,
    pub(crate) mode: u32,
}

/// How to load a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Data,
    Lines,
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    loaded: Arc<Loaded>,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<PathBuf, Kept>,
    tick: u64,
}

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct FileCache {
    state: Mutex<State>,
}

impl FileCache {
    /// The file at `path`, whose state now is `stamp`. Loads it when it is new or changed, if `depth` allows.
    pub(crate) fn get(&self, path: &Path, stamp: Stamp, form: Form, depth: Depth) -> Result<Arc<Loaded>, Trouble> {
        if let Some(loaded) = self.kept(path, stamp) {
            return Ok(loaded);
        }
        if depth == Depth::Warm {
            return Err(Trouble::NeedsLoad);
        }
        let (stamp, loaded) = load(path, form)?;
        let loaded = Arc::new(loaded);
        self.keep(path, stamp, Arc::clone(&loaded));
        Ok(loaded)
    }

    /// A small text file, read on the spot; `None` when there is no such regular file. One that was changed less than two seconds ago is read
    /// anew each time: an edit in place may leave its stamp as it was.
    pub(crate) fn small(&self, path: &Path, bytes_max: u64, now: Time) -> io::Result<Option<Small>> {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(None),
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Some(Loaded::Small(small)) = self.kept(path, Stamp::of(&metadata)).as_deref() {
            return Ok(Some(Small { text: small.text.clone(), mode: metadata.mode() }));
        }
        let Some((stamp, small)) = open_small(path, bytes_max)? else { return Ok(None) };
        if stamp.seconds.saturating_add(2) < now.secs() {
            self.keep(path, stamp, Arc::new(Loaded::Small(small.clone())));
        }
        Ok(Some(small))
    }

    fn kept(&self, path: &Path, stamp: Stamp) -> Option<Arc<Loaded>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tick += 1;
        let tick = state.tick;
        let kept = state.kept.get_mut(path)?;
        if kept.stamp != stamp {
            return None;
        }
        kept.used = tick;
        Some(Arc::clone(&kept.loaded))
    }

    fn keep(&self, path: &Path, stamp: Stamp, loaded: Arc<Loaded>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.kept.len() >= ENTRIES_MAX && !state.kept.contains_key(path) {
            let oldest = state.kept.iter().min_by_key(|(_, kept)| kept.used).map(|(path, _)| path.clone());
            if let Some(oldest) = oldest {
                state.kept.remove(&oldest);
            }
        }
        let used = state.tick;
        state.kept.insert(path.to_path_buf(), Kept { stamp, loaded, used });
    }
}

fn load(path: &Path, form: Form) -> Result<(Stamp, Loaded), Trouble> {
    let wrong = |error: &io::Error| Trouble::io(path, error);
    let file = File::open(path).map_err(|e| wrong(&e))?;
    let stamp = Stamp::of(&file.metadata().map_err(|e| wrong(&e))?);
    let loaded = match form {
        Form::Data => {
            let bytes = if stamp.bytes <= IN_MEMORY_BYTES_MAX {
                Bytes::Memory(read_whole(&file, IN_MEMORY_BYTES_MAX).map_err(|e| wrong(&e))?)
            } else {
                Bytes::Open(file)
            };
            Loaded::Data(Cdb::new(bytes).map_err(|e| Trouble::because(path, &e))?)
        }
        Form::Lines => Loaded::Lines(lines(&read_whole(&file, TEXT_BYTES_MAX).map_err(|e| wrong(&e))?)),
    };
    Ok((stamp, loaded))
}

fn lines(text: &[u8]) -> HashMap<Vec<u8>, Vec<u8>> {
    let mut out = HashMap::new();
    for line in text.split(|&b| b == b'\n') {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let (key, rest) = line.split_at(colon);
        out.entry(key.to_vec()).or_insert_with(|| rest.get(1..).unwrap_or_default().to_vec());
    }
    out
}

/// Reads all of it; more than `bytes_max` is an error.
fn read_whole(file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut out)?;
    if out.len() as u64 > bytes_max {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(out)
}

/// A small file's content and permission bits; `None` when there is no such regular file. Never waits on a pipe or a device.
pub(crate) fn read_small(path: &Path, bytes_max: u64) -> io::Result<Option<(Vec<u8>, u32)>> {
    Ok(open_small(path, bytes_max)?.map(|(_, small)| (small.text, small.mode)))
}

fn open_small(path: &Path, bytes_max: u64) -> io::Result<Option<(Stamp, Small)>> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = match File::options().read(true).custom_flags(nonblocking).open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(None);
    }
    Ok(Some((Stamp::of(&metadata), Small { text: read_whole(&file, bytes_max)?, mode: metadata.mode() })))
}
