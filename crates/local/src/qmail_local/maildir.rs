//! A `./Maildir/` line: one message into a Maildir of the user, durable. The Maildir must be there; it is never made here.

use super::{Run, Stop};
use crate::host_name;
use postino_disk::RealDisk;
use postino_disk::maildir_file::{Delivered, Earlier, MaildirFile, deliver as deliver_file};
use postino_ports::spawn::Once;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Longest delivery; qmail's alarm.
pub(super) const MAILDIR_TIME: Duration = Duration::from_secs(86_400);
/// Names tried: only a leftover of a process with our number in the same second is ever in the way.
const NAMES_TRIED_MAX: u64 = 100;

/// Delivers into `path` (relative to home, or absolute). `number` tells several Maildirs of one run apart.
pub(super) fn deliver(run: &Run<'_>, path: &[u8], number: u64) -> Result<(), Stop> {
    let maildir = run.delivery.home.join(OsStr::from_bytes(path));
    if !std::fs::metadata(&maildir).is_ok_and(|found| found.is_dir()) {
        return Err(Stop::soft("Unable to chdir to maildir. (#4.2.1)"));
    }
    let temporary = || Stop::soft("Temporary error on maildir delivery. (#4.3.0)");
    let disk = RealDisk::new();
    let deadline = Instant::now() + run.around.maildir_time;
    for attempt in 0..NAMES_TRIED_MAX {
        let (name, earlier) = name(&run.around.once, number.saturating_sub(1) + attempt);
        let target = MaildirFile { maildir: &maildir, name: &name, earlier };
        let result = deliver_file(&disk, target, &mut |file| {
            file.write_all(&[run.facts.return_path.as_slice(), run.facts.delivered_to.as_slice()].concat())?;
            copy(run, deadline, &mut |bytes| file.write_all(bytes))
        });
        match result {
            Ok(Delivered::Now) => return Ok(()),
            Ok(Delivered::AlreadyThere) if run.around.once != Once::None => return Ok(()), // by an earlier attempt
            Ok(Delivered::AlreadyThere) => {}                                              // another message of that name
            Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(Stop::soft("Timeout on maildir delivery. (#4.3.0)")),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(Stop::soft("Unable to read message. (#4.3.0)")),
            Err(_) => return Err(temporary()),
        }
    }
    Err(temporary())
}

/// `TIME.PID.HOST`, or the given name in the place of the first two; a number stands behind them when one process makes several. And where an
/// earlier attempt's file may lie.
fn name(once: &Once, number: u64) -> (String, Earlier) {
    let (stem, earlier) = match once {
        Once::None => (format!("{}.{}", crate::now().secs(), std::process::id()), Earlier::InNew),
        Once::First(name) => (name.clone(), Earlier::InNew),
        Once::Repeated(name) => (name.clone(), Earlier::InNewAndCur),
    };
    let suffix = if number == 0 { String::new() } else { format!("_{number}") };
    (format!("{stem}{suffix}.{}", host_name::clean()), earlier)
}

fn copy(run: &Run<'_>, deadline: Instant, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0u8; 65_536];
    let mut offset = 0u64;
    loop {
        if Instant::now() >= deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        let n = run.around.message.read_at(&mut buffer, offset).map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if n == 0 {
            return Ok(());
        }
        write(buffer.get(..n).unwrap_or_default())?;
        offset = offset.saturating_add(n as u64);
    }
}
