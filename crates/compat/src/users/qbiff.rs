//! `qbiff(1)`: tells a logged-in user of new mail, on each terminal that `biff y` opened for it. Called from dot-qmail files; always lets the
//! delivery go on, and never waits for a terminal.

use super::notice::{self, Glance, safe};
use crate::fatal::Fatal;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const UTMP: &str = "/var/run/utmp";
/// A record of utmp(5): kind, terminal and user stand at these places.
const RECORD_BYTES: usize = 384;
const LINE: std::ops::Range<usize> = 8..40;
const USER: std::ops::Range<usize> = 44..76;
/// The kind of a session.
const USER_PROCESS: [u8; 2] = 7u16.to_ne_bytes();
/// Most bytes of utmp that are read.
const UTMP_BYTES_MAX: u64 = 4 << 20;
/// What `biff y` sets: the owner's x bit.
const BIFF: u32 = 0o100;

pub(super) fn run() -> Result<(), Fatal> {
    let text = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let user = text("USER").ok_or_else(|| Fatal::hard("USER not set"))?;
    let sender = text("SENDER").ok_or_else(|| Fatal::hard("SENDER not set"))?;
    let to = text("EXT").filter(|ext| !ext.is_empty()).map_or_else(|| user.clone(), |ext| format!("{user}-{ext}"));
    let seen = notice::glance(&mut std::io::stdin().lock()).map_err(|e| Fatal::unable("read message", &e))?;
    let bark = bark(&to, &sender, &seen);
    let mut utmp = Vec::new();
    let read = File::open(UTMP).and_then(|file| std::io::Read::read_to_end(&mut std::io::Read::take(file, UTMP_BYTES_MAX), &mut utmp));
    if read.is_ok() {
        terminals(&utmp, &user).iter().for_each(|terminal| tell(terminal, &bark));
    }
    Ok(())
}

fn bark(to: &str, sender: &str, seen: &Glance) -> String {
    let mut out = format!("\x07\r\n*** TO <{}> FROM <{}>\r\n", safe(to), safe(sender));
    for line in [&seen.subject, &seen.text].into_iter().filter(|line| !line.is_empty()) {
        out.push_str(&format!("  {line}\r\n"));
    }
    out
}

/// The terminals on which `user` is logged in.
fn terminals(utmp: &[u8], user: &str) -> Vec<String> {
    let text = |bytes: Option<&[u8]>| {
        let bytes = bytes.and_then(|bytes| bytes.split(|&b| b == 0).next()).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    let sessions = utmp.chunks_exact(RECORD_BYTES).filter(|record| record.starts_with(&USER_PROCESS));
    let own = sessions.filter(|record| text(record.get(USER)) == user).map(|record| text(record.get(LINE)));
    own.filter(|line| !line.is_empty() && !line.starts_with('/') && !line.split('/').any(|part| part == "..")).collect()
}

fn tell(terminal: &str, bark: &str) {
    let path = Path::new("/dev").join(terminal);
    let Ok(metadata) = fs::metadata(&path) else { return };
    if metadata.mode() & BIFF == 0 || metadata.uid() != rustix::process::getuid().as_raw() {
        return;
    }
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = File::options().append(true).custom_flags(flags.bits().cast_signed()).open(&path);
    // A terminal that takes nothing at the moment misses a line.
    let _ = opened.and_then(|mut terminal| terminal.write_all(bark.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u16, line: &str, user: &str) -> Vec<u8> {
        let mut record = vec![0u8; RECORD_BYTES];
        record[..2].copy_from_slice(&kind.to_ne_bytes());
        record[LINE.start..LINE.start + line.len()].copy_from_slice(line.as_bytes());
        record[USER.start..USER.start + user.len()].copy_from_slice(user.as_bytes());
        record
    }

    #[test]
    fn only_the_users_own_sessions() {
        let records = [record(7, "pts/1", "joe"), record(8, "pts/2", "joe"), record(7, "tty1", "ann"), record(7, "../etc/x", "joe")];
        assert_eq!(terminals(&records.concat(), "joe"), ["pts/1"]);
        let seen = Glance { subject: "hi".into(), text: String::new(), return_path: None, delivered_to: None };
        assert_eq!(bark("joe-x", "a\x1b@b", &seen), "\x07\r\n*** TO <joe-x> FROM <a_@b>\r\n  hi\r\n");
    }
}
