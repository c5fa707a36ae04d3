//! The spawner's child: first word `uid:gid:dropped:memory:processes:file:gain`, then what a Maildir file is called, then qmail-local's eight words. Verifies that the rights are
//! gone, limits itself, delivers. Standard input is the message, standard output the report, standard error the list of forwards
//! (`types::spawn_frame`): three inherited descriptors are all it has.

use super::historical::{delivery, standard_files};
use super::maildir::MAILDIR_TIME;
use super::{Action, Forwarding, Surroundings, run};
use postino_ports::spawn::Once;
use postino_types::{exit, spawn_frame};
use rustix::process::{Resource, Rlimit, getegid, geteuid, getgid, getgroups, getuid, setrlimit};
use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

/// The child's first word, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Orders {
    uid: u32,
    gid: u32,
    /// The spawner was root and has dropped everything.
    dropped: bool,
    memory_bytes: u64,
    processes: u64,
    file_bytes: u64,
    may_gain: bool,
}

/// The child's whole life. Returns the exit code.
#[must_use]
pub fn main(args: &[OsString]) -> i32 {
    close_inherited();
    let Ok([message, out, mut control]) = standard_files() else { return exit::SOFT };
    let complain = |text: &str| {
        let _ = (&out).write_all(text.as_bytes());
        exit::SOFT
    };
    let words = args.split_first().and_then(|(first, words)| Some((parse(first.to_str()?)?, words.split_first()?)));
    let Some((orders, once, delivery)) = words.and_then(|(orders, (once, words))| Some((orders, once, delivery(words)?))) else {
        return complain("Internal qmail-lspawn bug.\n");
    };
    if let Err(what) = verify(&orders).and_then(|()| confine(&orders)) {
        return complain(&format!("Unable to drop privileges: {what}. (#4.3.0)\n"));
    }
    let around = Surroundings {
        message: &message,
        out: &out,
        err: &out,
        action: Action::Deliver,
        forwarding: Forwarding::Collect,
        lock_wait: Duration::from_secs(30),
        maildir_time: MAILDIR_TIME,
        program_file_bytes: orders.file_bytes,
        once: Once::from_word(once.to_str().unwrap_or_default()),
    };
    let ended = run(&delivery, &around);
    let sent = spawn_frame::encode_forwards(&ended.forwards).map_err(drop).and_then(|bytes| control.write_all(&bytes).map_err(drop));
    if sent.is_err() {
        return complain("Too many forwards in one delivery. (#4.3.0)\n");
    }
    ended.exit
}

/// Verifies and limits by the first word.
pub(crate) fn obey(word: &std::ffi::OsStr) -> Result<(), &'static str> {
    let orders = word.to_str().and_then(parse).ok_or("internal qmail-lspawn bug")?;
    verify(&orders).and_then(|()| confine(&orders))
}

fn parse(word: &str) -> Option<Orders> {
    let numbers: Vec<u64> = word.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [uid, gid, dropped, memory_bytes, processes, file_bytes, gain] = *numbers.as_slice() else { return None };
    Some(Orders {
        uid: u32::try_from(uid).ok()?,
        gid: u32::try_from(gid).ok()?,
        dropped: dropped == 1,
        memory_bytes,
        processes,
        file_bytes,
        may_gain: gain == 1,
    })
}

/// Closes what came with exec beside the three: the spawner passes nothing else on, so this is the second lock on the same door.
pub(crate) fn close_inherited() {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<std::os::fd::RawFd> = list.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    for fd in numbers.into_iter().filter(|&fd| fd > 2) {
        let _ = nix::unistd::close(fd); // the listing's own is closed already
    }
}

/// Reads the ids back and tries to regain what must be gone: a setuid that silently failed is the worst bug this program can have.
fn verify(orders: &Orders) -> Result<(), &'static str> {
    let uids = [getuid().as_raw(), geteuid().as_raw()];
    let gids = [getgid().as_raw(), getegid().as_raw()];
    if !orders.dropped {
        // A spawner without root: one uid, nothing to drop.
        return if uids.iter().all(|&id| id == orders.uid) { Ok(()) } else { Err("wrong uid") };
    }
    if orders.uid == 0 || uids.iter().any(|&id| id != orders.uid) {
        return Err("wrong uid");
    }
    if gids.iter().any(|&id| id != orders.gid) {
        return Err("wrong gid");
    }
    let groups = getgroups().map_err(|_| "groups unreadable")?;
    if groups.iter().any(|group| group.as_raw() != orders.gid) {
        return Err("groups left");
    }
    // The saved uid cannot be read back portably; it is tried instead.
    if rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).is_ok() {
        return Err("root can be regained");
    }
    Ok(())
}

fn confine(orders: &Orders) -> Result<(), &'static str> {
    // A session of its own: no terminal, and one group that the spawner can stop whole. Fails only when we lead a group already.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    if !orders.may_gain {
        rustix::thread::set_no_new_privs(true).map_err(|_| "no_new_privs")?;
    }
    limit(Resource::As, orders.memory_bytes)?;
    limit(Resource::Nproc, orders.processes)?;
    set(Resource::Core, 0)
}

fn limit(resource: Resource, value: u64) -> Result<(), &'static str> {
    if value == 0 { Ok(()) } else { set(resource, value) }
}

fn set(resource: Resource, value: u64) -> Result<(), &'static str> {
    let hard = rustix::process::getrlimit(resource).maximum.map_or(value, |n| n.min(value));
    setrlimit(resource, Rlimit { current: Some(hard), maximum: Some(hard) }).map_err(|_| "limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_of_another_shape_are_refused() {
        let orders = parse("1001:1002:1:1024:256:2048:0").unwrap();
        assert_eq!((orders.uid, orders.gid, orders.dropped, orders.may_gain), (1001, 1002, true, false));
        for bad in ["", "1:2:3", "1:2:1:4:5:6:7:8", "-1:2:1:4:5:6:0", "99999999999:2:1:4:5:6:0"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn rights_that_were_not_dropped_are_noticed() {
        let word = format!("{}:{}:1:0:0:0:0", u32::MAX - 7, u32::MAX - 7);
        assert_eq!(verify(&parse(&word).unwrap()), Err("wrong uid"));
    }
}
