//! How many bytes a message has on the wire (RFC 1939 11): counted once a file, remembered across sessions in bounded memory.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::sync::{Mutex, PoisonError};

/// Sizes of one generation; two are kept: at most about 1 MB.
const SIZES_MAX: usize = 16_384;
/// Read at once while counting.
const BUFFER_BYTES: usize = 64 * 1024;

/// Counts CRLF line ends, LF line ends that become CRLF, and the line end that a last line without one is given. The same rule as the
/// sender's: see `pop3d`'s transmission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct WireCount {
    bytes: u64,
    last: Option<u8>,
}

impl WireCount {
    /// Takes the next bytes of the file.
    pub(super) fn add(&mut self, chunk: &[u8]) {
        let mut bare = 0u64;
        for at in memchr::memchr_iter(b'\n', chunk) {
            let before = match at.checked_sub(1) {
                Some(i) => chunk.get(i).copied(),
                None => self.last,
            };
            bare = bare.saturating_add(u64::from(before != Some(b'\r')));
        }
        self.bytes = self.bytes.saturating_add(chunk.len() as u64).saturating_add(bare);
        self.last = chunk.last().copied().or(self.last);
    }

    /// The total.
    pub(super) fn total(self) -> u64 {
        match self.last {
            None | Some(b'\n') => self.bytes,
            Some(b'\r') => self.bytes.saturating_add(1),
            Some(_) => self.bytes.saturating_add(2),
        }
    }
}

/// Counts a whole file. `buffer` is reused by the caller.
pub(super) fn count(file: &mut File, buffer: &mut Vec<u8>) -> io::Result<u64> {
    buffer.resize(BUFFER_BYTES, 0);
    let mut count = WireCount::default();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(count.total()),
            Ok(n) => count.add(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// What identifies a file's contents: message files never change, but an inode comes back.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct FileKey {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) bytes: u64,
    pub(super) mtime_s: i64,
    pub(super) mtime_ns: u64,
}

/// Remembered sizes, keyed by a hash with random keys.
#[derive(Debug)]
pub(super) struct SizeCache {
    hash: RandomState,
    generations: Mutex<(HashMap<u64, u64>, HashMap<u64, u64>)>,
}

impl SizeCache {
    pub(super) fn new() -> Self {
        Self { hash: RandomState::new(), generations: Mutex::default() }
    }

    pub(super) fn get(&self, key: FileKey) -> Option<u64> {
        let hash = self.hash.hash_one(key);
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.0.get(&hash).or_else(|| generations.1.get(&hash)).copied()
    }

    pub(super) fn put(&self, key: FileKey, wire_bytes: u64) {
        let hash = self.hash.hash_one(key);
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.0.len() >= SIZES_MAX {
            generations.1 = std::mem::take(&mut generations.0);
        }
        generations.0.insert(hash, wire_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(parts: &[&[u8]]) -> u64 {
        let mut count = WireCount::default();
        parts.iter().for_each(|p| count.add(p));
        count.total()
    }

    #[test]
    fn line_ends_count_two() {
        assert_eq!(wire(&[]), 0);
        assert_eq!(wire(&[b"a\nb\n"]), 6);
        assert_eq!(wire(&[b"a\r\nb\n"]), 6);
        assert_eq!(wire(&[b"a\r", b"\nb\n"]), 6, "CRLF across chunks");
        assert_eq!(wire(&[b"a", b"\n", b"", b"\n"]), 5);
        assert_eq!(wire(&[b"no end"]), 8);
        assert_eq!(wire(&[b"cr at end\r"]), 11);
        assert_eq!(wire(&[b"\n\r\n\r"]), 6);
    }

    #[test]
    fn the_cache_is_bounded_and_tells_files_apart() {
        let cache = SizeCache::new();
        let key = |inode| FileKey { device: 1, inode, bytes: 5, mtime_s: 9, mtime_ns: 0 };
        for inode in 0..100_000 {
            cache.put(key(inode), inode);
        }
        let held = {
            let g = cache.generations.lock().unwrap();
            g.0.len() + g.1.len()
        };
        assert!(held <= 2 * SIZES_MAX);
        assert_eq!(cache.get(key(99_999)), Some(99_999));
        assert_eq!(cache.get(FileKey { mtime_s: 10, ..key(99_999) }), None);
    }
}
