//! Running `qmail-queue` or what stands in its place (`QMAILQUEUE`, a scanner under its name): message on descriptor 0, envelope on 1, an error
//! text coming back on 6, the answer is the exit code. Also says whether `bin/qmail-queue` is still ours, so that callers may spare the process.
//! Called by the historical programs and by the spawner's queue child; never looks into the message, never writes to the queue itself.

use crate::inject::refusal;
use postino_types::exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

/// The program, below the home.
pub const PROGRAM: &str = "bin/qmail-queue";
/// The variable that names another one.
pub const VARIABLE: &str = "QMAILQUEUE";
/// Longest error text taken from descriptor 6, bytes.
const TEXT_BYTES_MAX: usize = 255;
/// A pipe's least capacity.
const PAGE_BYTES: usize = 4096;
/// Where a program may leave its error text.
const TEXT_FD: i32 = 6;
/// "My text is on descriptor 6."
const EXIT_TEXT: i32 = 82;
/// The caller's own number for a program that cannot be executed.
const EXIT_EXEC: i32 = 120;
/// The caller's own number for a home that cannot be entered.
const EXIT_HOME: i32 = 61;
/// "The message ended too early."
const EXIT_READ: i32 = 54;

/// Stands in every binary of ours that can be `qmail-queue` or `qmail-local`, and in no script. Raise the number when the words of the spawner's
/// child or of the server's socket change: a binary of another number is then run like a stranger's, or not at all.
static MARK: [u8; 41] = *b"\x7fpostino speaks for qmail-queue here 2\n\0\x01";
/// How much of a file is looked at at once.
const LOOK_BYTES: usize = 65_536;
/// A file longer than this is no binary of ours.
const BINARY_BYTES_MAX: u64 = 256 << 20;

/// Why the queue did not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Permanent: the same message is refused again.
    pub hard: bool,
    /// One line without its class letter, ending with a status code as `(#4.3.0)`.
    pub text: String,
}

impl Refused {
    /// In the words that qmail's programs have for this exit code.
    #[must_use]
    pub fn by_code(code: i32) -> Self {
        let (hard, text) = refusal(code);
        Self { hard, text: text.to_owned() }
    }

    /// Temporary, in these words.
    #[must_use]
    pub fn soft(text: &str) -> Self {
        Self { hard: false, text: text.to_owned() }
    }

    /// The text with its class letter, as QMTP, QMQP and error descriptors have it.
    #[must_use]
    pub fn with_letter(&self) -> String {
        format!("{}{}", if self.hard { 'D' } else { 'Z' }, self.text)
    }

    /// 100 or 111, for programs that end with it.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        if self.hard { exit::HARD } else { exit::SOFT }
    }
}

/// Whose the file under qmail-queue's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One of our binaries: what it would do may be done without it.
    Ours,
    /// Somebody put a program of his own there.
    Others,
    /// There is none, or it cannot be executed.
    Nobodys,
}

/// Whose `bin/qmail-queue` of this home is. Reads the file unless it is this very program: ask once, and again when [`identity`] changes.
#[must_use]
pub fn whose(home: &Path) -> Whose {
    let path = home.join(PROGRAM);
    if rustix::fs::access(&path, rustix::fs::Access::EXEC_OK).is_err() {
        return Whose::Nobodys;
    }
    let Ok(file) = File::open(&path) else {
        return Whose::Others; // executable but not readable: we do not install it so
    };
    if is_ours(&file) { Whose::Ours } else { Whose::Others }
}

/// One of our binaries?
#[must_use]
pub fn is_ours(file: &File) -> bool {
    is_this_program(file) || has_mark(file).unwrap_or(false)
}

/// Changes when somebody puts another file under qmail-queue's name, or changes the file.
#[must_use]
pub fn identity(home: &Path) -> Option<[u64; 4]> {
    let meta = std::fs::metadata(home.join(PROGRAM)).ok()?;
    let stamp = |s: i64, ns: i64| u64::from_ne_bytes(s.wrapping_mul(1_000_000_000).wrapping_add(ns).to_ne_bytes());
    Some([meta.dev(), meta.ino(), meta.len(), stamp(meta.ctime(), meta.ctime_nsec())])
}

/// The same file, or a copy of it: same length, same ends (a linker's build id stands in the first page, the symbols at the end).
fn is_this_program(file: &File) -> bool {
    let Ok(own) = File::open("/proc/self/exe") else { return false };
    let (Ok(a), Ok(b)) = (file.metadata(), own.metadata()) else { return false };
    if (a.dev(), a.ino()) == (b.dev(), b.ino()) {
        return true;
    }
    let page = |file: &File, at: u64| {
        let mut bytes = [0u8; 4096];
        file.read_exact_at(&mut bytes, at).map(|()| bytes).ok()
    };
    a.len() == b.len() && [0, a.len().saturating_sub(4096)].iter().all(|&at| page(file, at).is_some_and(|p| Some(p) == page(&own, at)))
}

fn has_mark(file: &File) -> io::Result<bool> {
    let mark: &[u8] = std::hint::black_box(&MARK);
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > BINARY_BYTES_MAX {
        return Ok(false);
    }
    let mut window = vec![0u8; LOOK_BYTES];
    let mut at = 0u64;
    loop {
        let n = match file.read_at(&mut window, at) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let seen = window.get(..n).unwrap_or_default();
        if contains(seen, mark) {
            return Ok(true);
        }
        if n < mark.len() {
            return Ok(false);
        }
        // The mark may lie across two windows.
        at = at.saturating_add((n - mark.len() + 1) as u64);
    }
}

fn contains(bytes: &[u8], mark: &[u8]) -> bool {
    let Some((first, _)) = mark.split_first() else { return true };
    let mut rest = bytes;
    while let Some(found) = rest.iter().position(|b| b == first) {
        rest = rest.get(found..).unwrap_or_default();
        if rest.starts_with(mark) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

/// A message on its way into the program. Order of calls: `put`…, `end_message`, `put`… (the envelope), `close`. Trouble in between is told by
/// `close`. Dropped, it leaves the program with half an envelope, and so queues nothing.
#[derive(Debug)]
pub struct QueueProgram {
    running: Result<Running, i32>,
    failed: bool,
}

#[derive(Debug)]
struct Running {
    child: Child,
    body: Option<ChildStdin>,
    envelope: PipeWriter,
    text: OwnedFd,
}

impl QueueProgram {
    /// `$QMAILQUEUE` when it is set.
    #[must_use]
    pub fn named() -> Option<PathBuf> {
        std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from)
    }

    /// Starts `program` in `home`. An error means that no process could be made (`qqt failure (#4.3.0)` in SMTP).
    ///
    /// # Errors
    /// Want of processes, memory or descriptors; other trouble is told by [`QueueProgram::close`].
    pub fn open(home: &Path, program: &Path) -> io::Result<Self> {
        Self::open_telling(home, program, None)
    }

    /// As [`QueueProgram::open`], with one more variable in its environment.
    ///
    /// # Errors
    /// As there.
    pub fn open_telling(home: &Path, program: &Path, variable: Option<(&str, &str)>) -> io::Result<Self> {
        let running = match start(home, &home.join(program), variable) {
            Ok(running) => Ok(running),
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => return Err(error),
                _ if !home.is_dir() => Err(EXIT_HOME),
                _ => Err(EXIT_EXEC),
            },
        };
        Ok(Self { running, failed: false })
    }

    /// The program's process; 0 when it did not start.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.child.id())
    }

    /// A piece of the message, or of the envelope after [`QueueProgram::end_message`].
    pub fn put(&mut self, bytes: &[u8]) {
        let Ok(running) = &mut self.running else { return };
        if self.failed || bytes.is_empty() {
            return;
        }
        let written = match &mut running.body {
            Some(body) => body.write_all(bytes),
            None => running.envelope.write_all(bytes),
        };
        self.failed = written.is_err();
    }

    /// Nothing of this message will be queued, whatever else is said.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// The message is whole, the envelope begins. Waits until the program has read the message: exit 0 from one that did not is worth nothing.
    pub fn end_message(&mut self) {
        if let Ok(running) = &mut self.running
            && let Some(body) = running.body.take()
        {
            self.failed |= !was_read(&body);
        }
    }

    /// Ends the envelope and waits for the answer. Ok: the program says that the message is safe.
    ///
    /// # Errors
    /// What it refused with.
    pub fn close(self) -> Result<(), Refused> {
        let Running { mut child, body, envelope, text } = match self.running {
            Ok(running) => running,
            Err(code) => return Err(Refused::by_code(code)),
        };
        drop(body);
        drop(envelope);
        let status = child.wait().map_err(|_| Refused::soft("qq waitpid surprise (#4.3.0)"))?;
        verdict(status, self.failed, text)
    }
}

/// True when the pipe's other end has taken everything; false when it is gone before.
fn was_read(pipe: &ChildStdin) -> bool {
    loop {
        // A pipe of one page is writable only when it is empty.
        match poll(&mut [PollFd::new(pipe, PollFlags::OUT)], None) {
            Err(Errno::INTR) => {}
            Err(_) => return false,
            Ok(_) => return rustix::io::ioctl_fionread(pipe).is_ok_and(|unread| unread == 0),
        }
    }
}

fn start(home: &Path, program: &Path, variable: Option<(&str, &str)>) -> io::Result<Running> {
    let (text, text_end) = io::pipe()?;
    // Out of the way of the number that the other end needs.
    let text = rustix::io::fcntl_dupfd_cloexec(&text, TEXT_FD + 1)?;
    rustix::fs::fcntl_setfl(&text, OFlags::NONBLOCK)?;
    // Inherited by number. Taken by something of our caller's, the program goes without.
    let inherited = match OwnedFd::from(text_end) {
        end if end.as_raw_fd() == TEXT_FD => end,
        end => rustix::io::fcntl_dupfd_cloexec(&end, TEXT_FD)?,
    };
    let (envelope_end, envelope) = io::pipe()?;
    if inherited.as_raw_fd() == TEXT_FD {
        rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty())?;
    }
    let mut command = Command::new(program);
    command.envs(variable);
    command.current_dir(home).stdin(Stdio::piped()).stdout(Stdio::from(OwnedFd::from(envelope_end)));
    let mut child = command.spawn()?;
    if let Some(body) = &child.stdin {
        // One page: see `was_read`.
        rustix::pipe::fcntl_setpipe_size(body, PAGE_BYTES)?;
    }
    Ok(Running { body: child.stdin.take(), child, envelope, text })
}

fn verdict(status: ExitStatus, failed: bool, text: OwnedFd) -> Result<(), Refused> {
    if status.signal().is_some() {
        return Err(Refused::soft("qq crashed (#4.3.0)"));
    }
    match status.code().unwrap_or(EXIT_HOME) {
        0 if !failed => Ok(()),
        // It took half of a message for a whole one.
        0 => Err(Refused::by_code(-1)),
        EXIT_TEXT => Err(own_text(text).unwrap_or_else(|| Refused::by_code(EXIT_TEXT))),
        code => Err(Refused::by_code(code)),
    }
}

/// The program's own words: `D` or `Z`, then one line. They go to clients, so that nothing behind the line's end may pass.
fn own_text(text: OwnedFd) -> Option<Refused> {
    let mut bytes = [0u8; TEXT_BYTES_MAX];
    let n = File::from(text).read(&mut bytes).ok()?;
    let (letter, rest) = bytes.get(..n)?.split_first()?;
    let hard = match letter {
        b'D' => true,
        b'Z' => false,
        _ => return None,
    };
    let line = rest.split(|b| matches!(b, 0 | b'\r' | b'\n')).next().unwrap_or_default();
    Some(Refused { hard, text: String::from_utf8_lossy(line).into_owned() })
}

/// What a caller says whose message was never whole.
#[must_use]
pub fn cut_short() -> Refused {
    Refused::by_code(EXIT_READ)
}

#[cfg(test)]
mod tests;
