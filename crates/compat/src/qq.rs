//! The way of a message to the queue for the programs here: runs $QMAILQUEUE, or `bin/qmail-queue` below the home, with the message on
//! descriptor 0, the envelope on 1 and an error text coming back on 6. Called by the sessions, the injectors and whatever sends a bounce. Never
//! looks into the message, never writes to the queue itself.

use postino_local::inject::refusal;
use postino_types::exit;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

/// A pipe's worth.
const BUFFER_BYTES: usize = 8192;
/// Longest error text taken from descriptor 6, bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Where a program may leave its error text.
const TEXT_FD: i32 = 6;
/// "My text is on descriptor 6."
const EXIT_TEXT: i32 = 82;
/// The caller's own number for a program that cannot be executed.
const EXIT_EXEC: i32 = 120;
/// The caller's own number for a home that cannot be entered.
const EXIT_HOME: i32 = 61;

/// Why the queue did not take a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Permanent: the same message is refused again.
    pub(crate) hard: bool,
    /// One line without its class letter, ending with a status code as `(#4.3.0)`.
    pub(crate) text: String,
}

impl Refused {
    fn by_code(code: i32) -> Self {
        let (hard, text) = refusal(code);
        Self { hard, text: text.to_owned() }
    }

    fn soft(text: &str) -> Self {
        Self { hard: false, text: text.to_owned() }
    }

    /// The text with its class letter, as QMTP, QMQP and error descriptors have it.
    pub(crate) fn with_letter(&self) -> String {
        format!("{}{}", if self.hard { 'D' } else { 'Z' }, self.text)
    }

    /// 100 or 111, for programs that end with it.
    pub(crate) fn exit_code(&self) -> i32 {
        if self.hard { exit::HARD } else { exit::SOFT }
    }
}

/// A message on its way. Order of calls: `put`…, `from`, `to`…, `close`. Trouble in between is told by `close`. Dropped, it queues nothing.
#[derive(Debug)]
pub(crate) struct Qq {
    running: Result<Running, i32>,
    buffer: Vec<u8>,
    failed: bool,
}

#[derive(Debug)]
struct Running {
    child: Child,
    body: Option<ChildStdin>,
    envelope: PipeWriter,
    text: OwnedFd,
}

impl Qq {
    /// Starts the program. An error means that no process could be made (`qqt failure (#4.3.0)` in SMTP).
    pub(crate) fn open(home: &Path) -> io::Result<Self> {
        let program = std::env::var_os("QMAILQUEUE").filter(|name| !name.is_empty());
        Self::open_with(home, program.unwrap_or_else(|| OsString::from("bin/qmail-queue")))
    }

    fn open_with(home: &Path, program: OsString) -> io::Result<Self> {
        let running = match start(home, &home.join(program)) {
            Ok(running) => Ok(running),
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => return Err(error),
                _ if !home.is_dir() => Err(EXIT_HOME),
                _ => Err(EXIT_EXEC),
            },
        };
        Ok(Self { running, buffer: Vec::with_capacity(BUFFER_BYTES), failed: false })
    }

    /// The number that the message's first Received line shows; 0 when the program did not start.
    pub(crate) fn qp(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.child.id())
    }

    /// A piece of the message.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush();
        }
        if bytes.len() >= BUFFER_BYTES {
            self.write(bytes);
        } else if !self.failed {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Nothing of this message will be queued, whatever else is said.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
        self.buffer.clear();
    }

    /// Ends the message and begins the envelope.
    pub(crate) fn from(&mut self, sender: &[u8]) {
        self.flush();
        if let Ok(running) = &mut self.running {
            running.body = None;
        }
        self.address(b"F", sender);
    }

    /// A recipient.
    pub(crate) fn to(&mut self, recipient: &[u8]) {
        self.address(b"T", recipient);
    }

    /// Ends the envelope and waits for the answer. Ok, with [`Qq::qp`], means that the message is on stable storage.
    pub(crate) fn close(mut self) -> Result<u32, Refused> {
        self.put(b"\0");
        self.flush();
        let qp = self.qp();
        let Running { mut child, body, envelope, text } = match self.running {
            Ok(running) => running,
            Err(code) => return Err(Refused::by_code(code)),
        };
        drop(body);
        drop(envelope);
        let status = child.wait().map_err(|_| Refused::soft("qq waitpid surprise (#4.3.0)"))?;
        verdict(status, self.failed, text).map(|()| qp)
    }

    fn address(&mut self, letter: &[u8], address: &[u8]) {
        self.put(letter);
        self.put(address);
        self.put(b"\0");
    }

    fn flush(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer);
        self.buffer = buffer;
        self.buffer.clear();
    }

    fn write(&mut self, bytes: &[u8]) {
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
}

fn start(home: &Path, program: &Path) -> io::Result<Running> {
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
    command.current_dir(home).stdin(Stdio::piped()).stdout(Stdio::from(OwnedFd::from(envelope_end)));
    let mut child = command.spawn()?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn ask(script: &str) -> (Result<u32, Refused>, String) {
        let home = tempfile::tempdir().unwrap();
        let program = home.path().join("qq");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut qq = Qq::open_with(home.path(), program.into_os_string()).unwrap();
        let qp = qq.qp();
        qq.put(b"A: b\n\n");
        qq.put(&[b'x'; 20_000]);
        qq.from(b"s@a.test");
        qq.to(b"r@b.test");
        let answer = qq.close();
        assert!(answer.is_err() || answer == Ok(qp));
        (answer, std::fs::read_to_string(home.path().join("got")).unwrap_or_default())
    }

    #[test]
    fn message_and_envelope_arrive_and_codes_become_texts() {
        let (answer, got) = ask("cat | wc -c > got; exec 3<&1; cat <&3 | tr '\\0' '|' >> got");
        assert!(answer.is_ok());
        assert_eq!(got, "20006\nFs@a.test|Tr@b.test||");
        let soft = |text: &str| Err(Refused::soft(text));
        let hard = |text: &str| Err(Refused { hard: true, text: text.to_owned() });
        assert_eq!(ask("exit 31").0, hard("mail server permanently rejected message (#5.3.0)"));
        assert_eq!(ask("exit 53").0, soft("qq write error or disk full (#4.3.0)"));
        assert_eq!(ask("kill -9 $$").0, soft("qq crashed (#4.3.0)"));
        assert_eq!(ask("exit 82").0, soft("qq temporary problem (#4.3.0)"));
    }

    #[test]
    fn a_program_or_home_that_is_not_there_is_told_at_the_end() {
        let home = tempfile::tempdir().unwrap();
        let mut qq = Qq::open_with(home.path(), OsString::from("bin/qmail-queue")).unwrap();
        qq.put(b"x");
        qq.from(b"");
        assert_eq!(qq.close(), Err(Refused::soft("unable to exec qq (#4.3.0)")));
        let qq = Qq::open_with(&home.path().join("none"), OsString::from("bin/qmail-queue")).unwrap();
        assert_eq!(qq.close(), Err(Refused::soft("qq trouble in home directory (#4.3.0)")));
    }
}
