//! What serialsmtp and serialqmtp have in common: the connection on descriptors 6 and 7, the names on standard input, and the form of a result.
//! Knows no protocol.

use crate::fatal::Fatal;
use crate::wait::ready;
use rustix::event::PollFlags;
use rustix::process::{PidfdFlags, PidfdGetfdFlags};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// Where UCSPI clients have the connection.
const READ_FD: i32 = 6;
const WRITE_FD: i32 = 7;
/// How long each read or write may take.
const WAIT: Duration = Duration::from_secs(1200);

/// Longest name taken.
const NAME_BYTES_MAX: u64 = 4096;

/// Names cannot be read, or results not be written.
pub(super) struct NoNames;

/// For each name on standard input, what `send` comes to, on standard output.
pub(super) fn each_file<S: From<NoNames>>(mut send: impl FnMut(&[u8]) -> Result<Vec<u8>, S>) -> Result<(), S> {
    let mut names = io::stdin().lock();
    loop {
        let mut name = Vec::new();
        names.by_ref().take(NAME_BYTES_MAX).read_until(0, &mut name).map_err(|_| NoNames)?;
        let Some(name) = name.strip_suffix(b"\0") else { return Ok(()) };
        let line = [name, b"\0", &send(name)?, b"\n"].concat();
        let mut out = io::stdout().lock();
        out.write_all(&line).and_then(|()| out.flush()).map_err(|_| NoNames)?;
    }
}

/// Both directions.
pub(super) fn inherited() -> Result<(BufReader<Timed>, BufWriter<Timed>), Fatal> {
    let network = |error: io::Error| Fatal::unable("use descriptors 6 and 7", &error);
    let input = BufReader::new(Timed::inherited(READ_FD).map_err(network)?);
    Ok((input, BufWriter::new(Timed::inherited(WRITE_FD).map_err(network)?)))
}

/// Letter and text of a file's result, on one line.
pub(super) fn result(letter: &[u8], ip: &OsStr, recipient: &[u8], said: &[u8]) -> Vec<u8> {
    let mut said = said.to_vec();
    said.iter_mut().filter(|byte| matches!(byte, b'\n' | 0)).for_each(|byte| *byte = b'/');
    [letter, ip.as_bytes(), b" to: ", recipient, b" said: ", &said].concat()
}

/// A descriptor that does not wait for ever.
pub(super) struct Timed(File);

impl Timed {
    /// A copy of an inherited descriptor, asked for by number.
    fn inherited(number: i32) -> io::Result<Self> {
        let own = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
        Ok(Self(File::from(rustix::process::pidfd_getfd(&own, number, PidfdGetfdFlags::empty())?)))
    }

    fn wait(&self, flags: PollFlags) -> io::Result<()> {
        if ready(&self.0, flags, Instant::now() + WAIT)? { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::IN)?;
        self.0.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::OUT)?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
