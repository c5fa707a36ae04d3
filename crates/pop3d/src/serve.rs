//! The shell around the session: socket, TLS, clock, directory and maildrop. The server hands it accepted connections. What the client
//! deleted is removed only when QUIT was read: a lost connection, a time-out, a stop of the server remove nothing.

mod login;
mod record;
mod transfer;
mod wire;

use crate::session::{Action, ClearPasswords, Reason, Session, Settings, Tls};
use postino_control::access::Service;
use postino_control::{Config, Live};
use postino_net::{Accepted, ConnectionPermit, LoginThrottle, ServerTls};
use postino_ports::clock::Clock;
use postino_ports::directory::Directory;
use postino_ports::dns::Dns;
use postino_ports::event::Events;
use postino_ports::maildrop::{self, DropMessage, Maildrops};
use postino_ports::roaming::Roaming;
use record::{End, Record};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use wire::Wire;

/// Read from the socket at once. Commands are short; a pipelined batch takes a few reads.
const READ_BYTES: usize = 1024;
/// An output buffer larger than this is given back while the client is idle.
const OUTPUT_BYTES_KEPT: usize = 1024;
/// While nearly all connections are taken, a client that has not logged in has so long for a line.
const STRESS_IDLE: Duration = Duration::from_secs(10);

/// A client that has not logged in and takes no reply is given up after so long: while we write it cannot be asked to make room.
const STRANGER_WRITE: Duration = Duration::from_secs(20);
/// So long the last words of a session that makes room may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// At once (port 995, RFC 8314 3.2).
    Implicit,
    /// With STLS (port 110, RFC 2595 4).
    Stls,
}

/// What all sessions share.
pub struct Context {
    /// Configuration; read once a session.
    pub config: Live,
    /// Who may log in.
    pub directory: Arc<dyn Directory>,
    /// Their mail.
    pub maildrops: Arc<dyn Maildrops>,
    /// For rules by client name; without it every client but loopback is unknown.
    pub dns: Option<Arc<dyn Dns>>,
    /// Who hears of it.
    pub events: Arc<dyn Events>,
    /// Who hears of logins, for relaying from their addresses.
    pub roaming: Option<Arc<dyn Roaming>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Certificates; `None`: no TLS at all.
    pub tls: Option<Arc<ServerTls>>,
    /// Wrong passwords of the whole house.
    pub throttle: Arc<LoginThrottle>,
    /// True asks sessions to end at the next command.
    pub shutdown: watch::Receiver<bool>,
    /// Blocking reads of large messages at once (twice the cores).
    pub reads: Arc<Semaphore>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("pop3d::Context(..)")
    }
}

/// Serves one connection to its end. Never fails: what happened is told by one event, even when the task is cancelled or panics.
pub async fn serve(accepted: Accepted, mode: TlsMode, context: Arc<Context>) {
    let Accepted { stream, peer, permit } = accepted;
    let config = context.config.get();
    let mut record = Record::new(&context, mode, permit.session(), peer.ip());
    // Boxed: its room is not carried through the whole session.
    let (dns, events) = (context.dns.as_deref(), context.events.as_ref());
    let judged = Box::pin(postino_net::access::judge(&context.config, Service::Pop3, peer.ip(), dns, events)).await;
    if !judged.may_enter() {
        record.end = Some(End::Denied);
        return;
    }
    let settings = settings(&config, mode, peer.ip(), &context);
    let limits = &config.server.limits;
    let mut shell = Shell {
        wire: Wire::new(stream, limits.idle_before_login.min(STRANGER_WRITE)),
        session: Session::new(settings),
        maildrop: None,
        out: Vec::new(),
        shutdown: context.shutdown.clone(),
        idle_before_login: limits.idle_before_login,
        idle: limits.pop3_idle,
        connected: Instant::now(),
        line_since: Instant::now(),
        peer: peer.ip(),
        record,
        permit,
        context,
    };
    drop(config);
    let end = match shell.run(mode).await {
        Ok(end) | Err(end) => end,
    };
    shell.part(end).await;
}

/// A connection with its session.
struct Shell {
    wire: Wire,
    session: Session,
    maildrop: Option<Box<dyn maildrop::Drop>>,
    /// Replies not written yet: those to a pipelined batch go out together.
    out: Vec<u8>,
    shutdown: watch::Receiver<bool>,
    idle_before_login: Duration,
    idle: Duration,
    connected: Instant,
    /// Since when the present line is waited for.
    line_since: Instant,
    peer: IpAddr,
    record: Record,
    permit: ConnectionPermit,
    context: Arc<Context>,
}

impl Shell {
    async fn run(&mut self, mode: TlsMode) -> Result<End, End> {
        if mode == TlsMode::Implicit {
            self.start_tls().await?;
        }
        self.session.greeting(&mut self.out);
        loop {
            let list = self.maildrop.as_ref().map_or(&[] as &[DropMessage], |d| d.messages());
            match self.session.next(list, &mut self.out) {
                Action::Write => self.write().await?,
                Action::Read => self.read().await?,
                Action::Ask(question) => Box::pin(self.find_out(question)).await,
                Action::Login(attempt) => {
                    self.write().await?;
                    Box::pin(self.login(attempt)).await?;
                }
                Action::StartTls => {
                    self.write().await?;
                    self.start_tls().await?;
                    self.session.secured();
                }
                Action::Send(send) => self.send(send).await?,
                Action::Finish(deleted) => {
                    let not_removed = self.finish(deleted).await;
                    self.session.finished(not_removed, &mut self.out);
                    return Ok(End::Quit);
                }
                Action::Close(Reason::Quit) => return Ok(End::Quit),
                Action::Close(Reason::Errors) => return Ok(End::Errors),
                Action::Close(Reason::Commands) => return Ok(End::Limit),
            }
        }
    }

    /// The last words, and the end of the connection.
    async fn part(mut self, end: End) {
        match end {
            End::Limit => self.out.extend_from_slice(b"-ERR [SYS/TEMP] too many connections, try again later\r\n"),
            End::Shutdown => {
                self.out.extend_from_slice(b"-ERR [SYS/TEMP] the server is shutting down\r\n");
            }
            // RFC 1939 3: an idle client is left without a word.
            End::Quit | End::Errors | End::Timeout | End::Closed | End::Tls | End::Denied => {}
        }
        if matches!(end, End::Limit | End::Shutdown) {
            self.wire.write_limit = FAREWELL;
        }
        let speaks = !matches!(end, End::Timeout | End::Closed | End::Tls | End::Denied);
        let written = speaks && self.write().await.is_ok();
        let Self { mut wire, mut record, permit, .. } = self;
        record.bytes = wire.sent;
        record.end = Some(end);
        drop(record);
        // Who has to make room makes it now; the others are waited for, so that the last reply arrives.
        if written && matches!(end, End::Quit | End::Errors) {
            wire.close().await;
        }
        drop(permit);
    }

    async fn write(&mut self) -> Result<(), End> {
        if !self.out.is_empty() {
            self.wire.write(&self.out).await?;
            self.out.clear();
            self.line_since = Instant::now();
        }
        Ok(())
    }

    /// Reads once. Bytes that drip in do not prolong the time for a line, nor lines the time for a login.
    async fn read(&mut self) -> Result<(), End> {
        self.write().await?;
        if self.out.capacity() > OUTPUT_BYTES_KEPT {
            self.out = Vec::new();
        }
        let logged_in = self.session.is_logged_in();
        let deadline = self.deadline(logged_in);
        let mut buffer = [0u8; READ_BYTES];
        let count = tokio::select! {
            biased;
            count = self.wire.read(&mut buffer) => count?,
            _ = self.shutdown.wait_for(|&stop| stop) => return Err(End::Shutdown),
            () = self.permit.evicted(), if !logged_in => return Err(End::Limit),
            () = tokio::time::sleep_until(deadline) => return Err(End::Timeout),
        };
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Err(End::Closed);
        }
        self.session.feed(bytes);
        buffer.fill(0);
        Ok(())
    }

    fn deadline(&self, logged_in: bool) -> Instant {
        if logged_in {
            return self.line_since + self.idle;
        }
        let login = self.connected + self.idle_before_login;
        if self.permit.under_stress() { login.min(self.line_since + STRESS_IDLE) } else { login }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let Some(tls) = self.context.tls.clone() else { return Err(End::Tls) };
        // Boxed: the handshake's room is not carried through the whole session.
        let handshake = Box::pin(self.wire.start_tls(&tls));
        tokio::select! {
            biased;
            done = handshake => done.map_err(|_| End::Tls)?,
            () = self.permit.evicted() => return Err(End::Tls),
        }
        self.record.tls = self.wire.tls_version();
        Ok(())
    }

    /// QUIT after a login: how many messages could not be removed.
    async fn finish(&mut self, deleted: Vec<usize>) -> usize {
        let Some(maildrop) = self.maildrop.take() else { return 0 };
        let count = deleted.len();
        match maildrop.finish(deleted).await {
            Ok(not_removed) => not_removed,
            Err(error) => {
                self.record.warn("cannot remove messages", &error.to_string());
                count
            }
        }
    }
}

fn settings(config: &Config, mode: TlsMode, peer: IpAddr, context: &Context) -> Settings {
    let local = peer.is_loopback() && config.server.plaintext_login_from_loopback;
    let tls = match mode {
        TlsMode::Implicit => Tls::Active,
        TlsMode::Stls if context.tls.is_some() => Tls::Offered,
        TlsMode::Stls => Tls::Unavailable,
    };
    Settings {
        stamp: stamp(&config.me, context.clock.now().secs()),
        line_bytes_max: config.server.limits.line_bytes_max.max(512),
        errors_max: config.server.limits.errors_max.max(1),
        tls,
        mechanisms: config.mechanisms(),
        clear_passwords: if local { ClearPasswords::Allowed } else { ClearPasswords::Refused },
    }
}

/// RFC 1939 7: unique for ever; 128 random bits, so that nobody can make a client answer a stamp of his choice twice.
fn stamp(me: &str, now_s: i64) -> Vec<u8> {
    let mut random = [0u8; 16];
    if getrandom::fill(&mut random).is_err() {
        // Without randomness pid, time and a counter still never repeat.
        static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        random = u128::from(count).to_be_bytes();
    }
    let host: String = me.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '<' | '>' | '@')).collect();
    let random = u128::from_be_bytes(random);
    format!("<{}.{now_s}.{random:032x}@{host}>", std::process::id()).into_bytes()
}
