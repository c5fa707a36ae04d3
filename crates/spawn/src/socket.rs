//! The socket between worker and spawner: SEQPACKET, one packet a message, with a request one file descriptor. Never more than
//! [`PACKET_BYTES_MAX`] bytes a packet, and what is longer was not sent by us.

use postino_types::spawn_frame::{PACKET_BYTES_MAX, Request};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A connected pair: one end for the worker, one for the spawner (its standard input).
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// The spawner's end when the supervisor made it the standard input: a close-on-exec copy. Every other descriptor above 2 that the process
/// inherited is closed: listeners and keys of the supervisor are no child's business. For the spawner's own process, at its start, before
/// anything of it holds a descriptor.
pub fn socket_from_stdin() -> io::Result<OwnedFd> {
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let mut inherited = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let number: Option<RawFd> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        inherited.extend(number.filter(|&fd| fd > 2 && fd != socket.as_raw_fd()));
    }
    for fd in inherited {
        let _ = nix::unistd::close(fd); // the listing's own is closed already
    }
    Ok(socket)
}

/// Sends one packet, with a file descriptor when there is one. Waits while the socket is full.
pub fn send(socket: impl AsFd, packet: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds: Vec<BorrowedFd<'_>> = fd.into_iter().collect();
    if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// What came out of the socket.
pub(crate) enum Received {
    /// The worker is gone.
    End,
    /// Nothing there yet.
    Nothing,
    /// A packet that is no request; dropped.
    Bad,
    /// A request with the message.
    Request(Request, OwnedFd),
}

/// Takes one packet without waiting.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let result = match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags) {
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET) => return Ok(Received::End),
        other => other?,
    };
    let mut message = None;
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            message = fds.last().or(message);
        }
    }
    if result.bytes == 0 && message.is_none() {
        return Ok(Received::End);
    }
    if result.flags.contains(ReturnFlags::TRUNC) || result.bytes > PACKET_BYTES_MAX {
        return Ok(Received::Bad);
    }
    let request = buffer.get(..result.bytes).and_then(|packet| Request::decode(packet).ok());
    Ok(match (request, message) {
        (Some(request), Some(message)) => Received::Request(request, message),
        _ => Received::Bad,
    })
}
