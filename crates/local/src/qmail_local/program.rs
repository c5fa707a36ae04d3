//! A `|command` line: `/bin/sh -c`, with the message as standard input and qmail-command(8)'s environment. The command is the user's own text;
//! mail data reaches it only as environment and input.

use super::{Run, Stop};
use postino_types::exit;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, ExitStatus};

/// What a program's success means for the rest of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Go on.
    Next,
    /// Exit 99: the rest is skipped.
    EndOfFile,
}

/// Runs one command and waits for it.
pub(super) fn run(run: &Run<'_>, command: &[u8]) -> Result<Verdict, Stop> {
    let mut message = run.around.message;
    message.rewind().map_err(|_| Stop::soft("Unable to rewind message. (#4.3.0)"))?;
    let status = start_and_wait(run, command)
        .map_err(|e| Stop::soft(format!("Unable to run /bin/sh: {}. (#4.3.0)", crate::error_text::error_text(&e))))?;
    match status.code() {
        None => Err(Stop::soft("Aack, child crashed. (#4.3.0)")),
        Some(exit::OK) => Ok(Verdict::Next),
        Some(exit::STOP) => Ok(Verdict::EndOfFile),
        Some(code) if exit::program_is_hard(code) => Err(Stop::silent(exit::HARD)),
        Some(_) => Err(Stop::silent(exit::SOFT)),
    }
}

fn start_and_wait(run: &Run<'_>, command: &[u8]) -> io::Result<ExitStatus> {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(OsStr::from_bytes(command)).current_dir(&run.delivery.home);
    for (name, value) in run.facts.variables(run.delivery) {
        shell.env(name, OsStr::from_bytes(&value));
    }
    let copy = |file: &File| file.try_clone();
    shell.stdin(copy(run.around.message)?).stdout(copy(run.around.out)?).stderr(copy(run.around.err)?);
    let limited = FileLimit::lower(run.around.program_file_bytes);
    // std gives the child SIGPIPE's default action and an empty signal mask.
    let child = shell.spawn();
    drop(limited);
    child?.wait()
}

/// The soft limit of file size while a program is started; our own mbox may be larger.
struct FileLimit(Option<Rlimit>);

impl FileLimit {
    fn lower(bytes: u64) -> Self {
        if bytes == 0 {
            return Self(None);
        }
        let old = getrlimit(Resource::Fsize);
        let current = old.current.map_or(bytes, |n| n.min(bytes));
        let set = setrlimit(Resource::Fsize, Rlimit { current: Some(current), maximum: old.maximum });
        Self(set.ok().map(|()| old))
    }
}

impl Drop for FileLimit {
    fn drop(&mut self) {
        if let Some(old) = self.0.take() {
            let _ = setrlimit(Resource::Fsize, old);
        }
    }
}
