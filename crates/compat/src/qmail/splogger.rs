//! `splogger(8)`: standard input's lines to syslog. Called by `main`. Never keeps more than one line.

use crate::fatal::Fatal;
use std::ffi::OsString;
use std::io::{BufRead, Read};
use std::os::unix::net::UnixDatagram;
use std::time::{SystemTime, UNIX_EPOCH};

/// Longer lines are cut, bytes.
const LINE_BYTES: u64 = 799;
const FACILITY_MAIL: u32 = 2;
const SYSLOG: &str = "/dev/log";

const ALERT: u32 = 1;
const WARNING: u32 = 4;
const INFO: u32 = 6;

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let name = args.first().map_or("splogger".into(), |name| name.to_string_lossy());
    let facility = args.get(1).and_then(|word| word.to_str()?.parse().ok()).unwrap_or(FACILITY_MAIL);
    let mut input = std::io::stdin().lock();
    let (mut link, mut level, mut continues) = (None, INFO, false);
    loop {
        let mut line = Vec::new();
        let n = Read::take(&mut input, LINE_BYTES).read_until(b'\n', &mut line).map_err(|e| Fatal::unable("read", &e))?;
        if n == 0 {
            return Ok(());
        }
        let ends = line.pop_if(|last| *last == b'\n').is_some();
        if !(continues && line.is_empty()) {
            level = if continues { level } else { level_of(&line) };
            let text = format!("<{}>{name}: {}", facility * 8 + level, text(&line, if continues { '+' } else { ' ' }));
            send(&mut link, text.as_bytes());
        }
        continues = !ends;
    }
}

fn level_of(line: &[u8]) -> u32 {
    match line {
        [b'a', b'l', b'e', b'r', b't', b':', ..] => ALERT,
        [b'w', b'a', b'r', b'n', b'i', b'n', b'g', b':', ..] => WARNING,
        _ => INFO,
    }
}

fn text(line: &[u8], sign: char) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let printable = line.iter().map(|b| if (32..=126).contains(b) { char::from(*b) } else { '?' });
    let mut out = format!("{}.{:06}{sign}", now.as_secs(), now.subsec_micros());
    out.extend(printable);
    out
}

/// A log that is away for a moment must not end the mail server: the line is tried once more on a new connection, then lost, as with syslog(3).
fn send(link: &mut Option<UnixDatagram>, text: &[u8]) {
    for _ in 0..2 {
        if link.is_none() {
            *link = connect().ok();
        }
        match link {
            Some(socket) if socket.send(text).is_ok() => return,
            _ => *link = None,
        }
    }
}

fn connect() -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SYSLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_signs() {
        assert_eq!([level_of(b"alert: x"), level_of(b"warning: x"), level_of(b"status: x")], [ALERT, WARNING, INFO]);
        let line = text(b"a\tb\xffc", '+');
        let (stamp, rest) = line.split_once('+').unwrap();
        assert_eq!(rest, "a?b?c");
        assert_eq!(stamp.split_once('.').unwrap().1.len(), 6);
    }
}
