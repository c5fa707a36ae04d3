//! Listeners: bound before privileges are dropped, or taken from the service manager; passed to the worker by number. Never accepts.

use anyhow::{Context, bail};
use postino_control::Config;
use postino_control::resolved::ListenerKind;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
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
    ("http", ListenerKind::Http),
];

/// The service's word.
pub(crate) fn name_of(kind: ListenerKind) -> &'static str {
    NAMES.iter().find(|(_, k)| *k == kind).map_or("?", |(name, _)| name)
}

fn kind_of(name: &str) -> Option<ListenerKind> {
    NAMES.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind)
}

/// Sockets of the service manager, if it passed any, else those of `server.toml`.
pub(crate) fn all(config: &Config) -> anyhow::Result<Vec<Bound>> {
    let passed = from_service_manager()?;
    if !passed.is_empty() {
        return Ok(passed);
    }
    let mut bound = Vec::new();
    for (kind, addresses) in &config.server.listeners {
        for address in addresses {
            let socket = bind_patiently(*address).with_context(|| {
                format!("cannot listen on {address} for {} (server.toml: listen.{0}); is another server running there?", name_of(*kind))
            })?;
            bound.push(Bound { kind: *kind, socket });
        }
    }
    if bound.is_empty() {
        bail!("server.toml names no listener at all; see `postino config doc listen`");
    }
    Ok(bound)
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
    let mut fds = listenfd::ListenFd::from_env();
    let mut bound = Vec::new();
    for (index, name) in names.split(':').enumerate().take(fds.len()) {
        let kind = kind_of(name).with_context(|| format!("socket unit passes a socket named {name:?}; FileDescriptorName= must be one of smtp, submission, submissions, pop3, pop3s, http"))?;
        if let Some(socket) = fds.take_tcp_listener(index).context("socket passed by the service manager")? {
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

/// The inverse of [`describe`], in the worker. The numbers are duplicated, the inherited ones closed at exec of nothing: the worker never execs.
pub(crate) fn inherited(text: &str) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for item in text.split(',').filter(|s| !s.is_empty()) {
        let (name, number) = item.split_once('=').context("malformed listener list")?;
        let kind = kind_of(name).context("unknown listener kind")?;
        let socket = TcpListener::from(duplicate(number.parse()?)?);
        bound.push(Bound { kind, socket });
    }
    Ok(bound)
}

/// A descriptor of our own for an inherited number.
#[allow(unsafe_code)] // BorrowedFd::borrow_raw is the only way to name an inherited descriptor
pub(crate) fn duplicate(number: i32) -> anyhow::Result<std::os::fd::OwnedFd> {
    if number < 3 {
        bail!("descriptor {number} cannot be an inherited socket");
    }
    // SAFETY: the number comes from our own parent, which left this descriptor open for us; it is only borrowed for fcntl,
    // which fails with EBADF when nothing is open there.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let own = rustix::io::fcntl_dupfd_cloexec(borrowed, 3).context("inherited descriptor")?;
    rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).context("inherited descriptor")?;
    Ok(own)
}

/// `run/postino.pid`, for people and init scripts; signals of our own tools go through the control socket.
pub(crate) fn write_pid_file(home: &Path) -> anyhow::Result<()> {
    let path = home.join("run/postino.pid");
    std::fs::write(&path, format!("{}\n", std::process::id())).with_context(|| format!("cannot write {}", path.display()))
}
