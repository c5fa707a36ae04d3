//! One run of maildirserial's client: names to its standard input, results from its standard output. Called by maildirserial; knows nothing of SMTP.

use rustix::fs::MemfdFlags;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use super::scan::Name;

/// Longest result.
const RESULT_BYTES_MAX: u64 = 16 * 1024;

/// What the client says of a file.
pub(super) struct Answer {
    /// The file.
    pub(super) name: Name,
    /// K, Z or D.
    pub(super) letter: u8,
    /// One line.
    pub(super) text: Vec<u8>,
}

/// Runs `client` in `dir` and tells `take` each answer to one of `names` as it comes.
pub(super) fn run(client: &[OsString], dir: &Path, names: &[Name], mut take: impl FnMut(Answer)) -> io::Result<ExitStatus> {
    let (program, args) = client.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    let mut child = command.args(args).current_dir(dir).stdin(Stdio::from(list(names)?)).stdout(Stdio::piped()).spawn()?;
    // Only what was asked for is believed, once each: an answer removes a file.
    let mut open: HashSet<&[u8]> = names.iter().map(Vec::as_slice).collect();
    if let Some(out) = child.stdout.take() {
        let mut out = BufReader::new(out);
        while let Some(answer) = answer(&mut out)? {
            if open.remove(answer.name.as_slice()) {
                take(answer);
            }
        }
    }
    child.wait()
}

/// All names, each with a NUL, in a file of their own: a pipe would fill while the client waits for its answers to be read.
fn list(names: &[Name]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("names", MemfdFlags::CLOEXEC)?);
    let mut text = names.join(&0u8);
    text.push(0);
    file.write_all(&text)?;
    file.rewind()?;
    Ok(file)
}

/// `NAME NUL LETTER TEXT LF`; `None` at the end, whole or not.
fn answer(out: &mut impl BufRead) -> io::Result<Option<Answer>> {
    let mut line = Vec::new();
    out.take(RESULT_BYTES_MAX).read_until(b'\n', &mut line)?;
    let Some(line) = line.strip_suffix(b"\n") else { return Ok(None) };
    let mut parts = line.splitn(2, |&b| b == 0);
    let (name, result) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (letter, text) = result.split_first().map_or((b'Z', &b""[..]), |(letter, text)| (*letter, text));
    Ok(Some(Answer { name: name.to_vec(), letter, text: text.to_vec() }))
}
