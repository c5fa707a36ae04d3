//! `qmail-local` under its own name: the command line of qmail-local(8), message on standard input, reports on standard output and error,
//! forwards through qmail-queue. Called by the compatibility binary; limits and user are those of its caller.

use super::maildir::MAILDIR_TIME;
use super::{Action, Delivery, Forwarding, QueueProgram, Surroundings, run};
use postino_ports::spawn::Once;
use postino_types::exit;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program. `args` are the words after its name, `home` is qmail's home. Returns the exit code.
#[must_use]
pub fn main(args: &[OsString], home: &Path) -> i32 {
    let Some((action, delivery)) = parse(args) else {
        eprintln!("qmail-local: usage: qmail-local [ -nN ] user homedir local dash ext domain sender defaultdelivery");
        return exit::HARD;
    };
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let Ok([message, out, err]) = standard_files() else { return exit::SOFT };
    let program = std::env::var_os("QMAILQUEUE").filter(|p| !p.is_empty()).map_or_else(|| PathBuf::from("bin/qmail-queue"), PathBuf::from);
    let around = Surroundings {
        message: &message,
        out: &out,
        err: &err,
        action,
        forwarding: Forwarding::Inject(QueueProgram { program, directory: home.to_path_buf() }),
        lock_wait: Duration::from_secs(30),
        maildir_time: MAILDIR_TIME,
        program_file_bytes: 0,
        once: Once::None,
    };
    run(&delivery, &around).exit
}

/// Copies of the standard descriptors.
pub(super) fn standard_files() -> io::Result<[File; 3]> {
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    Ok([copy(rustix::stdio::stdin())?, copy(rustix::stdio::stdout())?, copy(rustix::stdio::stderr())?])
}

fn parse(args: &[OsString]) -> Option<(Action, Delivery)> {
    let mut action = Action::Deliver;
    let mut words = args;
    while let [first, rest @ ..] = words {
        let Some(letters) = first.as_bytes().strip_prefix(b"-").filter(|l| !l.is_empty()) else { break };
        words = rest;
        if letters == b"-" {
            break;
        }
        for letter in letters {
            action = match letter {
                b'n' => Action::Print,
                b'N' => Action::Deliver,
                _ => return None,
            };
        }
    }
    Some((action, delivery(words)?))
}

/// The eight words; `None` when there are not eight or the home is not absolute.
pub(super) fn delivery(words: &[OsString]) -> Option<Delivery> {
    let [user, home, local, dash, ext, domain, sender, default_delivery] = words else { return None };
    let bytes = |word: &OsString| word.clone().into_vec();
    let home = PathBuf::from(home);
    home.is_absolute().then(|| Delivery {
        user: bytes(user),
        local: bytes(local),
        dash: bytes(dash),
        ext: bytes(ext),
        domain: bytes(domain),
        sender: bytes(sender),
        default_delivery: bytes(default_delivery),
        home,
    })
}
