//! Listeners: bound before privileges are dropped, or taken from the service manager; passed to the worker by number. Never accepts.

use anyhow::{Context, bail};
use postino_control::Config;
use postino_control::resolved::ListenerKind;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

/// How long an address that is in use is tried again.
const BIND_PATIENCE: Duration = Duration::from_secs(3);

/// A bound socket and what it serves.
pub(crate) struct Bound {
    /// Service.
    pub(crate) kind: ListenerKind,
    /// Socket, non-blocking.
    pub(crate) socket: TcpListener,
}

/// Names used by LISTEN_FDNAMES and in the worker's environment.
const NAMES: &[(&str, ListenerKind)] = &[
    ("smtp", ListenerKind::Smtp),
    ("submissions", ListenerKind::Submissions),
    ("submission", ListenerKind::Submission),
    ("pop3", ListenerKind::Pop3),
    ("pop3s", ListenerKind::Pop3s),
    ("odmr", ListenerKind::Odmr),
    ("http", ListenerKind::Http),
];

/// The service's word.
pub(crate) fn name_of(kind: ListenerKind) -> &'static str {
    NAMES.iter().find(|(_, k)| *k == kind).map_or("?", |(name, _)| name)
}

fn kind_of(name: &str) -> Option<ListenerKind> {
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind)
}

/// Sockets that the service manager passed, and for every other service those of `server.toml`.
pub(crate) fn all(config: &Config) -> anyhow::Result<Vec<Bound>> {
    let mut bound = from_service_manager()?;
    let passed: Vec<ListenerKind> = bound.iter().map(|b| b.kind).collect();
    for (kind, addresses) in config.server.listeners.iter().filter(|(kind, _)| !passed.contains(kind)) {
        for address in addresses {
            let socket =
                bind_patiently(*address).map_err(|e| anyhow::Error::msg(refusal(&format!("{address} for {}", name_of(*kind)), &e)))?;
            bound.push(Bound { kind: *kind, socket });
        }
    }
    if bound.is_empty() {
        bail!("{NO_LISTENER}");
    }
    Ok(bound)
}

/// What is wrong with a configuration without listeners.
pub(crate) const NO_LISTENER: &str = "server.toml switches every service off; see `postino config doc listen`";

/// Why `place` (address and service) cannot be listened on, and what to do.
pub(crate) fn refusal(place: &str, error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let advice = match error.kind() {
        ErrorKind::AddrInUse => "; another server has it (`ss -ltnp` shows which)",
        ErrorKind::PermissionDenied => "; ports below 1024 want root",
        ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        _ => "",
    };
    format!("cannot listen on {place} (server.toml: [listen]): {error}{advice}")
}

/// A server that was killed a moment ago may still be closing its sockets.
fn bind_patiently(address: std::net::SocketAddr) -> std::io::Result<TcpListener> {
    let started = Instant::now();
    loop {
        match postino_net::listener::bind(address) {
            Err(e) if e.kind() == std::io::ErrorKind::AddrInUse && started.elapsed() < BIND_PATIENCE => {
                std::thread::sleep(Duration::from_millis(20))
            }
            result => return result,
        }
    }
}

fn from_service_manager() -> anyhow::Result<Vec<Bound>> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut fds = listenfd::ListenFd::from_env();
    let mut bound = Vec::new();
    for index in 0..fds.len() {
        let name = names.get(index).copied().unwrap_or_default();
        let kind = kind_of(name).with_context(|| format!("the service manager passes a socket named {name:?}; FileDescriptorName= must be one of smtp, submission, submissions, pop3, pop3s, odmr, http"))?;
        if let Some(socket) = fds.take_tcp_listener(index).with_context(|| format!("the socket {name} passed by the service manager"))? {
            socket.set_nonblocking(true)?;
            bound.push(Bound { kind, socket });
        }
    }
    Ok(bound)
}

/// `smtp=5,pop3=6`.
pub(crate) fn describe(bound: &[Bound]) -> String {
    bound.iter().map(|b| format!("{}={}", name_of(b.kind), b.socket.as_raw_fd())).collect::<Vec<_>>().join(",")
}

/// `smtp 127.0.0.1:2025, pop3 …`, for the log.
pub(crate) fn addresses(bound: &[Bound]) -> String {
    let one = |b: &Bound| b.socket.local_addr().map_or_else(|_| name_of(b.kind).to_owned(), |a| format!("{} {a}", name_of(b.kind)));
    bound.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The inverse of [`describe`], in the worker.
pub(crate) fn inherited(text: &str) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for item in text.split(',').filter(|s| !s.is_empty()) {
        let (name, number) = item.split_once('=').context("malformed listener list")?;
        let kind = kind_of(name).context("unknown listener kind")?;
        let socket = TcpListener::from(take(number.parse()?)?);
        bound.push(Bound { kind, socket });
    }
    Ok(bound)
}

/// Takes an inherited descriptor over. Each number may be taken once: the socket is closed with what it becomes, and a stopping server
/// must not leave a second copy on which the kernel goes on accepting.
#[allow(unsafe_code)] // from_raw_fd is the only way to own an inherited descriptor
pub(crate) fn take(number: i32) -> anyhow::Result<OwnedFd> {
    if number < 3 {
        bail!("descriptor {number} cannot be an inherited one");
    }
    // SAFETY: the number comes from our own parent, which left this descriptor open for us and names it once; nothing else in this
    // process has opened a descriptor with it, since it was open at exec. fcntl fails with EBADF when it was not.
    let own = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&own, rustix::io::FdFlags::CLOEXEC).context("inherited descriptor")?;
    Ok(own)
}
