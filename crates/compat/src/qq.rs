//! The way of a message to the queue for the programs here. With `$QMAILQUEUE`, or somebody's own program under qmail-queue's name, that program
//! is run; else the server is told in this process, and qmail-queue is run only when there is no server. Called by the sessions, the injectors
//! and whatever sends a bounce. Never looks into the message, never writes to the queue itself.

use crate::hand_over::{Unserved, hand_over};
use crate::qmail::queue::leave_for_later;
use crate::spool::{Spool, SpoolError};
use postino_local::inject::{ENVELOPE_BYTES_MAX, EnvelopeError, RawEnvelope};
use postino_local::queue_program::{PROGRAM, QueueProgram, Whose, cut_short, whose};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use postino_local::queue_program::Refused;

/// More than databytes, or more than the server takes of one message.
pub(crate) const TOO_LONG: &str = "sorry, that message size exceeds my databytes limit (#5.3.4)";
/// A pipe's worth.
const BUFFER_BYTES: usize = 8192;
/// qmail-queue's word for a write error or a full disk.
const EXIT_WRITE: i32 = 53;

/// True in `postino`: it can be its own qmail-queue, and a home of `serve` has no `bin/qmail-queue`.
static ALONE: AtomicBool = AtomicBool::new(false);

/// This process does without `bin/qmail-queue` where there is none.
pub(crate) fn stand_alone() {
    ALONE.store(true, Ordering::Relaxed);
}

fn stands_alone() -> bool {
    ALONE.load(Ordering::Relaxed)
}

/// A message on its way. Order of calls: `put`…, `from`, `to`…, `close`. Trouble in between is told by `close`. Dropped, it queues nothing.
#[derive(Debug)]
pub(crate) struct Qq {
    way: Way,
    buffer: Vec<u8>,
}

#[derive(Debug)]
enum Way {
    Program(QueueProgram),
    Server(Letter),
}

/// What the server will be told, and a program when there is no server.
#[derive(Debug)]
struct Letter {
    home: PathBuf,
    body: Spool,
    envelope: Option<Vec<u8>>,
    trouble: Option<Refused>,
}

impl Qq {
    /// An error means that no process could be made (`qqt failure (#4.3.0)` in SMTP).
    pub(crate) fn open(home: &Path) -> io::Result<Self> {
        let way = match QueueProgram::named() {
            Some(program) => Way::Program(QueueProgram::open(home, &program)?),
            None => match whose(home) {
                Whose::Ours => Way::Server(Letter::new(home)),
                Whose::Nobodys if stands_alone() => Way::Server(Letter::new(home)),
                Whose::Others | Whose::Nobodys => Way::Program(QueueProgram::open(home, Path::new(PROGRAM))?),
            },
        };
        Ok(Self { way, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// Runs `program` with one more variable, for callers that stand before the queue themselves.
    pub(crate) fn open_with(home: &Path, program: &Path, variable: (&str, &str)) -> io::Result<Self> {
        let program = QueueProgram::open_telling(home, program, Some(variable))?;
        Ok(Self { way: Way::Program(program), buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    /// The number that the message's first Received line shows; 0 when the program did not start.
    pub(crate) fn qp(&self) -> u32 {
        match &self.way {
            Way::Program(program) => program.pid(),
            Way::Server(_) => std::process::id(),
        }
    }

    /// A piece of the message.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush();
        }
        if bytes.len() >= BUFFER_BYTES {
            self.way.put(bytes);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Nothing of this message will be queued, whatever else is said.
    pub(crate) fn fail(&mut self) {
        self.buffer.clear();
        match &mut self.way {
            Way::Program(program) => program.fail(),
            Way::Server(letter) => letter.trouble = Some(cut_short()),
        }
    }

    /// Ends the message and begins the envelope.
    pub(crate) fn from(&mut self, sender: &[u8]) {
        self.flush();
        match &mut self.way {
            Way::Program(program) => program.end_message(),
            Way::Server(letter) => letter.envelope = Some(Vec::new()),
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
        match self.way {
            Way::Program(program) => program.close().map(|()| qp),
            Way::Server(letter) => letter.send().map(|ran| ran.unwrap_or(qp)),
        }
    }

    fn address(&mut self, letter: &[u8], address: &[u8]) {
        self.put(letter);
        self.put(address);
        self.put(b"\0");
    }

    fn flush(&mut self) {
        self.way.put(&self.buffer);
        self.buffer.clear();
    }
}

impl Way {
    fn put(&mut self, bytes: &[u8]) {
        match self {
            Self::Program(program) => program.put(bytes),
            Self::Server(letter) => letter.put(bytes),
        }
    }
}

impl Letter {
    fn new(home: &Path) -> Self {
        Self { home: home.to_path_buf(), body: Spool::new(home), envelope: None, trouble: None }
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.trouble.is_some() {
            return;
        }
        match &mut self.envelope {
            Some(envelope) if envelope.len() + bytes.len() > ENVELOPE_BYTES_MAX => {
                self.trouble = Some(Refused::by_code(EnvelopeError::TooLong.exit_code()));
            }
            Some(envelope) => envelope.extend_from_slice(bytes),
            None => {
                let Err(error) = self.body.write(bytes) else { return };
                self.body = Spool::new(&self.home); // gives its room back now: the client may go on for hours
                self.trouble = Some(match error {
                    SpoolError::TooBig => Refused { hard: true, text: TOO_LONG.to_owned() },
                    SpoolError::Write => Refused::by_code(EXIT_WRITE),
                });
            }
        }
    }

    /// `Some` process number when a program had to be run after all.
    fn send(mut self) -> Result<Option<u32>, Refused> {
        if let Some(refused) = self.trouble {
            return Err(refused);
        }
        let envelope = RawEnvelope::decode(&self.envelope.unwrap_or_default());
        let envelope = envelope.map_err(|error| Refused::by_code(error.exit_code()))?.encode();
        match hand_over(&self.home, &envelope, &mut self.body) {
            Ok(()) => Ok(None),
            Err(Unserved::Code(code)) => Err(Refused::by_code(code)),
            Err(Unserved::NoServer) if stands_alone() && whose(&self.home) == Whose::Nobodys => {
                leave_for_later(&self.home, &envelope, self.body).map(|()| None).map_err(Refused::by_code)
            }
            Err(Unserved::NoServer) => run(&self.home, &envelope, self.body).map(Some),
        }
    }
}

/// Without a server it takes qmail-queue itself: it has the drop directory's group, we may not.
fn run(home: &Path, envelope: &[u8], mut body: Spool) -> Result<u32, Refused> {
    let mut program = QueueProgram::open(home, Path::new(PROGRAM)).map_err(|_| Refused::soft("qqt failure (#4.3.0)"))?;
    let read = body.for_each_chunk(&mut |chunk| {
        program.put(chunk);
        Ok(())
    });
    if read.is_err() {
        return Err(Refused::by_code(EXIT_WRITE)); // dropped before its envelope
    }
    program.end_message();
    program.put(envelope);
    let pid = program.pid();
    program.close().map(|()| pid)
}
