//! Waiting for a descriptor, not for ever. Called by whatever reads from a network or a caller; reads and writes nothing itself.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

/// True when `fd` is ready (or has come to its end, which reading will tell), false when `deadline` came first.
pub(crate) fn ready(fd: impl AsFd, wanted: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), wanted)], Some(&left)) {
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
