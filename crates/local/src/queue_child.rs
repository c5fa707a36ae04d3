//! The spawner's child for a program on the way into the queue: first word `uid:gid:dropped:memory:processes:file:gain`, then the home and the
//! program. Standard input is one file: message, envelope, the message's length (u64 LE). Standard output is the answer, [`Answer`]. Verifies
//! that the rights are gone, as the delivery child does; decides nothing.

use crate::qmail_local::child;
use crate::queue_program::{QueueProgram, Refused};
use postino_types::exit;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the length at the file's end.
pub const TRAILER_BYTES: u64 = 8;
/// A pipe's worth.
const CHUNK_BYTES: usize = 16_384;

/// What the child says: `K` and the number of the program's process, or the refusal with its class letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The program says that the message is safe.
    Taken {
        /// Its process.
        pid: u32,
    },
    /// It does not.
    Refused(Refused),
}

impl Answer {
    /// Reads what came back; anything unheard of is a temporary refusal.
    #[must_use]
    pub fn parse(exit: i32, line: &str) -> Self {
        let refused = |hard, text: &str| Self::Refused(Refused { hard, text: text.to_owned() });
        match (exit, line.split_at_checked(1)) {
            (exit::OK, Some(("K", pid))) => match pid.parse() {
                Ok(pid) => Self::Taken { pid },
                Err(_) => refused(false, "qq internal bug (#4.3.0)"),
            },
            (_, Some(("D", text))) => refused(true, text),
            (_, Some(("Z", text))) => refused(false, text),
            _ => refused(false, "qq internal bug (#4.3.0)"),
        }
    }
}

/// The end of the file that the child is given, behind the message.
#[must_use]
pub fn trailer(envelope: &[u8], message_bytes: u64) -> Vec<u8> {
    [envelope, &message_bytes.to_le_bytes()].concat()
}

/// The child's whole life. Returns the exit code.
#[must_use]
pub fn main(args: &[OsString]) -> i32 {
    let answer = run(args).unwrap_or_else(|what| Err(Refused::soft(&format!("{what} (#4.3.0)"))));
    let (line, exit) = match answer {
        Ok(pid) => (format!("K{pid}"), exit::OK),
        Err(refused) => (refused.with_letter(), refused.exit_code()),
    };
    if io::stdout().write_all(line.as_bytes()).is_err() { exit::SOFT } else { exit }
}

fn run(args: &[OsString]) -> Result<Result<u32, Refused>, &'static str> {
    child::close_inherited();
    let [orders, home, program] = args else { return Err("internal qmail-lspawn bug") };
    child::obey(orders)?;
    // A copy: the program gets pipes of its own, and nothing of ours.
    let input = rustix::stdio::stdin().try_clone_to_owned().map_err(|_| "qq read error")?;
    let (mut program, input) = (QueueProgram::open(Path::new(home), Path::new(program)).map_err(|_| "qqt failure")?, File::from(input));
    if pass(&input, &mut program).is_err() {
        program.fail();
        return Err("qq read error");
    }
    let pid = program.pid();
    Ok(program.close().map(|()| pid))
}

fn pass(input: &File, program: &mut QueueProgram) -> io::Result<()> {
    let mut length = [0u8; 8];
    let whole = input.metadata()?.len().checked_sub(TRAILER_BYTES).ok_or(io::ErrorKind::UnexpectedEof)?;
    input.read_exact_at(&mut length, whole)?;
    let message = u64::from_le_bytes(length);
    if message > whole {
        return Err(io::ErrorKind::InvalidData.into());
    }
    copy(input, 0..message, program)?;
    program.end_message();
    copy(input, message..whole, program)
}

fn copy(input: &File, range: std::ops::Range<u64>, program: &mut QueueProgram) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK_BYTES];
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let n = input.read_at(buffer.get_mut(..want).unwrap_or_default(), at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        program.put(buffer.get(..n).unwrap_or_default());
        at += n as u64;
    }
    Ok(())
}
