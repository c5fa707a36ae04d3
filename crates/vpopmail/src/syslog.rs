//! One line to the system's log, facility mail, under vpopmail's name. Called by vchkpw. Never waits for the log and never fails by it.

use postino_types::printable::{cut, printable};
use std::os::unix::net::UnixDatagram;

const SOCKET: &str = "/dev/log";
const FACILITY_MAIL: u32 = 2 << 3;
const NOTICE: u32 = 5;
/// Longest line, bytes.
const LINE_BYTES_MAX: usize = 500;

/// Tells the log, if there is one.
pub(crate) fn tell(text: &str) {
    // Without a time: the log's daemon knows it as well, and no local zone is needed.
    let line =
        format!("<{}>vpopmail[{}]: {}", FACILITY_MAIL + NOTICE, std::process::id(), cut(&printable(text.as_bytes()), LINE_BYTES_MAX));
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.send_to(line.as_bytes(), SOCKET)
    });
    drop(sent);
}
