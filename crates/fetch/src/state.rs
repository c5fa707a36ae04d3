//! What was fetched already, account by account: a journal in `queue/fetch/NAME`, one line a change, the last line of a message counts. Written before a
//! message is deleted on the other side. Used by `run`; knows no protocol and reads no clock.
//!
//! What a crash leaves: a torn last line, which is passed over; a message that is in the queue but not here, which `run` finds by its mark; or the
//! word `begin` without `end`, which says that such a message may exist.

use postino_disk::{AppendFile, replace_file};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Largest journal, bytes: many hundred thousand messages.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// Lines beyond twice the live ones before the journal is written anew.
const SPARE_LINES: usize = 1000;
/// Failures after which a message is left alone for [`PAUSE_S`].
pub(crate) const FAILURES_MAX: u32 = 3;
/// How long, seconds.
const PAUSE_S: i64 = 86_400;

/// What is known of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    /// Fetched (or failed last) at, seconds since the epoch.
    at: i64,
    /// Size that the server named; 0 = none.
    size: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It could not be fetched, so many times.
    Failed(u32),
    /// It is in our queue, or was.
    Fetched,
    /// The same, and the server took the deletion.
    Deleted,
}

/// What is to be done with a listed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Fetch it.
    New,
    /// It was fetched at this time (seconds since the epoch).
    Fetched(i64),
    /// It failed too often; leave it for now.
    Paused,
}

/// One account's journal.
#[derive(Debug)]
pub(crate) struct State {
    path: PathBuf,
    file: AppendFile,
    lines: usize,
    scopes: HashMap<String, HashMap<Vec<u8>, Record>>,
    /// The last run did not come to its end.
    pub(crate) is_unclean: bool,
}

impl State {
    /// Opens the journal of an account.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let (file, bytes) = AppendFile::open(path, FILE_BYTES_MAX)?;
        let mut state = Self { path: path.to_path_buf(), file, lines: 0, scopes: HashMap::new(), is_unclean: false };
        for line in bytes.split(|b| *b == b'\n') {
            state.lines = state.lines.saturating_add(1);
            match line {
                b"begin" => state.is_unclean = true,
                b"end" => state.is_unclean = false,
                _ => state.take(line),
            }
        }
        if bytes.last().is_some_and(|b| *b != b'\n') {
            state.file.append(b"\n")?; // so that the torn line spoils only itself
        }
        if state.lines > state.live().saturating_mul(2).saturating_add(SPARE_LINES) {
            state.rewrite()?;
        }
        Ok(state)
    }

    fn live(&self) -> usize {
        self.scopes.values().map(HashMap::len).sum()
    }

    /// One line; what is none is passed over: the worst that comes of it is a message fetched twice.
    fn take(&mut self, line: &[u8]) {
        let Some((scope, uid, record)) = parse(line) else { return };
        let scope = self.scopes.entry(scope).or_default();
        match record {
            Some(record) => drop(scope.insert(uid, record)),
            None => drop(scope.remove(&uid)),
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let mut text = String::new();
        for (scope, records) in &self.scopes {
            for (uid, record) in records {
                push_line(&mut text, scope, uid, Some(*record));
            }
        }
        if self.is_unclean {
            text.push_str("begin\n");
        }
        replace_file(&self.path, text.as_bytes(), 0o600)?;
        self.file = AppendFile::open(&self.path, FILE_BYTES_MAX)?.0;
        self.lines = self.live();
        Ok(())
    }

    /// A run begins.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        self.append("begin\n")
    }

    /// A run came to its end: everything in the queue stands here too.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.is_unclean = false;
        self.append("end\n")
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        self.lines = self.lines.saturating_add(1);
        self.file.append(text.as_bytes())
    }

    /// What is known of a message.
    pub(crate) fn known(&self, scope: &str, uid: &[u8], now: i64) -> Known {
        match self.scopes.get(scope).and_then(|s| s.get(uid)) {
            None => Known::New,
            Some(Record { fate: Fate::Failed(n), at, .. }) if *n >= FAILURES_MAX && now.saturating_sub(*at) < PAUSE_S => Known::Paused,
            Some(Record { fate: Fate::Failed(_), .. }) => Known::New,
            Some(record) => Known::Fetched(record.at),
        }
    }

    /// The message is on stable storage here.
    pub(crate) fn fetched(&mut self, scope: &str, uid: &[u8], size: u64, now: i64) -> io::Result<()> {
        self.set(scope, uid, Record { at: now, size, fate: Fate::Fetched })
    }

    /// The message could not be fetched; `times` more failures are counted.
    pub(crate) fn failed(&mut self, scope: &str, uid: &[u8], times: u32, now: i64) -> io::Result<()> {
        let before = match self.scopes.get(scope).and_then(|s| s.get(uid)).map(|r| r.fate) {
            Some(Fate::Failed(n)) => n % FAILURES_MAX, // after the pause it gets all its chances again
            _ => 0,
        };
        self.set(scope, uid, Record { at: now, size: 0, fate: Fate::Failed(before.saturating_add(times)) })
    }

    fn set(&mut self, scope: &str, uid: &[u8], record: Record) -> io::Result<()> {
        let mut line = String::new();
        push_line(&mut line, scope, uid, Some(record));
        self.append(&line)?;
        self.scopes.entry(scope.to_owned()).or_default().insert(uid.to_vec(), record);
        Ok(())
    }

    /// The server took these deletions for good.
    pub(crate) fn deleted<'a>(&mut self, scope: &str, uids: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut text = String::new();
        let records = self.scopes.entry(scope.to_owned()).or_default();
        for uid in uids {
            if let Some(record) = records.get_mut(uid) {
                record.fate = Fate::Deleted;
                push_line(&mut text, scope, uid, Some(*record));
            }
        }
        if text.is_empty() { Ok(()) } else { self.append(&text) }
    }

    /// Compares with what the server lists now (uid, size). A message that is gone is forgotten, since its unique id may be given to another one
    /// (RFC 1939 7). A deleted one that is there again is another one if its size differs; else the server did not delete it. Of an empty
    /// listing, which may be a passing fault, only the deleted ones are believed to be gone.
    pub(crate) fn compare(&mut self, scope: &str, listed: &HashMap<&[u8], u64>) -> io::Result<()> {
        let mut text = String::new();
        let records = self.scopes.entry(scope.to_owned()).or_default();
        records.retain(|uid, record| {
            let stays = match (listed.get(uid.as_slice()), record.fate) {
                (Some(size), Fate::Deleted) => *size == record.size,
                (Some(_), _) => true,
                (None, Fate::Deleted) => false,
                (None, _) => listed.is_empty(),
            };
            if !stays {
                push_line(&mut text, scope, uid, None);
            }
            stays
        });
        if text.is_empty() { Ok(()) } else { self.append(&text) }
    }
}

/// `SCOPE UID AT SIZE FATE`; fate: `f` fetched, `d` deleted, `x` forgotten, a number: failures.
fn push_line(out: &mut String, scope: &str, uid: &[u8], record: Option<Record>) {
    push_word(out, scope.as_bytes());
    out.push(' ');
    push_word(out, uid);
    // Writing to a String cannot fail.
    let _ = match record {
        None => writeln!(out, " 0 0 x"),
        Some(Record { at, size, fate: Fate::Fetched }) => writeln!(out, " {at} {size} f"),
        Some(Record { at, size, fate: Fate::Deleted }) => writeln!(out, " {at} {size} d"),
        Some(Record { at, size, fate: Fate::Failed(n) }) => writeln!(out, " {at} {size} {n}"),
    };
}

fn push_word(out: &mut String, bytes: &[u8]) {
    for &b in bytes {
        if b.is_ascii_graphic() && b != b'%' {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02x}");
        }
    }
}

fn parse(line: &[u8]) -> Option<(String, Vec<u8>, Option<Record>)> {
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.split(' ');
    let scope = String::from_utf8(word(words.next()?)?).ok()?;
    let uid = word(words.next()?)?;
    let at = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let fate = match (words.next()?, words.next()) {
        (_, Some(_)) => return None,
        ("x", None) => return Some((scope, uid, None)),
        ("f", None) => Fate::Fetched,
        ("d", None) => Fate::Deleted,
        (n, None) => Fate::Failed(n.parse().ok()?),
    };
    Some((scope, uid, Some(Record { at, size, fate })))
}

fn word(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let pair = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            out.push(b);
        }
    }
    (!out.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> State {
        State::open(&dir.path().join("isp")).unwrap()
    }

    fn listed(uids: &[(&'static str, u64)]) -> HashMap<&'static [u8], u64> {
        uids.iter().map(|(uid, size)| (uid.as_bytes(), *size)).collect()
    }

    #[test]
    fn what_was_fetched_is_known_after_a_crash_at_any_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("isp");
        let mut state = open(&dir);
        state.begin().unwrap();
        state.fetched("a b%", b"u 1", 10, 100).unwrap();
        state.fetched("a b%", b"u2", 20, 200).unwrap();
        drop(state);
        let whole = std::fs::read(&path).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let mut state = open(&dir);
            let first = state.known("a b%", b"u 1", 300);
            let second = state.known("a b%", b"u2", 300);
            assert_eq!(state.is_unclean, cut > "begin".len() - 1);
            // A line that is torn in its last digits could only name a later failure, never a fetched message; "f" is the last byte.
            assert!(matches!(first, Known::New | Known::Fetched(100)) && matches!(second, Known::New | Known::Fetched(200)));
            assert!(second == Known::New || first == Known::Fetched(100), "in order");
            state.fetched("a b%", b"u3", 1, 400).unwrap();
            drop(state);
            assert_eq!(open(&dir).known("a b%", b"u3", 500), Known::Fetched(400), "cut at {cut}");
        }
    }

    #[test]
    fn failures_pause_and_pass() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = open(&dir);
        for _ in 0..2 {
            state.failed("-", b"u", 1, 100).unwrap();
            assert_eq!(state.known("-", b"u", 100), Known::New);
        }
        state.failed("-", b"u", 1, 100).unwrap();
        drop(state);
        let mut state = open(&dir);
        assert_eq!(state.known("-", b"u", 100 + 3600), Known::Paused);
        assert_eq!(state.known("-", b"u", 100 + 86_400), Known::New);
        state.fetched("-", b"u", 1, 100_000).unwrap();
        assert_eq!(state.known("-", b"u", 100_001), Known::Fetched(100_000));
    }

    #[test]
    fn the_gone_are_forgotten_and_reused_ids_are_new_messages() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = open(&dir);
        for uid in [b"a", b"b", b"c"] {
            state.fetched("-", uid, 10, 1).unwrap();
        }
        state.compare("-", &listed(&[])).unwrap();
        assert_eq!(state.known("-", b"a", 2), Known::Fetched(1), "an empty listing may be a passing fault");
        state.deleted("-", [&b"a"[..], b"b"].into_iter()).unwrap();
        state.compare("-", &listed(&[("a", 10), ("b", 11)])).unwrap();
        drop(state);
        let mut state = open(&dir);
        assert_eq!(state.known("-", b"a", 2), Known::Fetched(1), "the server did not delete it");
        assert_eq!(state.known("-", b"b", 2), Known::New, "another message under the same id");
        assert_eq!(state.known("-", b"c", 2), Known::New, "gone");
        state.compare("-", &listed(&[])).unwrap();
        assert_eq!(state.known("-", b"a", 2), Known::New, "deleted and gone: the id may be used again");
    }

    #[test]
    fn the_journal_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for n in 0..5000 {
            push_line(&mut text, "-", b"one", Some(Record { at: n, size: 1, fate: Fate::Fetched }));
        }
        text.push_str("begin\n");
        std::fs::write(dir.path().join("isp"), text).unwrap();
        let state = open(&dir);
        assert!(state.is_unclean);
        assert_eq!(state.known("-", b"one", 1), Known::Fetched(4999));
        drop(state);
        assert_eq!(std::fs::read_to_string(dir.path().join("isp")).unwrap(), "- one 4999 1 f\nbegin\n");
    }
}
