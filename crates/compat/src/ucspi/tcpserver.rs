//! `tcpserver [opts] host port prog`: listens and runs a program for each connection. One process, a poll loop, and threads that do nothing but start
//! programs (see starter); a client whose names must be looked up gets a helper process (see connection). Never looks into what is sent.

use super::connection::{self, Decision, Ends, Names};
use super::local_names::LocalNames;
use super::places::{Clients, Place};
use super::server_options::{Options, Verbosity};
use super::starter::{Started, Starter, spawn};
use crate::dns::{DnsError, Resolver};
use crate::fatal::{self, Fatal};
use postino_local::error_text::error_text;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::WaitOptions;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The name under which the helper is run.
pub(crate) const HELPER: &str = "tcpserver-connection";
/// Pause after an accept that failed for want of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &[OsString]) -> i32 {
    fatal::main("tcpserver", Options::parse(args).and_then(|options| Server::open(options, args)?.serve()))
}

/// The helper for one connection.
pub(crate) fn run_helper(args: &[OsString]) -> i32 {
    connection::run(args)
}

/// A line on standard error, in one write.
pub(super) fn log(options: &Options, at: Verbosity, text: &str) {
    if options.verbosity >= at {
        let _ = io::stderr().write_all(format!("tcpserver: {text}\n").as_bytes());
    }
}

pub(super) fn warn_drop(options: &Options, text: &str) {
    log(options, Verbosity::Errors, &format!("warning: dropping connection, {text}"));
}

struct Server {
    options: Options,
    args: Vec<OsString>,
    listener: TcpListener,
    signals: Signals,
    own_path: PathBuf,
    clients: Clients,
    local_names: LocalNames,
    /// `None` while nothing was started yet, with `-v` (the lines of one connection stand together), and where there can be no threads.
    starter: Option<Starter>,
}

/// Signals come as bytes through a socket, so that poll sees them. Handlers, unlike a mask, do not pass to the programs.
struct Signals {
    wake: UnixStream,
    write: UnixStream,
    end: Arc<AtomicBool>,
}

impl Signals {
    fn open() -> io::Result<Self> {
        use signal_hook::consts::{SIGCHLD, SIGTERM};
        let (wake, write) = UnixStream::pair()?;
        let end = Arc::new(AtomicBool::new(false));
        wake.set_nonblocking(true)?;
        signal_hook::flag::register(SIGTERM, Arc::clone(&end))?;
        signal_hook::low_level::pipe::register(SIGTERM, write.try_clone()?)?;
        signal_hook::low_level::pipe::register(SIGCHLD, write.try_clone()?)?;
        write.set_nonblocking(true)?;
        Ok(Self { wake, write, end })
    }

    fn drain(&mut self) {
        let mut buffer = [0u8; 64];
        while matches!(self.wake.read(&mut buffer), Ok(got) if got > 0) {}
    }
}

impl Server {
    fn open(options: Options, args: &[OsString]) -> Result<Self, Fatal> {
        let own_path = std::env::current_exe().map_err(|e| Fatal::unable("find my own program", &e))?;
        let signals = Signals::open().map_err(|e| Fatal::unable("handle signals", &e))?;
        let address = SocketAddr::new(address_of(&options.host)?, options.port);
        let listener = TcpListener::bind(address).map_err(|e| Fatal::unable("bind", &e))?;
        rustix::net::listen(&listener, options.backlog).map_err(|e| Fatal::unable("listen", &e.into()))?;
        listener.set_nonblocking(true).map_err(|e| Fatal::unable("listen", &e))?;
        drop_rights(&options)?;
        if options.print_port {
            let port = listener.local_addr().map_err(|e| Fatal::unable("get local address", &e))?.port();
            let mut out = io::stdout().lock();
            writeln!(out, "{port}").and_then(|()| out.flush()).map_err(|e| Fatal::unable("print local port", &e))?;
        }
        release_stdio();
        let args = args.to_vec();
        let clients = Clients::new(options.limit, options.limit_per_address);
        let local_names = LocalNames::new(own_path.clone());
        let starter = if options.verbosity == Verbosity::All { None } else { Starter::open(&signals.write).ok() };
        Ok(Self { options, args, listener, signals, own_path, clients, local_names, starter })
    }

    fn serve(mut self) -> Result<(), Fatal> {
        self.log_status();
        while !self.signals.end.load(Ordering::SeqCst) {
            let mut wanted = vec![PollFd::new(&self.signals.wake, PollFlags::IN)];
            if self.clients.has_room() {
                wanted.push(PollFd::new(&self.listener, PollFlags::IN));
            }
            match poll(&mut wanted, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(Fatal::unable("poll", &e.into())),
            }
            let came = wanted.get(1).is_some_and(|fd| !fd.revents().is_empty());
            drop(wanted);
            self.signals.drain();
            self.hear_starts();
            self.reap();
            self.hear_starts();
            if came && !self.signals.end.load(Ordering::SeqCst) {
                self.accept();
            }
        }
        if let Some(starter) = self.starter.take() {
            starter.finish();
        }
        Ok(())
    }

    fn log_status(&self) {
        log(&self.options, Verbosity::All, &format!("status: {}/{}", self.clients.running(), self.options.limit));
    }

    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if self.local_names.took(pid) {
                continue;
            }
            let Some(address) = self.clients.ended(pid) else {
                self.clients.ended_early(pid);
                continue;
            };
            log(&self.options, Verbosity::All, &format!("end {pid} status {}", status.as_raw()));
            self.log_status();
            self.serve_next(address);
        }
    }

    /// What the threads have started since.
    fn hear_starts(&mut self) {
        while let Some(Started { ip, pid }) = self.starter.as_mut().and_then(Starter::ended) {
            if let Err(e) = &pid {
                warn_drop(&self.options, &self.not_started(e));
            }
            if let Some(address) = self.clients.start_ended(pid.ok(), ip) {
                self.serve_next(address);
            }
        }
    }

    fn serve_next(&mut self, address: IpAddr) {
        if let Some((stream, remote)) = self.clients.next(address) {
            self.serve_one(stream, remote);
        }
    }

    fn not_started(&self, error: &io::Error) -> String {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => format!("unable to fork: {}", error_text(error)),
            _ => format!("unable to run {}: {}", self.program(), error_text(error)),
        }
    }

    /// Takes what waits, as far as there is room.
    fn accept(&mut self) {
        while self.clients.has_room() {
            match self.listener.accept() {
                Ok((stream, remote)) => self.take(stream, remote),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) => {}
                Err(e) => {
                    log(&self.options, Verbosity::Errors, &format!("warning: unable to accept: {}", error_text(&e)));
                    std::thread::sleep(ACCEPT_PAUSE); // no descriptors or no memory: a busy loop would not make any
                    return;
                }
            }
        }
    }

    fn take(&mut self, stream: TcpStream, remote: SocketAddr) {
        match self.clients.place(stream, remote) {
            Place::Now(stream) => self.serve_one(stream, remote),
            Place::Later => {}
            Place::Refused(count) => {
                warn_drop(&self.options, &format!("{count} connections from {} already", remote.ip().to_canonical()));
            }
        }
    }

    fn serve_one(&mut self, stream: TcpStream, remote: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        if self.options.nodelay {
            let _ = stream.set_nodelay(true); // only a matter of speed
        }
        let more = self.clients.running() + 1;
        log(&self.options, Verbosity::All, &format!("status: {more}/{}", self.options.limit));
        match self.start(stream, Ends { local, remote }) {
            Ok(Some(pid)) => self.clients.started(pid, remote.ip()),
            Ok(None) => self.log_status(),
            Err(e) => {
                warn_drop(&self.options, &format!("unable to fork: {}", error_text(&e)));
                self.log_status();
            }
        }
    }

    /// The process for a connection; `None` when it was sent away without one.
    fn start(&mut self, stream: TcpStream, ends: Ends) -> io::Result<Option<i32>> {
        if self.options.lookup.asks_about_clients() {
            return self.start_helper(&stream).map(Some);
        }
        let given = self.options.lookup.local_name.clone();
        let Some(local) = given.map(Some).or_else(|| self.local_names.get(ends.local.ip())) else {
            return self.start_helper(&stream).map(Some);
        };
        let names = Names { local, ..Names::default() };
        let failed = match connection::decide(&self.options, ends.remote.ip(), &names) {
            Decision::Run(rules) if self.starter.is_some() => return self.order_program(stream, ends, &names, &rules).map(|()| None),
            Decision::Run(rules) => match self.start_program(&stream, ends, &names, &rules) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::OutOfMemory => return Err(e),
                Err(e) => format!("unable to run {}: {}", self.program(), error_text(&e)),
                started => return started.map(Some),
            },
            Decision::Deny => String::new(),
            Decision::Drop(text) => text,
        };
        if self.options.verbosity == Verbosity::All {
            return self.start_helper(&stream).map(Some); // it comes to the same end, and the log names its process
        }
        if !failed.is_empty() {
            warn_drop(&self.options, &failed);
        }
        Ok(None)
    }

    fn program(&self) -> String {
        self.options.program.first().map(|program| program.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn start_program(&self, mut stream: &TcpStream, ends: Ends, names: &Names, rules: &[(String, String)]) -> io::Result<i32> {
        stream.write_all(&self.options.banner)?;
        let pid = spawn(connection::command(&self.options.program, ends, names, rules), stream)?;
        if self.options.verbosity == Verbosity::All {
            let (ip, ends) = (ends.remote.ip().to_canonical(), connection::described(ends, names));
            log(&self.options, Verbosity::All, &format!("pid {pid} from {ip}\ntcpserver: ok {pid} {ends}"));
        }
        Ok(pid)
    }

    /// The same by a thread, which is heard later.
    fn order_program(&mut self, mut stream: TcpStream, ends: Ends, names: &Names, rules: &[(String, String)]) -> io::Result<()> {
        stream.write_all(&self.options.banner)?;
        let command = connection::command(&self.options.program, ends, names, rules);
        if let Some(starter) = &mut self.starter {
            starter.start(command, stream, ends.remote.ip())?;
            self.clients.starting(ends.remote.ip());
        }
        Ok(())
    }

    fn start_helper(&self, stream: &TcpStream) -> io::Result<i32> {
        let mut command = Command::new(&self.own_path);
        command.arg0(HELPER).args(&self.args);
        spawn(command, stream)
    }
}

/// The address to listen on: `0` is every IPv4 address, `::` every address of both families.
fn address_of(host: &str) -> Result<IpAddr, Fatal> {
    match host {
        "" | "0" => return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        "localhost" => return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => {}
    }
    if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(ip);
    }
    let found = Resolver::from_system().addresses(host);
    let soft = found.as_ref().err().is_some_and(|e: &DnsError| e.is_soft());
    let temporarily = if soft { "temporarily unable to figure out IP address for" } else { "no IP address for" };
    found.ok().and_then(|found| found.first().copied()).ok_or_else(|| Fatal::soft(format!("{temporarily} {host}")))
}

fn drop_rights(options: &Options) -> Result<(), Fatal> {
    use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
    if let Some(gid) = options.gid.map(Gid::from_raw) {
        setgroups(&[gid]).and_then(|()| setgid(gid)).map_err(|e| Fatal::unable("set gid", &e.into()))?;
    }
    if let Some(uid) = options.uid.map(Uid::from_raw) {
        setuid(uid).map_err(|e| Fatal::unable("set uid", &e.into()))?;
    }
    Ok(())
}

/// Descriptors 0 and 1 are not ours for as long as we run; whoever waits for their end gets it.
fn release_stdio() {
    if let Ok(null) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(&null).and_then(|()| rustix::stdio::dup2_stdout(&null));
    }
}
