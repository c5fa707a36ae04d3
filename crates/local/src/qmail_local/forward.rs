//! Forwards of the historical program: one new message through an injector with qmail-queue's interface (fd 0 message, fd 1 envelope).
//! The spawner's child does not come here; its forwards travel in the report.

use super::{Run, Stop};
use crate::inject::refusal;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// An injector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueProgram {
    /// QMAILQUEUE, or `bin/qmail-queue`; relative names are relative to `directory`.
    pub program: PathBuf,
    /// Where it runs: qmail's home.
    pub directory: PathBuf,
}

/// Injects; the injector's pid.
pub(super) fn inject(run: &Run<'_>, queue: &QueueProgram, to: &[Vec<u8>]) -> Result<u32, Stop> {
    let mut message = run.around.message;
    message.rewind().map_err(|_| Stop::soft("Unable to rewind message. (#4.3.0)"))?;
    let (mut child, envelope_pipe) = start(queue).map_err(|_| refused(120))?;
    let pid = child.id();
    let mut envelope = vec![b'F'];
    envelope.extend_from_slice(run.facts.new_sender.as_bytes());
    envelope.push(0);
    for address in to {
        envelope.push(b'T');
        envelope.extend_from_slice(address);
        envelope.push(0);
    }
    envelope.push(0);
    // A broken pipe means that it ended early; its exit code then says why.
    let fed = feed(run, &mut child, envelope_pipe, &envelope);
    let status = child.wait().map_err(|_| Stop::soft("Unable to forward message: qq crashed (#4.3.0)."))?;
    match status.code() {
        Some(0) if fed.is_ok() => Ok(pid),
        Some(0) => Err(refused(54)),
        Some(code) => Err(refused(code)),
        None => Err(Stop::soft("Unable to forward message: qq crashed (#4.3.0).")),
    }
}

fn start(queue: &QueueProgram) -> io::Result<(Child, File)> {
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
    let program = queue.directory.join(&queue.program);
    let child = Command::new(program).current_dir(&queue.directory).stdin(Stdio::piped()).stdout(read_end).spawn()?;
    Ok((child, File::from(write_end)))
}

fn feed(run: &Run<'_>, child: &mut Child, mut envelope_pipe: File, envelope: &[u8]) -> io::Result<()> {
    let mut body = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    body.write_all(&run.facts.delivered_to)?;
    let mut message = run.around.message;
    io::copy(&mut message, &mut body)?;
    drop(body); // the end of the message; only then it reads the envelope
    envelope_pipe.write_all(envelope)
}

fn refused(code: i32) -> Stop {
    let (permanent, text) = refusal(code);
    let text = format!("Unable to forward message: {text}.");
    if permanent { Stop::hard(text) } else { Stop::soft(text) }
}
