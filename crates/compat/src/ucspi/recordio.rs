//! `recordio program`: runs a program and writes on standard error what it reads and what it says. The program keeps this process's number; a
//! child stands between it and the network. Called by `main`; never changes a byte on the way.

use crate::fatal::Fatal;
use postino_types::exit;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::{Errno, FdFlags};
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The name of the child.
pub(crate) const HELPER: &str = "recordio-copy";
const BUFFER_BYTES: usize = 8192;

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let [program, rest @ ..] = args else { return Err(Fatal::usage("recordio program [ arg ... ]")) };
    let pipes = io::pipe().and_then(|input| Ok((input, io::pipe()?)));
    let ((program_in, to_program), (from_program, program_out)) = pipes.map_err(|e| Fatal::unable("create pipe", &e))?;
    start_copier(from_program.into(), to_program.into()).map_err(|e| Fatal::unable("fork", &e))?;
    let placed = rustix::stdio::dup2_stdin(&program_in).and_then(|()| rustix::stdio::dup2_stdout(&program_out));
    placed.map_err(|e| Fatal::unable("set up descriptors", &e.into()))?;
    let error = Command::new(program).args(rest).exec();
    Err(Fatal::unable(&format!("run {}", program.display()), &error))
}

/// The child gets the program's side as its descriptors 0 and 1 and the network's by number.
fn start_copier(from_program: OwnedFd, to_program: OwnedFd) -> io::Result<()> {
    let network = [io::stdin().as_fd().try_clone_to_owned()?, io::stdout().as_fd().try_clone_to_owned()?];
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(HELPER).arg(std::process::id().to_string());
    for fd in &network {
        rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        command.arg(fd.as_raw_fd().to_string());
    }
    // Never waited for: it ends when the program, its parent by then, has closed its side.
    command.stdin(Stdio::from(from_program)).stdout(Stdio::from(to_program)).spawn().map(drop)
}

/// The child: process number, descriptors of the network.
pub(crate) fn run_helper(args: &[OsString]) -> i32 {
    let mut words = args.iter().filter_map(|word| word.to_str()?.parse::<i32>().ok());
    let (Some(pid), Some(input), Some(output)) = (words.next(), words.next(), words.next()) else { return exit::HARD };
    let (Ok(input_fd), Ok(output_fd)) = (inherited(input), inherited(output)) else { return exit::SOFT };
    let _ = (nix::unistd::close(input), nix::unistd::close(output));
    match Copier::new(pid, input_fd, output_fd).and_then(|mut copier| copier.copy()) {
        Ok(()) => exit::OK,
        Err(_) => exit::SOFT,
    }
}

/// A copy of a descriptor that is known by number only.
fn inherited(number: i32) -> io::Result<File> {
    let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    Ok(File::from(rustix::process::pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?))
}

struct Copier {
    pid: i32,
    /// From the network; `None` after its end.
    input: Option<File>,
    output: File,
    /// `None` when the program was told the end of its input, or reads no more.
    to_program: Option<File>,
    /// From the program; `None` after its end.
    from_program: Option<File>,
    /// Read, not yet taken by the program: no more is read before it is.
    waiting: Vec<u8>,
}

impl Copier {
    fn new(pid: i32, input: File, output: File) -> io::Result<Self> {
        let from_program = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let to_program = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        // A program that writes much before it reads must not wait for us while we wait for it.
        rustix::fs::fcntl_setfl(&to_program, OFlags::WRONLY | OFlags::NONBLOCK)?;
        let (to_program, from_program) = (Some(to_program), Some(from_program));
        Ok(Self { pid, input: Some(input), output, to_program, from_program, waiting: Vec::new() })
    }

    fn copy(&mut self) -> io::Result<()> {
        while self.to_program.is_some() || self.from_program.is_some() {
            let ready = self.wait()?;
            if ready.from_program {
                self.take_output()?;
            }
            if ready.to_program {
                self.hand_on();
            }
            if ready.input {
                self.take_input();
            }
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut wanted = Vec::with_capacity(3);
        let reads = self.input.as_ref().filter(|_| self.waiting.is_empty() && self.to_program.is_some());
        // Without OUT it still tells that nobody reads any more.
        let writes = if self.waiting.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let parts = [reads.map(|fd| (fd, PollFlags::IN)), self.to_program.as_ref().map(|fd| (fd, writes))];
        let parts = parts.into_iter().chain([self.from_program.as_ref().map(|fd| (fd, PollFlags::IN))]);
        let present: Vec<_> = parts.collect();
        wanted.extend(present.iter().flatten().map(|(fd, flags)| PollFd::new(*fd, *flags)));
        loop {
            match poll(&mut wanted, None) {
                Err(Errno::INTR) => {}
                other => break other.map(drop)?,
            }
        }
        let mut events = wanted.iter().map(|fd| !fd.revents().is_empty());
        let mut ready = present.iter().map(|part| part.is_some() && events.next().unwrap_or(false));
        let mut next = || ready.next().unwrap_or(false);
        Ok(Ready { input: next(), to_program: next(), from_program: next() })
    }

    fn take_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        let mut buffer = [0u8; BUFFER_BYTES];
        let got = match input.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return,
            other => other.unwrap_or(0),
        };
        let bytes = buffer.get(..got).unwrap_or_default();
        self.log('<', bytes);
        if got == 0 {
            self.input = None;
            self.to_program = None;
        } else {
            self.waiting.extend_from_slice(bytes);
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        let Some(program) = &mut self.to_program else { return };
        if self.waiting.is_empty() {
            self.to_program = None; // nothing was to be written: it is the end that poll told
            return;
        }
        match program.write(&self.waiting) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.to_program = None,
        }
    }

    fn take_output(&mut self) -> io::Result<()> {
        let Some(program) = &mut self.from_program else { return Ok(()) };
        let mut buffer = [0u8; BUFFER_BYTES];
        let got = match program.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        };
        let bytes = buffer.get(..got).unwrap_or_default();
        self.log('>', bytes);
        if got == 0 {
            self.from_program = None;
        }
        self.output.write_all(bytes)
    }

    /// A line ends with a blank; a plus sign tells that it goes on.
    fn log(&self, direction: char, bytes: &[u8]) {
        let head = format!("{} {direction} ", self.pid);
        let mut text = Vec::with_capacity(bytes.len() + 64);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            text.extend_from_slice(head.as_bytes());
            match line.strip_suffix(b"\n") {
                Some(whole) => text.extend_from_slice(&[whole, b" \n"].concat()),
                None => text.extend_from_slice(&[line, b"+\n"].concat()),
            }
        }
        if bytes.is_empty() {
            text.extend_from_slice(format!("{head}[EOF]\n").as_bytes());
        }
        let _ = io::stderr().write_all(&text);
    }
}

struct Ready {
    input: bool,
    to_program: bool,
    from_program: bool,
}
