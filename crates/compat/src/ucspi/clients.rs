//! Ready-made clients: `mconnect`, `tcpcat`, `who@`, `date@`, `finger@`, `http@`. Each connects as `tcpclient -RHl0` does. Called by `main`; the
//! other side's words reach a terminal only with their control characters made visible, but for `http@` and `tcpcat`, which fetch files.

use super::filters;
use super::server_options::port_number;
use super::tcpclient::Client;
use crate::fatal::Fatal;
use rustix::event::{PollFd, PollFlags, poll};
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

const BUFFER_BYTES: usize = 8192;
/// Longest header of an HTTP answer, bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// What happens to the bytes that come.
#[derive(Clone, Copy)]
enum Show {
    AsTheyAre,
    /// Without CR before LF, and control characters as `cat -v` shows them.
    Visibly,
}

/// `mconnect [host [port]]`: a terminal on an SMTP server: line ends become CR LF on the way out.
pub(super) fn mconnect(args: &[OsString]) -> Result<(), Fatal> {
    let stream = connect(args.first(), args.get(1), 25)?;
    let mut buffer = [0u8; BUFFER_BYTES];
    let mut listens = true;
    loop {
        let stdin = io::stdin();
        let mut wanted = vec![PollFd::new(&stream, PollFlags::IN)];
        if listens {
            wanted.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
        match poll(&mut wanted, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Fatal::unable("poll", &e.into())),
        }
        let ready: Vec<bool> = wanted.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(wanted);
        if ready.first() == Some(&true) {
            let got = (&stream).read(&mut buffer).map_err(|e| Fatal::unable("read from network", &e))?;
            if got == 0 {
                return Ok(());
            }
            out(buffer.get(..got).unwrap_or_default())?;
        }
        if ready.get(1) == Some(&true) {
            let got = rustix::io::read(rustix::stdio::stdin(), &mut buffer).map_err(|e| Fatal::unable("read input", &e.into()))?;
            listens = got > 0;
            let lines = changed(filters::addcr, buffer.get(..got).unwrap_or_default());
            (&stream).write_all(&lines).map_err(|e| Fatal::unable("write to network", &e))?;
        }
    }
}

/// `tcpcat host port`: what the other side sends.
pub(super) fn tcpcat(args: &[OsString]) -> Result<(), Fatal> {
    let [host, port] = args else { return Err(Fatal::usage("tcpcat host port")) };
    show(connect(Some(host), Some(port), 0)?, Show::AsTheyAre)
}

/// `who@ [host]`: port 11, systat.
pub(super) fn who(args: &[OsString]) -> Result<(), Fatal> {
    show(connect(args.first(), None, 11)?, Show::Visibly)
}

/// `date@ [host]`: port 13, daytime.
pub(super) fn date(args: &[OsString]) -> Result<(), Fatal> {
    show(connect(args.first(), None, 13)?, Show::Visibly)
}

/// `finger@ [host [user]]`.
pub(super) fn finger(args: &[OsString]) -> Result<(), Fatal> {
    let stream = connect(args.first(), None, 79)?;
    ask(&stream, &[args.get(1).map_or(&b""[..], |user| user.as_bytes()), b"\n"].concat())?;
    show(stream, Show::Visibly)
}

/// `http@ [host [page [port]]]`: the body of the answer.
pub(super) fn http(args: &[OsString]) -> Result<(), Fatal> {
    let stream = connect(args.first(), args.get(2), 80)?;
    let word = |n: usize, default: &'static [u8]| args.get(n).map_or(default, |word| word.as_bytes());
    ask(&stream, &[b"GET /", word(1, b""), b" HTTP/1.0\nHost: ", word(0, b"0"), b":", word(2, b"80"), b"\n\n"].concat())?;
    let mut head = Vec::new();
    let mut buffer = [0u8; BUFFER_BYTES];
    loop {
        let got = (&stream).read(&mut buffer).map_err(|e| Fatal::unable("read from network", &e))?;
        head.extend_from_slice(buffer.get(..got).unwrap_or_default());
        if let Some(body) = body_start(&head) {
            out(head.get(body..).unwrap_or_default())?;
            return show(stream, Show::AsTheyAre);
        }
        if got == 0 {
            return Ok(());
        }
        if head.len() > HEADER_BYTES_MAX {
            return Err(Fatal::soft("the answer's header has no end"));
        }
    }
}

/// Behind the first empty line.
fn body_start(head: &[u8]) -> Option<usize> {
    let after = |end: &[u8]| head.windows(end.len()).position(|seen| seen == end).map(|at| at + end.len());
    [after(b"\n\r\n"), after(b"\n\n")].into_iter().flatten().min()
}

fn connect(host: Option<&OsString>, port: Option<&OsString>, default: u16) -> Result<TcpStream, Fatal> {
    let host = host.map_or_else(|| "0".to_owned(), |host| host.to_string_lossy().into_owned());
    let port = match port {
        None => default,
        Some(port) => {
            let port = port.to_string_lossy();
            port_number(&port).ok_or_else(|| Fatal::soft(format!("unable to figure out port number for {port}")))?
        }
    };
    Client::to(host, port).connect()
}

fn ask(mut stream: &TcpStream, question: &[u8]) -> Result<(), Fatal> {
    stream.write_all(&changed(filters::addcr, question)).map_err(|e| Fatal::unable("write to network", &e))
}

fn changed(change: filters::Change, bytes: &[u8]) -> Vec<u8> {
    let (mut pending, mut out) = (false, Vec::with_capacity(bytes.len() + 2));
    bytes.iter().for_each(|&byte| change(byte, &mut pending, &mut out));
    out
}

fn show(mut stream: TcpStream, how: Show) -> Result<(), Fatal> {
    let mut buffer = [0u8; BUFFER_BYTES];
    let (mut pending, mut lines) = (false, Vec::new());
    loop {
        let got = stream.read(&mut buffer).map_err(|e| Fatal::unable("read from network", &e))?;
        let bytes = buffer.get(..got).unwrap_or_default();
        match how {
            Show::AsTheyAre => out(bytes)?,
            Show::Visibly => {
                bytes.iter().for_each(|&byte| filters::delcr(byte, &mut pending, &mut lines));
                out(&visible(&std::mem::take(&mut lines)))?;
            }
        }
        if got == 0 {
            return Ok(());
        }
    }
}

/// As `cat -v`: `^X`, and `M-` before what has the eighth bit.
fn visible(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        let low = if byte >= 0x80 {
            out.extend_from_slice(b"M-");
            byte & 0x7f
        } else {
            byte
        };
        match low {
            b'\n' | b'\t' if byte < 0x80 => out.push(byte),
            0x7f => out.extend_from_slice(b"^?"),
            0..0x20 => out.extend_from_slice(&[b'^', low + 64]),
            _ => out.push(low),
        }
    }
    out
}

fn out(bytes: &[u8]) -> Result<(), Fatal> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|e| Fatal::unable("write output", &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_reach_a_terminal() {
        assert_eq!(visible(b"a\tb\n\x1b[2J\x7f\xe9\x8a"), b"a\tb\n^[[2J^?M-iM-^J");
        assert_eq!(body_start(b"HTTP/1.0 200\r\nA: b\r\n\r\nx\n\ny"), Some(22));
        assert_eq!(body_start(b"HTTP/1.0 200\n\nx"), Some(14));
        assert_eq!(body_start(b"HTTP/1.0 200\r\nA"), None);
    }
}
