//! Words for system errors as qmail's programs print them (scripts and people know them). Called by qmail_local and the compatibility programs.

use rustix::io::Errno;
use std::io;

/// qmail's word for an error; `unknown error` when it has none.
#[must_use]
pub fn error_text(error: &io::Error) -> &'static str {
    let Some(errno) = Errno::from_io_error(error) else { return by_kind(error) };
    TABLE.iter().find(|(known, _)| *known == errno).map_or("unknown error", |(_, text)| text)
}

fn by_kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "unexpected end of file",
        io::ErrorKind::InvalidInput => "invalid argument",
        io::ErrorKind::TimedOut => "timed out",
        _ => "unknown error",
    }
}

const TABLE: &[(Errno, &str)] = &[
    (Errno::ACCESS, "access denied"),
    (Errno::ADDRINUSE, "address already used"),
    (Errno::ADDRNOTAVAIL, "address not available"),
    (Errno::AGAIN, "temporary failure"),
    (Errno::BADF, "file descriptor not open"),
    (Errno::BUSY, "device busy"),
    (Errno::CONNABORTED, "connection aborted"),
    (Errno::CONNREFUSED, "connection refused"),
    (Errno::CONNRESET, "connection reset"),
    (Errno::DQUOT, "disk quota exceeded"),
    (Errno::EXIST, "file already exists"),
    (Errno::FBIG, "file too big"),
    (Errno::HOSTUNREACH, "host unreachable"),
    (Errno::INTR, "interrupted system call"),
    (Errno::INVAL, "invalid argument"),
    (Errno::IO, "input/output error"),
    (Errno::ISDIR, "is a directory"),
    (Errno::LOOP, "too many symbolic links"),
    (Errno::MFILE, "process cannot open more files"),
    (Errno::MLINK, "too many links"),
    (Errno::NAMETOOLONG, "file name too long"),
    (Errno::NETUNREACH, "network unreachable"),
    (Errno::NFILE, "system cannot open more files"),
    (Errno::NODEV, "device does not support operation"),
    (Errno::NOENT, "file does not exist"),
    (Errno::NOEXEC, "exec format error"),
    (Errno::NOLCK, "locks not available"),
    (Errno::NOMEM, "out of memory"),
    (Errno::NOSPC, "out of disk space"),
    (Errno::NOSYS, "system call not available"),
    (Errno::NOTDIR, "not a directory"),
    (Errno::NXIO, "device not configured"),
    (Errno::PERM, "permission denied"),
    (Errno::PIPE, "broken pipe"),
    (Errno::ROFS, "file system is read-only"),
    (Errno::SPIPE, "unseekable descriptor"),
    (Errno::STALE, "stale NFS file handle"),
    (Errno::TIMEDOUT, "timed out"),
    (Errno::TOOBIG, "argument list too long"),
    (Errno::TXTBSY, "text busy"),
    (Errno::XDEV, "cross-device link"),
];
