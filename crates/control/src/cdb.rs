//! The constant data base: `users/cdb`, `morercpthosts.cdb`, `tcp.smtp.cdb`, `vpasswd.cdb`. Reads from memory or by pread, writes to memory.
//! Called by assign, tcprules, policy and the directory; never opens, syncs or renames a file, and never trusts a position that a file holds.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

const HEADER_BYTES: u64 = 2048;

/// Why a data base could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum CdbError {
    /// A position or length points outside the file.
    #[error("damaged cdb: a position points outside the file")]
    Damaged,
    /// More than 4 GiB.
    #[error("cdb would be larger than 4 GiB")]
    TooBig,
    /// Reading failed.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Where the bytes of a data base lie.
pub trait Source {
    /// Length in bytes.
    fn size(&self) -> Result<u64, CdbError>;
    /// Fills `buffer` from `offset`; an error when the file is shorter.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError>;
}

impl Source for [u8] {
    fn size(&self) -> Result<u64, CdbError> {
        Ok(self.len() as u64)
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError> {
        let start = usize::try_from(offset).map_err(|_| CdbError::Damaged)?;
        let end = start.checked_add(buffer.len()).ok_or(CdbError::Damaged)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(CdbError::Damaged)?);
        Ok(())
    }
}

impl Source for Vec<u8> {
    fn size(&self) -> Result<u64, CdbError> {
        self.as_slice().size()
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError> {
        self.as_slice().read_exact_at(offset, buffer)
    }
}

impl Source for File {
    fn size(&self) -> Result<u64, CdbError> {
        Ok(self.metadata()?.len())
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError> {
        FileExt::read_exact_at(self, buffer, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => CdbError::Damaged,
            _ => CdbError::Io(e),
        })
    }
}

impl<T: Source + ?Sized> Source for &T {
    fn size(&self) -> Result<u64, CdbError> {
        (**self).size()
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError> {
        (**self).read_exact_at(offset, buffer)
    }
}

/// One record: key and data.
pub type Record = (Vec<u8>, Vec<u8>);

/// A data base opened for reading.
#[derive(Debug)]
pub struct Cdb<S> {
    source: S,
    size: u64,
}

impl<S: Source> Cdb<S> {
    /// Opens `source`. A file too short for the header is damaged.
    pub fn new(source: S) -> Result<Self, CdbError> {
        let size = source.size()?;
        if size < HEADER_BYTES {
            return Err(CdbError::Damaged);
        }
        Ok(Self { source, size })
    }

    fn pair(&self, offset: u64) -> Result<(u32, u32), CdbError> {
        let mut raw = [0u8; 8];
        self.source.read_exact_at(offset, &mut raw)?;
        let [a, b, c, d, e, f, g, h] = raw;
        Ok((u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])))
    }

    fn bytes(&self, offset: u64, length: u32) -> Result<Vec<u8>, CdbError> {
        let end = offset.checked_add(u64::from(length)).ok_or(CdbError::Damaged)?;
        if end > self.size {
            return Err(CdbError::Damaged); // before the allocation: a hostile length costs nothing
        }
        let mut out = vec![0u8; usize::try_from(length).map_err(|_| CdbError::Damaged)?];
        self.source.read_exact_at(offset, &mut out)?;
        Ok(out)
    }

    /// The data of the first record with this key; `None` when there is none.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, CdbError> {
        let hash = hash(key);
        let (table, slots) = self.pair(u64::from(hash & 255) * 8)?;
        if slots == 0 {
            return Ok(None);
        }
        let (table, slots) = (u64::from(table), u64::from(slots));
        if table.saturating_add(slots * 8) > self.size {
            return Err(CdbError::Damaged);
        }
        let mut slot = u64::from(hash >> 8) % slots;
        for _ in 0..slots {
            let (entry_hash, position) = self.pair(table + slot * 8)?;
            if position == 0 {
                return Ok(None);
            }
            if entry_hash == hash
                && let Some(data) = self.matching(u64::from(position), key)?
            {
                return Ok(Some(data));
            }
            slot = (slot + 1) % slots;
        }
        Ok(None)
    }

    fn matching(&self, position: u64, key: &[u8]) -> Result<Option<Vec<u8>>, CdbError> {
        let (key_bytes, data_bytes) = self.pair(position)?;
        if u64::from(key_bytes) != key.len() as u64 || self.bytes(position + 8, key_bytes)? != key {
            return Ok(None);
        }
        self.bytes(position + 8 + u64::from(key_bytes), data_bytes).map(Some)
    }

    /// True when a record with this key exists.
    pub fn contains(&self, key: &[u8]) -> Result<bool, CdbError> {
        self.get(key).map(|data| data.is_some())
    }

    /// All records in the order in which they were added. Bounded by the file's size.
    pub fn records(&self) -> Result<Vec<Record>, CdbError> {
        let mut end = self.size;
        for table in 0..256u64 {
            let (position, _) = self.pair(table * 8)?;
            end = end.min(u64::from(position));
        }
        let mut out = Vec::new();
        let mut at = HEADER_BYTES;
        while at < end {
            let (key_bytes, data_bytes) = self.pair(at)?;
            let key = self.bytes(at + 8, key_bytes)?;
            let data_at = at + 8 + u64::from(key_bytes);
            out.push((key, self.bytes(data_at, data_bytes)?));
            at = data_at + u64::from(data_bytes);
        }
        Ok(out)
    }
}

/// The hash of a key: start 5381, for each byte `((h << 5) + h) ^ byte`.
#[must_use]
pub fn hash(key: &[u8]) -> u32 {
    key.iter().fold(5381u32, |h, &b| h.wrapping_shl(5).wrapping_add(h) ^ u32::from(b))
}

/// Makes a data base in memory; the caller puts it durably in its place.
#[derive(Debug)]
pub struct CdbWriter {
    out: Vec<u8>,
    entries: Vec<(u32, u32)>,
}

impl Default for CdbWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl CdbWriter {
    /// An empty data base.
    #[must_use]
    pub fn new() -> Self {
        Self { out: vec![0u8; 2048], entries: Vec::new() }
    }

    /// Adds a record. The same key may come again; readers find the first.
    pub fn add(&mut self, key: &[u8], data: &[u8]) -> Result<(), CdbError> {
        let position = u32::try_from(self.out.len()).map_err(|_| CdbError::TooBig)?;
        let key_bytes = u32::try_from(key.len()).map_err(|_| CdbError::TooBig)?;
        let data_bytes = u32::try_from(data.len()).map_err(|_| CdbError::TooBig)?;
        self.out.extend_from_slice(&key_bytes.to_le_bytes());
        self.out.extend_from_slice(&data_bytes.to_le_bytes());
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(data);
        self.entries.push((hash(key), position));
        Ok(())
    }

    /// Adds the hash tables and gives the whole file.
    pub fn finish(mut self) -> Result<Vec<u8>, CdbError> {
        let mut header = Vec::with_capacity(2048);
        let mut tables: Vec<Vec<(u32, u32)>> = vec![Vec::new(); 256];
        for entry in std::mem::take(&mut self.entries) {
            if let Some(table) = usize::try_from(entry.0 & 255).ok().and_then(|t| tables.get_mut(t)) {
                table.push(entry);
            }
        }
        for entries in tables {
            let position = u32::try_from(self.out.len()).map_err(|_| CdbError::TooBig)?;
            let count = entries.len() * 2;
            header.extend_from_slice(&position.to_le_bytes());
            header.extend_from_slice(&u32::try_from(count).map_err(|_| CdbError::TooBig)?.to_le_bytes());
            for (hash, at) in table_of(&entries, count) {
                self.out.extend_from_slice(&hash.to_le_bytes());
                self.out.extend_from_slice(&at.to_le_bytes());
            }
        }
        u32::try_from(self.out.len()).map_err(|_| CdbError::TooBig)?;
        for (to, from) in self.out.iter_mut().zip(header) {
            *to = from;
        }
        Ok(self.out)
    }
}

fn table_of(entries: &[(u32, u32)], count: usize) -> Vec<(u32, u32)> {
    let mut table = vec![(0u32, 0u32); count];
    for &entry in entries {
        let start = usize::try_from(entry.0 >> 8).unwrap_or(0) % count.max(1);
        // half of the slots are free, so the search ends
        let free = (start..count).chain(0..start).find(|&slot| table.get(slot).is_some_and(|e| e.1 == 0));
        if let Some(slot) = free.and_then(|slot| table.get_mut(slot)) {
            *slot = entry;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_as_the_original_writes_them() {
        let mut w = CdbWriter::new();
        w.add(b"one", b"Hello").unwrap();
        w.add(b"two", b"Goodbye").unwrap();
        let out = w.finish().unwrap();
        assert_eq!(out.len(), 2048 + (8 + 3 + 5) + (8 + 3 + 7) + 2 * 2 * 8);
        assert_eq!(&out[2048..2064], b"\x03\0\0\0\x05\0\0\0oneHello");
        // each key alone in its table of two slots
        for key in [&b"one"[..], b"two"] {
            let at = (hash(key) & 255) as usize * 8;
            assert_eq!(u32::from_le_bytes(out[at + 4..at + 8].try_into().unwrap()), 2);
        }
        assert_eq!(hash(b""), 5381);
        assert_eq!(hash(b"a"), (5381 * 33) ^ 97);
    }

    #[test]
    fn first_of_equal_keys_is_found() {
        let mut w = CdbWriter::new();
        w.add(b"k", b"1").unwrap();
        w.add(b"k", b"2").unwrap();
        let out = w.finish().unwrap();
        let cdb = Cdb::new(out.as_slice()).unwrap();
        assert_eq!(cdb.get(b"k").unwrap(), Some(b"1".to_vec()));
        assert_eq!(cdb.records().unwrap().len(), 2);
        assert_eq!(cdb.get(b"x").unwrap(), None);
    }

    #[test]
    fn a_file_is_read_by_pread() {
        let mut w = CdbWriter::new();
        w.add(b"k", b"v").unwrap();
        let mut f = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut f, &w.finish().unwrap()).unwrap();
        assert_eq!(Cdb::new(&f).unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    }

    proptest! {
        #[test]
        fn written_records_come_back(records in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..20), proptest::collection::vec(any::<u8>(), 0..20)), 0..200)) {
            let mut w = CdbWriter::new();
            for (k, d) in &records { w.add(k, d).unwrap(); }
            let out = w.finish().unwrap();
            let cdb = Cdb::new(&out).unwrap();
            prop_assert_eq!(&cdb.records().unwrap(), &records);
            for (k, _) in &records {
                let first = records.iter().find(|r| &r.0 == k).map(|r| r.1.clone());
                prop_assert_eq!(cdb.get(k).unwrap(), first);
            }
        }

        #[test]
        fn hostile_files_end_and_do_not_panic(changes in proptest::collection::vec((0usize..2300, any::<u8>()), 0..40), cut in 0usize..2300) {
            let mut w = CdbWriter::new();
            for k in 0u8..6 { w.add(&[k], &[k; 9]).unwrap(); }
            let mut out = w.finish().unwrap();
            for (at, b) in changes { if let Some(x) = out.get_mut(at) { *x = b; } }
            out.truncate(cut);
            if let Ok(cdb) = Cdb::new(&out) {
                for k in 0u8..=255 { let _ = cdb.get(&[k]); }
                let _ = cdb.records();
            }
        }
    }
}
