//! `setlock(8)`: runs a program that holds a lock on a file. Never takes the lock away: it ends with the last process that has it open.

use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::{Errno, FdFlags};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

const USAGE: &str = "setlock [ -nNxX ] file program [ arg ... ]";

/// `Ok`: no lock, and `-x` says that this is no error.
pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let (mut waits, mut tells) = (true, true);
    let mut options = Getopt::new(args, b"nNxX", b"");
    for option in options.by_ref() {
        match option {
            Opt::Plain(b'n') => waits = false,
            Opt::Plain(b'N') => waits = true,
            Opt::Plain(b'x') => tells = false,
            Opt::Plain(b'X') => tells = true,
            _ => return Err(Fatal::usage(USAGE)),
        }
    }
    let [file, program, rest @ ..] = options.rest() else { return Err(Fatal::usage(USAGE)) };
    let quietly = |result: Result<(), Fatal>| if tells { result } else { Ok(()) };
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let lock = match rustix::fs::open(file.as_os_str(), flags, Mode::from_raw_mode(0o600)) {
        Ok(lock) => lock,
        Err(e) => return quietly(Err(Fatal::unable(&format!("open {}", file.display()), &e.into()))),
    };
    let how = if waits { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
    let locked = loop {
        match rustix::fs::flock(&lock, how) {
            Err(Errno::INTR) => {}
            other => break other,
        }
    };
    if let Err(e) = locked {
        return quietly(Err(Fatal::unable(&format!("lock {}", file.display()), &e.into())));
    }
    // The program keeps it open, and with it the lock.
    rustix::io::fcntl_setfd(&lock, FdFlags::empty()).map_err(|e| Fatal::unable(&format!("lock {}", file.display()), &e.into()))?;
    let error = Command::new(program).args(rest).exec();
    Err(Fatal::unable(&format!("run {}", program.display()), &error))
}
