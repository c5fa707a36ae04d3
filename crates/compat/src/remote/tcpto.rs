//! `queue/lock/tcpto`: the addresses that did not answer lately. 64 records of 16 bytes: IPv4 address, count, three unused bytes, time of the
//! last timeout (little-endian seconds), four unused bytes. Called by qmail-remote and the programs that show and clear it; never fails a
//! delivery.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The table's size, bytes.
pub(crate) const TABLE_BYTES: u64 = 1024;
const RECORD_BYTES: usize = 16;
const COUNT_MAX: u8 = 10;
/// Timeouts sooner than this after the last one count as the same, seconds.
const SAME_S: u64 = 120;

/// A record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// The address.
    pub(crate) ip: [u8; 4],
    /// Recent timeouts; 0 for an unused record.
    pub(crate) count: u8,
    /// When the last one was, seconds since 1970.
    pub(crate) when: u32,
}

impl Record {
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ip = bytes.get(..4)?.try_into().ok()?;
        let when = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
        Some(Self { ip, count: *bytes.get(4)?, when })
    }

    fn to_bytes(self) -> [u8; RECORD_BYTES] {
        let [a, b, c, d] = self.ip;
        let [t0, t1, t2, t3] = self.when.to_le_bytes();
        [a, b, c, d, self.count, 0, 0, 0, t0, t1, t2, t3, 0, 0, 0, 0]
    }
}

/// The records in the table's bytes.
pub(crate) fn records(bytes: &[u8]) -> Vec<Record> {
    bytes.chunks_exact(RECORD_BYTES).filter_map(Record::from_bytes).collect()
}

/// The table, opened and locked anew for each question.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
}

impl Table {
    /// The table of a home.
    pub(crate) fn in_home(home: &Path) -> Self {
        Self { path: home.join("queue/lock/tcpto") }
    }

    /// True for an address that timed out twice and more, the last time less than an hour or two ago. The span differs by process, so that not
    /// all of them try again at the same moment.
    pub(crate) fn says_skip(&self, ip: IpAddr) -> bool {
        let Some(ip) = v4(ip) else { return false };
        let Ok((_, records)) = self.open() else { return false };
        let span = (60 + u64::from(std::process::id() & 31)) * 64;
        let recent = |record: &Record| now().saturating_sub(u64::from(record.when)) < span;
        records.iter().any(|record| record.ip == ip && record.count >= 2 && recent(record))
    }

    /// Clears the address's count.
    pub(crate) fn connected(&self, ip: IpAddr) {
        self.change(ip, |records, ip| {
            let (index, mut record) = records.iter().copied().enumerate().find(|(_, record)| record.ip == ip && record.count > 0)?;
            record.count = 0;
            Some((index, record))
        });
    }

    /// Counts a timeout.
    pub(crate) fn timed_out(&self, ip: IpAddr) {
        let now = u32::try_from(now()).unwrap_or(u32::MAX);
        self.change(ip, |records, ip| counted(records, ip, now));
    }

    fn change(&self, ip: IpAddr, what: impl FnOnce(&[Record], [u8; 4]) -> Option<(usize, Record)>) {
        let Some(ip) = v4(ip) else { return };
        let Ok((mut file, records)) = self.open() else { return };
        let Some((index, record)) = what(&records, ip) else { return };
        let Ok(offset) = u64::try_from(index * RECORD_BYTES) else { return };
        // Advice only: a record that cannot be written costs one more attempt.
        let _ = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&record.to_bytes()));
    }

    fn open(&self) -> io::Result<(File, Vec<Record>)> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        file.lock()?;
        let mut bytes = Vec::new();
        (&file).take(TABLE_BYTES).read_to_end(&mut bytes)?;
        Ok((file, records(&bytes)))
    }
}

/// The address's record, else an unused one, else the oldest.
fn counted(records: &[Record], ip: [u8; 4], now: u32) -> Option<(usize, Record)> {
    let known = records.iter().position(|record| record.ip == ip);
    if let Some((index, record)) = known.and_then(|index| Some((index, *records.get(index)?))) {
        if record.count > 0 && u64::from(now) < u64::from(record.when) + SAME_S {
            return None;
        }
        return Some((index, Record { ip, count: record.count.saturating_add(1).min(COUNT_MAX), when: now }));
    }
    let age = |record: &Record| if record.count == 0 { 0 } else { record.when };
    let index = (0..records.len()).min_by_key(|&index| records.get(index).map_or(u32::MAX, age))?;
    Some((index, Record { ip, count: 1, when: now }))
}

fn v4(ip: IpAddr) -> Option<[u8; 4]> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Some(ip.octets()),
        IpAddr::V6(_) => None,
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_timeouts_apart_make_an_address_skipped_and_an_answer_clears_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("queue/lock/tcpto");
        let table = Table::in_home(home.path());
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        table.timed_out(ip);
        assert!(!table.says_skip(ip), "no table");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, [0u8; 1024]).unwrap();
        table.timed_out("192.0.2.9".parse().unwrap());
        table.timed_out(ip);
        table.timed_out(ip);
        assert!(!table.says_skip(ip), "the second came at once");
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[16..21], [192, 0, 2, 1, 1]);
        let earlier = u32::try_from(now() - 600).unwrap();
        bytes[24..28].copy_from_slice(&earlier.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        table.timed_out(ip);
        assert!(table.says_skip(ip));
        assert_eq!(std::fs::read(&path).unwrap().len(), 1024);
        table.connected(ip);
        assert!(!table.says_skip(ip));
    }

    #[test]
    fn a_full_table_loses_its_oldest() {
        let full: Vec<Record> = (0..64u8).map(|n| Record { ip: [10, 0, 0, n], count: 1, when: if n == 7 { 5 } else { 100 } }).collect();
        assert_eq!(counted(&full, [192, 0, 2, 1], 200).unwrap().0, 7);
        assert_eq!(counted(&full, [10, 0, 0, 9], 10_000).unwrap().1.count, 2);
        assert_eq!(counted(&[], [10, 0, 0, 9], 1), None);
    }
}
