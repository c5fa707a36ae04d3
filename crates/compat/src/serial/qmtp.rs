//! `serialqmtp PREFIX`: sends the files named on standard input over the QMTP connection on descriptors 6 and 7. Called by maildirserial under
//! tcpclient; never removes a file.

use super::scan::{self, Waiting};
use super::wire::{self, Timed};
use crate::fatal::Fatal;
use crate::session::netstring;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Longest reply, bytes.
const REPLY_BYTES_MAX: u64 = 2000;
/// Digits of the longest length.
const DIGITS_MAX: usize = 5;

/// The program.
pub(super) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let [prefix] = args else { return Err(Fatal::usage("serialqmtp prefix")) };
    let (input, output) = wire::inherited()?;
    let ip = std::env::var_os("TCPREMOTEIP").unwrap_or_else(|| OsString::from("0"));
    let mut talk = Talk { input, output, ip, prefix: prefix.as_bytes() };
    wire::each_file(|name| talk.file(name)).map_err(|stop| {
        Fatal::soft(match stop {
            Stop::Died => "connection died",
            Stop::Names => "unable to read file names or write results",
        })
    })
}

enum Stop {
    Died,
    Names,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Died
    }
}

impl From<wire::NoNames> for Stop {
    fn from(_: wire::NoNames) -> Self {
        Self::Names
    }
}

struct Talk<'a> {
    input: BufReader<Timed>,
    output: BufWriter<Timed>,
    ip: OsString,
    prefix: &'a [u8],
}

impl Talk<'_> {
    /// Letter and text of the result.
    fn file(&mut self, name: &[u8]) -> Result<Vec<u8>, Stop> {
        let Ok(Some(mut waiting)) = scan::open(&scan::path(Path::new("."), name)) else { return Ok(b"Zunable to read file".to_vec()) };
        let Ok(bytes) = rest_bytes(&mut waiting) else { return Ok(b"Zunable to read file".to_vec()) };
        let recipient = waiting.delivered_to.strip_prefix(self.prefix).unwrap_or(&waiting.delivered_to).to_vec();
        // One byte more: it says that lines end with LF.
        self.output.write_all(format!("{}:\n", bytes + 1).as_bytes())?;
        if io::copy(&mut waiting.rest.by_ref().take(bytes), &mut self.output)? != bytes {
            return Err(Stop::Died); // the file got shorter: nothing that could be said now makes this a message
        }
        self.output.write_all(b",")?;
        self.output.write_all(&netstring(&scan::unquoted(&waiting.return_path)))?;
        self.output.write_all(&netstring(&netstring(&recipient)))?;
        self.output.flush()?;
        let reply = self.reply()?;
        let (letter, said) = reply.split_at_checked(1).unwrap_or((b"Z", b""));
        let letter = if matches!(letter, b"K" | b"D") { letter } else { b"Z" };
        Ok(wire::result(letter, &self.ip, &recipient, said))
    }

    /// One netstring.
    fn reply(&mut self) -> io::Result<Vec<u8>> {
        let mut digits = Vec::new();
        (&mut self.input).take(DIGITS_MAX as u64).read_until(b':', &mut digits)?;
        let digits = digits.strip_suffix(b":").unwrap_or_default();
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
        let length = length.filter(|length| *length <= REPLY_BYTES_MAX).ok_or(io::ErrorKind::InvalidData)?;
        let mut reply = Vec::new();
        (&mut self.input).take(length + 1).read_to_end(&mut reply)?;
        if reply.len() as u64 == length + 1 && reply.pop() == Some(b',') { Ok(reply) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// What follows the two lines, bytes.
fn rest_bytes(waiting: &mut Waiting) -> io::Result<u64> {
    let at = waiting.rest.stream_position()?;
    waiting.rest.get_ref().metadata()?.len().checked_sub(at).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
