//! `qmail-local(8)`: carries out a dot-qmail file for one recipient, running as that user. Synchronous. Run by the spawner's child
//! ([`child`]) and by the compatibility program ([`historical`]); never changes the user, never writes into the queue itself.

pub mod child;
mod dotqmail_file;
mod environment;
mod forward;
pub mod historical;
mod maildir;
mod mbox;
mod program;

use crate::error_text::error_text;
use crate::loop_check::{Compare, LineSearch, search};
use dotqmail_file::Home;
use environment::Facts;
pub use forward::QueueProgram;
use postino_policy::dotqmail::{Mode, Step, parse, plan};
use postino_ports::spawn::Once;
use postino_types::{exit, spawn_frame};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// The words of `qmail-local`'s command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Account name.
    pub user: Vec<u8>,
    /// Home directory, absolute.
    pub home: PathBuf,
    /// Local part of the recipient.
    pub local: Vec<u8>,
    /// `-` or empty.
    pub dash: Vec<u8>,
    /// Extension, case kept.
    pub ext: Vec<u8>,
    /// Host of the recipient.
    pub domain: Vec<u8>,
    /// Envelope sender.
    pub sender: Vec<u8>,
    /// Instructions when the file is missing or empty.
    pub default_delivery: Vec<u8>,
}

/// Does it deliver or only say what it would do?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Deliver (`-N`).
    Deliver,
    /// Print (`-n`).
    Print,
}

/// Where forwards go.
#[derive(Debug, Clone)]
pub enum Forwarding {
    /// Into [`Ended::forwards`], for the queue's settle commit.
    Collect,
    /// Through this injector.
    Inject(QueueProgram),
}

/// The surroundings of one run.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The message, seekable; its offset is moved.
    pub message: &'a File,
    /// Reports and programs' standard output.
    pub out: &'a File,
    /// Complaints and programs' standard error.
    pub err: &'a File,
    /// Deliver or print.
    pub action: Action,
    /// Where forwards go.
    pub forwarding: Forwarding,
    /// Longest wait for an mbox lock (qmail: 30 s).
    pub lock_wait: Duration,
    /// Longest delivery into a Maildir (qmail: 24 h).
    pub maildir_time: Duration,
    /// Largest file that a program may write, bytes; 0 = no limit of ours.
    pub program_file_bytes: u64,
    /// What a Maildir file is called.
    pub once: Once,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Exit code.
    pub exit: i32,
    /// Forwards collected.
    pub forwards: Vec<spawn_frame::Forward>,
}

/// The end of a run before its last line.
#[derive(Debug)]
pub(crate) struct Stop {
    exit: i32,
    text: Vec<u8>,
}

impl Stop {
    pub(crate) fn soft(text: impl Into<Vec<u8>>) -> Self {
        Self { exit: exit::SOFT, text: text.into() }
    }
    pub(crate) fn hard(text: impl Into<Vec<u8>>) -> Self {
        Self { exit: exit::HARD, text: text.into() }
    }
    /// `Unable to open NAME: ERR. (#CODE)`.
    pub(crate) fn unable(what: &str, name: &[u8], error: &io::Error, code: &str) -> Self {
        let mut text = format!("Unable to {what} ").into_bytes();
        text.extend_from_slice(name);
        text.extend_from_slice(format!(": {}. (#{code})", error_text(error)).as_bytes());
        Self::soft(text)
    }
    /// A program has said it all on its own output.
    pub(crate) fn silent(exit: i32) -> Self {
        Self { exit, text: Vec::new() }
    }
}

/// Counts of the `did` line.
#[derive(Debug, Default)]
struct Count {
    files: u64,
    forwards: u64,
    programs: u64,
    qp: Option<u32>,
}

/// Carries out one delivery.
#[must_use]
pub fn run(delivery: &Delivery, around: &Surroundings<'_>) -> Ended {
    let mut forwards = Vec::new();
    let exit = match steps(delivery, around, &mut forwards) {
        Ok(count) => print(around.out, count.line().as_bytes()).map_or(exit::SOFT, |()| exit::OK),
        Err(stop) => {
            if !stop.text.is_empty() {
                // Without a reader nobody misses the text; the exit code still says it.
                let _ = print(around.err, &[&stop.text, &b"\n"[..]].concat());
            }
            stop.exit
        }
    };
    if exit != exit::OK {
        forwards.clear();
    }
    Ended { exit, forwards }
}

fn print(mut to: &File, text: &[u8]) -> io::Result<()> {
    to.write_all(text)
}

impl Count {
    fn line(&self) -> String {
        let did = format!("did {}+{}+{}\n", self.files, self.forwards, self.programs);
        self.qp.map_or_else(|| did.clone(), |qp| format!("{did}qp {qp}\n"))
    }
}

fn steps(delivery: &Delivery, around: &Surroundings<'_>, forwards: &mut Vec<spawn_frame::Forward>) -> Result<Count, Stop> {
    let home = Home::open(&delivery.home)?;
    let mut facts = Facts::new(delivery, crate::now())?;
    if around.action == Action::Deliver {
        check_loop(around.message, &facts.delivered_to)?;
    }
    let found = home.find(&delivery.dash, &delivery.ext)?;
    let (text, mode) = match &found {
        Some(file) if !file.text.is_empty() => (file.text.as_slice(), file.mode),
        Some(_) => (delivery.default_delivery.as_slice(), Mode::All),
        None if delivery.dash.is_empty() => (delivery.default_delivery.as_slice(), Mode::All),
        None => return Err(Stop::hard("Sorry, no mailbox here by that name. (#5.1.1)")),
    };
    facts.default_part = found.as_ref().and_then(|file| file.default_part.clone());
    facts.new_sender = home.new_sender(delivery, &facts.sender)?;
    let lines = parse(text).map_err(|blank| Stop::soft(blank.to_string()))?;
    let run = Run { delivery, around, facts };
    let (mut count, to) = run.execute(&plan(&lines, mode))?;
    if !to.is_empty() && around.action == Action::Deliver {
        count.qp = Some(run.forward(to, forwards)?);
    }
    Ok(count)
}

fn check_loop(message: &File, line: &[u8]) -> Result<(), Stop> {
    let found = search(LineSearch::new(line, Compare::Exact), |at, buffer| message.read_at(buffer, at))
        .map_err(|e| Stop::soft(format!("Unable to read message: {}. (#4.3.0)", error_text(&e))))?;
    if found { Err(Stop::hard("This message is looping: it already has my Delivered-To line. (#5.4.6)")) } else { Ok(()) }
}

/// The steps' common ground.
struct Run<'a> {
    delivery: &'a Delivery,
    around: &'a Surroundings<'a>,
    facts: Facts,
}

impl Run<'_> {
    /// Top to bottom; forwards are only collected.
    fn execute(&self, steps: &[Step]) -> Result<(Count, Vec<Vec<u8>>), Stop> {
        let mut count = Count::default();
        let mut to = Vec::new();
        for step in steps {
            match step {
                Step::Maildir(path) => {
                    count.files += 1;
                    self.act("maildir", path, || maildir::deliver(self, path, count.files))?;
                }
                Step::Mbox(path) => {
                    count.files += 1;
                    self.act("mbox", path, || mbox::deliver(self, path))?;
                }
                Step::Program(command) => {
                    count.programs += 1;
                    let mut ends = false;
                    self.act("program", command, || {
                        ends = program::run(self, command)? == program::Verdict::EndOfFile;
                        Ok(())
                    })?;
                    if ends {
                        break;
                    }
                }
                Step::Forward(address) => {
                    count.forwards += 1;
                    to.push(address.clone());
                    self.act("forward", address, || Ok(()))?;
                }
                Step::RefuseFile => return Err(Stop::soft("Uh-oh: .qmail has file delivery but has x bit set. (#4.7.0)")),
                Step::RefuseProgram => return Err(Stop::soft("Uh-oh: .qmail has prog delivery but has x bit set. (#4.7.0)")),
            }
        }
        Ok((count, to))
    }

    fn act(&self, word: &str, what: &[u8], deliver: impl FnOnce() -> Result<(), Stop>) -> Result<(), Stop> {
        match self.around.action {
            Action::Deliver => deliver(),
            Action::Print => print(self.around.out, &[word.as_bytes(), b" ", what, b"\n"].concat()).map_err(|_| Stop::silent(exit::SOFT)),
        }
    }

    /// Sends the collected forwards as one message; the number for the `qp` line.
    fn forward(&self, to: Vec<Vec<u8>>, forwards: &mut Vec<spawn_frame::Forward>) -> Result<u32, Stop> {
        match &self.around.forwarding {
            Forwarding::Collect => {
                let sender = self.facts.new_sender.as_bytes().to_vec();
                forwards.push(spawn_frame::Forward { sender, delivered_to: self.facts.delivered_to.clone(), to });
                Ok(std::process::id())
            }
            Forwarding::Inject(program) => forward::inject(self, program, &to),
        }
    }
}
