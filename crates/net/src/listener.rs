//! Listening sockets and the loop that accepts: admission first, then accept(2), then one task a connection with its panic contained.
//! The server starts one loop a listener; no protocol is spoken here but one refusal line.

use crate::limits::{ConnectionLimits, ConnectionPermit};
use crate::stream::Stream;
use postino_ports::BoxFuture;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections that the kernel keeps for us while all slots are taken.
const BACKLOG: i32 = 1024;
/// First and longest pause when the process or the system is out of descriptors or memory.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection that has a place.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, in clear text.
    pub stream: Stream,
    /// Who; an IPv4 address mapped into IPv6 appears as IPv4.
    pub peer: SocketAddr,
    /// Its place; the accept loop holds it until the handler ends.
    pub permit: ConnectionPermit,
}

/// What one accept loop needs to know.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// `smtp`, `pop3s` …, for the log.
    pub name: &'static str,
    /// Shared by all loops.
    pub limits: Arc<ConnectionLimits>,
    /// Sent to an address that has too many connections (`421 …\r\n`); empty under implicit TLS.
    pub refusal: Vec<u8>,
}

/// What is done with a connection.
pub type Handler = Arc<dyn Fn(Accepted) -> BoxFuture<'static, ()> + Send + Sync>;

/// Opens a listening socket: SO_REUSEADDR (a restart must not wait), IPv6 sockets for IPv6 only, never SO_REUSEPORT (another process
/// could take a share of the mail). Non-blocking, closed on exec.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit it: no system call a connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// IPv4 in IPv6 clothes (`::ffff:192.0.2.1`) undressed, so that rules, counters and logs know one form.
#[must_use]
pub fn normal(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Accepts until `shutdown` turns true (or its sender is gone), then closes the listener and waits for the sessions (bound the wait
/// from outside: dropping this future ends them). A session that panics ends alone. Must run inside a tokio runtime.
pub async fn accept_loop(
    listener: TcpListener,
    settings: ListenerSettings,
    mut shutdown: watch::Receiver<bool>,
    handler: Handler,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // For listeners that somebody else bound.
    SockRef::from(&listener).set_tcp_nodelay(true)?;
    #[expect(deprecated, reason = "its successor is unsafe; std's TcpListener owns its descriptor and never swaps it, so this is sound")]
    let listener = AsyncFd::new(listener)?;
    let mut sessions = JoinSet::new();
    let mut pause = Pause::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = shutdown.wait_for(|&stop| stop) => break,
            Some(ended) = sessions.join_next() => {
                report(settings.name, ended);
                continue;
            }
            accepted = accept(&listener, &settings, &mut pause) => accepted?,
        };
        if let Some(accepted) = accepted {
            // Held here too: a handler that takes only the stream out of `Accepted` must not free the place by that.
            let place = accepted.permit.clone();
            let session = handler(accepted);
            sessions.spawn(async move {
                session.await;
                drop(place);
            });
        }
    }
    drop(listener);
    while let Some(ended) = sessions.join_next().await {
        report(settings.name, ended);
    }
    Ok(())
}

/// One connection, or none when it was gone or refused. Cancel-safe: nothing is accepted before the last await but the refusal line.
async fn accept(listener: &AsyncFd<TcpListener>, settings: &ListenerSettings, pause: &mut Pause) -> io::Result<Option<Accepted>> {
    let mut ready = listener.readable().await?;
    // Admission before work: while all slots are taken the kernel's queue holds the callers.
    let slot = match settings.limits.try_slot() {
        Some(slot) => slot,
        // Readiness may be a memory of the last connection: nobody is asked to make room before somebody waits for it.
        None if !somebody_waits(listener.get_ref()) => {
            ready.clear_ready();
            return Ok(None);
        }
        None => settings.limits.slot().await,
    };
    let result = ready.try_io(|l| Ok(acceptfrom_with(l.get_ref(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?));
    let (socket, address) = match result {
        Err(_not_ready) => return Ok(None),
        Ok(Ok(accepted)) => accepted,
        Ok(Err(error)) => {
            drop(slot);
            tokio::time::sleep(pause.after(settings.name, error)?).await;
            return Ok(None);
        }
    };
    pause.reset();
    let Some(peer) = address.and_then(|a| SocketAddr::try_from(a).ok()).map(normal) else {
        return Ok(None);
    };
    let stream = TcpStream::from_std(std::net::TcpStream::from(socket))?;
    match slot.admit(peer.ip()) {
        Some(permit) => Ok(Some(Accepted { stream: Stream::Plain(stream), peer, permit })),
        None => {
            refuse(stream, peer.ip(), settings).await;
            Ok(None)
        }
    }
}

fn somebody_waits(listener: &TcpListener) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut ask = [PollFd::new(listener, PollFlags::IN)];
    matches!(poll(&mut ask, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(n) if n > 0)
}

/// One line to a caller that has too many connections. A fresh socket has room for it: this does not wait.
async fn refuse(mut stream: TcpStream, peer: IpAddr, settings: &ListenerSettings) {
    tracing::info!(service = settings.name, %peer, "too many connections from one address");
    if !settings.refusal.is_empty() {
        let _ = tokio::time::timeout(Duration::from_millis(100), stream.write_all(&settings.refusal)).await;
        let _ = stream.shutdown().await;
    }
}

fn report(name: &'static str, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(service = name, "a session panicked; this is a bug");
    }
}

/// Waits longer and longer while accept(2) fails for want of resources, so that it neither spins nor floods the log.
#[derive(Debug, Default)]
struct Pause {
    next: Option<Duration>,
}

impl Pause {
    fn reset(&mut self) {
        self.next = None;
    }

    /// How long to wait now. Errors of the one connection are nothing; want of resources waits; what remains means that the listener
    /// is broken.
    fn after(&mut self, name: &'static str, error: io::Error) -> io::Result<Duration> {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                let pause = match self.next {
                    Some(pause) => pause,
                    None => {
                        tracing::warn!(
                            service = name,
                            %error,
                            "cannot accept connections for want of resources"
                        );
                        PAUSE_MIN
                    }
                };
                self.next = Some(pause.saturating_mul(2).min(PAUSE_MAX));
                Ok(pause)
            }
            Some(Errno::BADF | Errno::NOTSOCK | Errno::INVAL | Errno::FAULT) => Err(error),
            // accept(2): network errors already pending on the new socket, and a firewall's EPERM, are passed through here.
            _ => Ok(Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests;
