//! A hostile constant data base: every search ends, nothing outside the file is read, nothing larger than the file is made.
#![no_main]

use postino_control::cdb::{Cdb, CdbError, CdbWriter, Source as Place};
use postino_fuzz::Source;
use std::cell::Cell;

/// Counts reads: a search may look at each slot once.
struct Counted<'a> {
    bytes: &'a [u8],
    reads: Cell<u64>,
}

impl Place for Counted<'_> {
    fn size(&self) -> Result<u64, CdbError> {
        self.bytes.size()
    }
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), CdbError> {
        self.reads.set(self.reads.get() + 1);
        assert!(buffer.len() <= self.bytes.len(), "room for more than the file holds");
        self.bytes.read_exact_at(offset, buffer)
    }
}

fn hostile(file: &[u8], key: &[u8]) {
    let place = Counted { bytes: file, reads: Cell::new(0) };
    let Ok(cdb) = Cdb::new(&place) else { return };
    let limit = 8 + file.len() as u64;
    let _ = cdb.get(key);
    assert!(place.reads.get() <= limit, "{} reads", place.reads.get());
    place.reads.set(0);
    if let Ok(records) = cdb.records() {
        assert!(records.len() <= file.len() / 8);
    }
    assert!(place.reads.get() <= 256 + limit, "{} reads", place.reads.get());
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let key = source.bytes();
    // A sound file with some bytes changed gets further than noise.
    let mut writer = CdbWriter::new();
    let records: Vec<(&[u8], &[u8])> = (0..source.byte() % 16).map(|_| (source.bytes(), source.bytes())).collect();
    for (key, data) in &records {
        writer.add(key, data).expect("small");
    }
    let mut file = writer.finish().expect("small");
    let cdb = Cdb::new(&file).expect("just made");
    for (key, _) in &records {
        let first = records.iter().find(|(k, _)| k == key).map(|(_, d)| d.to_vec());
        assert_eq!(cdb.get(key).expect("sound"), first);
    }
    while !source.is_empty() {
        let at = usize::from(source.u16()) % file.len();
        file[at] = source.byte();
    }
    hostile(&file, key);
    for (key, _) in &records {
        hostile(&file, key);
    }
    hostile(input, key);
});
