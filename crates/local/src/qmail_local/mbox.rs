//! An mbox line: locks the file, appends the message quoted, syncs; on a write error takes back what it wrote.

use super::{Run, Stop};
use rustix::fs::{FlockOperation, Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Pause between two attempts at a lock; flock(2) has no time-out of its own.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Is the file ours alone?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// Yes.
    Held,
    /// The file system has no locks.
    Unsupported,
}

/// Appends to `path` (relative to home, or absolute).
pub(super) fn deliver(run: &Run<'_>, path: &[u8]) -> Result<(), Stop> {
    let unable = |what: &str, e: &io::Error, code| Stop::unable(what, path, e, code);
    // NONBLOCK: opening a named pipe without a reader must not wait.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let target = run.delivery.home.join(OsStr::from_bytes(path));
    let fd = rustix::fs::open(&target, flags, Mode::RUSR | Mode::WUSR).map_err(|e| unable("open", &e.into(), "4.2.1"))?;
    let file = File::from(fd);
    let lock = lock(&file, run.around.lock_wait)?;
    let before = rustix::fs::seek(&file, SeekFrom::End(0)).ok();
    let written = append(run, &file).and_then(|()| file.sync_all());
    if let (Err(_), Lock::Held, Some(bytes)) = (&written, lock, before) {
        // Without the lock it could be somebody else's message that goes.
        let _ = file.set_len(bytes);
    }
    // By hand: a process that is just being started holds a copy of the descriptor until its exec, and with it the lock of a closed file.
    let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
    written.map_err(|e| unable("write", &e, "4.3.0"))
}

fn lock(file: &File, wait: Duration) -> Result<Lock, Stop> {
    let until = Instant::now() + wait;
    loop {
        match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock::Held),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => return Err(Stop::soft("File has been locked for 30 seconds straight. (#4.3.0)")),
            Err(_) => return Ok(Lock::Unsupported),
        }
    }
}

fn append(run: &Run<'_>, file: &File) -> io::Result<()> {
    let mut message = run.around.message;
    message.rewind()?;
    let mut out = BufWriter::with_capacity(65_536, file);
    out.write_all(&run.facts.from_line)?;
    out.write_all(&run.facts.return_path)?;
    out.write_all(&run.facts.delivered_to)?;
    quote(&mut BufReader::with_capacity(65_536, message), &mut out)?;
    out.flush()
}

/// Copies a message: every line of the form `>*From ` gets one more `>`, the last line an LF, and an empty line follows.
fn quote(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut start = LineStart::default();
    let mut last = b'\n';
    let mut buffer = vec![0u8; 65_536];
    loop {
        let n = match from.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let mut rest = buffer.get(..n).unwrap_or_default();
        if rest.is_empty() {
            start.give_up(to)?;
            let end: &[u8] = if last == b'\n' { b"\n" } else { b"\n\n" };
            return to.write_all(end);
        }
        last = rest.last().copied().unwrap_or(last);
        while !rest.is_empty() {
            rest = start.take(rest, to)?;
        }
    }
}

const FROM: &[u8] = b"From ";

/// Where a line stands: still possibly `>*From `, or plain.
#[derive(Debug, Default)]
struct LineStart {
    plain: bool,
    quotes: u64,
    matched: usize,
}

impl LineStart {
    /// Takes some of `bytes` and returns the rest.
    fn take<'a>(&mut self, bytes: &'a [u8], to: &mut dyn Write) -> io::Result<&'a [u8]> {
        if self.plain {
            let end = bytes.iter().position(|&b| b == b'\n').map(|i| i + 1);
            let (piece, rest) = bytes.split_at_checked(end.unwrap_or(bytes.len())).unwrap_or((bytes, b""));
            to.write_all(piece)?;
            if end.is_some() {
                *self = Self::default();
            }
            return Ok(rest);
        }
        let Some((&first, rest)) = bytes.split_first() else { return Ok(bytes) };
        if first == b'>' && self.matched == 0 {
            self.quotes += 1;
            return Ok(rest);
        }
        if FROM.get(self.matched) == Some(&first) {
            self.matched += 1;
            if self.matched == FROM.len() {
                self.quotes += 1;
                self.give_up(to)?;
                self.plain = true;
            }
            return Ok(rest);
        }
        self.give_up(to)?;
        self.plain = true;
        Ok(bytes)
    }

    /// Writes what was held back.
    fn give_up(&mut self, to: &mut dyn Write) -> io::Result<()> {
        for _ in 0..self.quotes {
            to.write_all(b">")?;
        }
        to.write_all(FROM.get(..self.matched).unwrap_or_default())?;
        (self.quotes, self.matched) = (0, 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives at most `n` bytes at a time.
    struct Slow<'a>(&'a [u8], usize);
    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn quoted(message: &[u8], step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        quote(&mut Slow(message, step), &mut out).unwrap();
        out
    }

    #[test]
    fn from_lines_are_quoted_and_the_end_is_an_empty_line() {
        let message = b"From a\nFrom: b\n>From c\n>>From d\n> From e\nFrom\n>Fro\nx From y\nlast";
        let want = b">From a\nFrom: b\n>>From c\n>>>From d\n> From e\nFrom\n>Fro\nx From y\nlast\n\n";
        assert_eq!(quoted(message, 1000), want);
        assert_eq!(quoted(b"", 5), b"\n");
        assert_eq!(quoted(b">>From", 5), b">>From\n\n");
    }

    proptest! {
        #[test]
        fn quoting_is_undone_by_taking_one_quote_away(message in "(>|From |From|x|\n){0,30}", step in 1usize..9) {
            let out = quoted(message.as_bytes(), step);
            prop_assert_eq!(&out, &quoted(message.as_bytes(), 4096));
            let text = String::from_utf8(out).unwrap();
            let mut lines: Vec<&str> = text.split_terminator('\n').collect();
            prop_assert_eq!(lines.pop(), Some(""));
            prop_assert!(!lines.iter().any(|l| l.starts_with("From ")));
            let undone: Vec<&str> = lines.iter().map(|l| if l.trim_start_matches('>').starts_with("From ") { &l[1..] } else { l }).collect();
            let original: Vec<&str> = message.split_terminator('\n').collect();
            prop_assert_eq!(undone, original);
        }
    }
}
