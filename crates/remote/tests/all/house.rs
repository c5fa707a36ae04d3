//! What the tests stand on: a fake DNS, a fake clock, messages, and a scripted SMTP server.

use bytes::Bytes;
use postino_control::{Config, Live};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::clock::Clock;
use postino_ports::deliver::{Deliver, Job};
use postino_ports::dns::{Dns, DnsError, Mx};
use postino_ports::event::{Event, Events};
use postino_ports::queue::QueueEntry;
use postino_remote::{RelayTrust, Remote, RemoteParts};
use postino_types::{
    Address, BodyKind, Channel, DeliveryOutcome, DsnWish, Envelope, Notify, Origin, QueueId, Recipient, RecipientState, ReversePath,
    Routed, Time,
};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
pub(crate) struct Zone {
    pub(crate) mx: HashMap<String, Result<Vec<Mx>, DnsError>>,
    pub(crate) addresses: HashMap<String, Result<Vec<IpAddr>, DnsError>>,
}

impl Zone {
    pub(crate) fn mx(mut self, name: &str, records: &[(u16, &str)]) -> Self {
        let records = records.iter().map(|(preference, host)| Mx { preference: *preference, host: (*host).to_owned() }).collect();
        self.mx.insert(name.into(), Ok(records));
        self
    }
    pub(crate) fn a(mut self, name: &str, address: &str) -> Self {
        self.addresses.insert(name.into(), Ok(vec![address.parse().unwrap()]));
        self
    }
}

impl Dns for Zone {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        let answer = self.mx.get(name).cloned().unwrap_or(Err(DnsError::NoName));
        Box::pin(async { answer })
    }
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        let answer = self.addresses.get(name).cloned().unwrap_or(Err(DnsError::NoName));
        Box::pin(async { answer })
    }
    fn ptr(&self, _ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
    fn txt<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
}

/// A clock that stands still unless moved.
#[derive(Default)]
pub(crate) struct StillClock(AtomicU64);

impl StillClock {
    pub(crate) fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Time {
        Time(1_700_000_000_000 + i64::try_from(self.0.load(Ordering::SeqCst)).unwrap())
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Default)]
pub(crate) struct Heard(pub(crate) Mutex<Vec<String>>);

impl Events for Heard {
    fn emit(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

pub(crate) struct House {
    pub(crate) remote: Remote,
    pub(crate) clock: Arc<StillClock>,
    pub(crate) heard: Arc<Heard>,
    pub(crate) live: Live,
}

/// A house whose MX port is `port`, with loopback allowed.
pub(crate) fn house(zone: Zone, port: u16, change: impl FnOnce(&mut Config)) -> House {
    house_trusting(zone, port, RelayTrust::AnyCertificate, change)
}

pub(crate) fn house_trusting(zone: Zone, port: u16, relay_trust: RelayTrust, change: impl FnOnce(&mut Config)) -> House {
    let mut config = Config { me: "me.test".into(), helohost: "me.test".into(), ..Config::default() };
    config.server.remote.port = port;
    config.server.remote.allow_loopback = true;
    config.timeout_connect = Duration::from_secs(5);
    config.timeout_remote = Duration::from_secs(20);
    // A connection with no other mail under way rests a hundredth of it.
    config.server.remote.idle = Duration::from_secs(3600);
    change(&mut config);
    let (clock, heard, live) = (Arc::new(StillClock::default()), Arc::new(Heard::default()), Live::new(config));
    let parts = RemoteParts { live: live.clone(), dns: Arc::new(zone), clock: clock.clone(), events: heard.clone(), relay_trust };
    House { remote: Remote::new(parts).unwrap(), clock, heard, live }
}

pub(crate) fn one_mx(host_address: &str) -> Zone {
    Zone::default().mx("far.test", &[(10, "mx.far.test")]).a("mx.far.test", host_address)
}

pub(crate) fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    let recipients = recipients.iter().map(|r| {
        let address = Address::from_bytes(r.as_bytes()).unwrap();
        let routed = Routed { channel: Channel::Remote, address: address.clone() };
        Recipient { address, routed, notify: Notify::default(), original: None }
    });
    Envelope {
        sender: ReversePath::from_bytes(sender.as_bytes()).unwrap(),
        recipients: recipients.collect(),
        body: BodyKind::SevenBit,
        utf8: false,
        dsn: DsnWish::default(),
        require_tls: false,
    }
}

pub(crate) fn job(envelope: Envelope, body: Body) -> Job {
    let count = envelope.recipients.len();
    let entry = QueueEntry {
        id: QueueId(7),
        envelope,
        origin: Origin::Local { uid: 1000 },
        prepend: Bytes::from_static(b"Received: by me\n"),
        body_bytes: body.len(),
        arrived: Time(0),
        expires: Time(1),
        states: vec![RecipientState::fresh(); count],
        next_at: Time(0),
        held: false,
    };
    Job { entry: Arc::new(entry), body, recipients: (0..count).collect() }
}

pub(crate) fn small(text: &str) -> Body {
    Body::Memory(Bytes::copy_from_slice(text.as_bytes()))
}

impl House {
    /// Delivers a small message from `s@a.test`.
    pub(crate) async fn send(&self, recipients: &[&str]) -> Vec<DeliveryOutcome> {
        self.remote.deliver(job(envelope("s@a.test", recipients), small("Subject: t\n\nbody\n"))).await
    }
}

pub(crate) fn text(outcome: &DeliveryOutcome) -> String {
    match outcome {
        DeliveryOutcome::Delivered { detail, relayed, .. } => format!("K{relayed} {detail}"),
        DeliveryOutcome::Deferred { status, detail, .. } => format!("Z{status} {detail}"),
        DeliveryOutcome::Failed { status, detail } => format!("D{status} {detail}"),
    }
}

pub(crate) async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port on which nobody listens.
pub(crate) async fn dead_port() -> u16 {
    listener().await.1
}

/// What a server saw on one connection: command lines, and bodies as they came (with the final dot).
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) seen: Seen,
    pub(crate) connections: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Answers each line that the client sends: `None` closes. The line `GREET` stands for the connection, `.` for the end of a body.
pub(crate) type Answer = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// A server on loopback that answers as `answer` says.
pub(crate) async fn serve(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Server {
    let (listener, port) = listener().await;
    let (seen, connections) = (Seen::default(), Arc::new(AtomicU64::new(0)));
    let answer: Answer = Arc::new(answer);
    let (s, c) = (seen.clone(), connections.clone());
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            c.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(converse(tcp, s.clone(), answer.clone()));
        }
    });
    Server { port, seen, connections, task }
}

async fn converse(tcp: TcpStream, seen: Seen, answer: Answer) {
    let mut io = BufReader::new(tcp);
    let Some(greeting) = answer("GREET") else { return };
    if io.get_mut().write_all(greeting.as_bytes()).await.is_err() {
        return;
    }
    converse_on(&mut io, seen, answer).await;
}

/// The conversation after the greeting, on any stream.
pub(crate) async fn converse_on<S: AsyncRead + AsyncWrite + Unpin>(io: &mut BufReader<S>, seen: Seen, answer: Answer) {
    loop {
        let mut line = Vec::new();
        if !matches!(io.read_until(b'\n', &mut line).await, Ok(n) if n > 0) {
            return;
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        seen.lock().unwrap().push(line.clone());
        let Some(reply) = answer(&line) else { return };
        if io.get_mut().write_all(reply.as_bytes()).await.is_err() {
            return;
        }
        if line == "DATA" && reply.contains("354") {
            let Some(body) = read_body(io).await else { return };
            seen.lock().unwrap().push(body);
            let Some(reply) = answer(".") else { return };
            if io.get_mut().write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

async fn read_body<S: AsyncRead + Unpin>(io: &mut BufReader<S>) -> Option<String> {
    let mut body = Vec::new();
    loop {
        let start = body.len();
        if !matches!(io.read_until(b'\n', &mut body).await, Ok(n) if n > 0) {
            return None;
        }
        if &body[start..] == b".\r\n" {
            return Some(String::from_utf8_lossy(&body).into_owned());
        }
    }
}

/// A modern, friendly server.
pub(crate) fn friendly(line: &str) -> Option<String> {
    Some(
        match line.split([' ', ':']).next().unwrap_or("") {
            "GREET" => "220 mx.test hello\r\n",
            "EHLO" => "250-mx.test\r\n250-PIPELINING\r\n250-SIZE 100000000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n",
            "DATA" => "354 go\r\n",
            "." => "250 2.0.0 queued as 1\r\n",
            "QUIT" => return None,
            _ => "250 ok\r\n",
        }
        .into(),
    )
}

/// Friendly but for lines that begin with one of these.
pub(crate) fn friendly_but(odd: &'static [(&'static str, &'static str)]) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
    move |line| match odd.iter().find(|(start, _)| line.starts_with(start)) {
        Some((_, "CLOSE")) => None,
        Some((_, reply)) => Some(format!("{reply}\r\n")),
        None => friendly(line),
    }
}

pub(crate) fn on(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
