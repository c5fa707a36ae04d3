//! A directory and mailboxes in memory, and the shell on a loopback socket.

use postino_control::{Config, Live};
use postino_net::listener::{accept_loop, bind};
use postino_net::{ConnectionLimits, ListenerSettings, LoginThrottle, ServerTls};
use postino_pop3d::{Context, TlsMode, serve};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::clock::Clock;
use postino_ports::directory::{Credentials, Directory, Login, LookupError, Mailbox, Resolution, ScramHash, ScramParameters, Secret};
use postino_ports::event::{Event, Events};
use postino_ports::maildrop::{Drop, DropMessage, MaildropError, Maildrops};
use postino_types::{Address, Time};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// Who is known: `user@example.org`, password `se same`; APOP digest all `a`.
pub fn check(login: &[u8], secret: &Secret) -> Result<Login, LookupError> {
    if login == b"down@example.org" {
        return Err(LookupError { what: "the disk is gone".into() });
    }
    let known = [&b"user@example.org"[..], b"lost@example.org"].contains(&login);
    let good = match secret {
        Secret::Plain(password) => password == b"se same",
        Secret::Apop { stamp, digest } => {
            assert!(stamp.starts_with(b"<") && stamp.ends_with(b">"));
            digest == &[b'a'; 32]
        }
        Secret::Scram { hash, message, proof } => scram_keys(*hash).proves(*hash, message, proof),
        Secret::CramMd5 { challenge, digest } => postino_sasl::cram::respond(b"se same", challenge).as_bytes() == digest,
        Secret::Bearer(token) => token == b"good",
    };
    let address = String::from_utf8_lossy(login).into_owned();
    let mailbox = Mailbox { home: "/".into(), maildir: address.clone().into(), address, uid: 1, gid: 1, quota: String::new(), flags: 0 };
    Ok(if known && good { Login::Granted(mailbox) } else { Login::Denied })
}

/// The keys of everybody's password.
pub fn scram_keys(hash: ScramHash) -> postino_sasl::scram::Keys {
    postino_sasl::scram::Keys::derive(hash, b"se same", b"salt", 4096)
}

/// What the directory says of anybody.
pub fn scram(hash: ScramHash) -> ScramParameters {
    ScramParameters { salt: b"salt".to_vec(), iterations: 4096, server_key: scram_keys(hash).server }
}

/// (octets, uidl) as the store would count them.
pub fn listed(mail: &[String]) -> Vec<DropMessage> {
    let octets = |text: &str| {
        let end = if text.is_empty() || text.ends_with('\n') { 0 } else { 2 };
        (text.len() + text.matches('\n').count() - text.matches("\r\n").count() + end) as u64
    };
    mail.iter().enumerate().map(|(i, text)| DropMessage { octets: octets(text), uidl: format!("uid-{}", i + 1) }).collect()
}

/// All mailboxes share this mail; removed ones are noted.
#[derive(Default)]
pub struct Mail {
    pub texts: Vec<String>,
    pub removed: Vec<usize>,
    pub finished: usize,
    /// Removal fails.
    pub broken: bool,
}

pub struct Fake {
    pub mail: Mutex<Mail>,
    pub events: mpsc::Sender<String>,
    started: Instant,
}

impl Directory for Fake {
    fn resolve<'a>(&'a self, _: &'a Address) -> BoxFuture<'a, Result<Resolution, LookupError>> {
        Box::pin(async { Err(LookupError { what: "not asked here".into() }) })
    }
    fn authenticate(&self, c: Credentials) -> BoxFuture<'_, Result<Login, LookupError>> {
        Box::pin(async move { check(&c.login, &c.secret) })
    }
    fn scram(&self, _login: Vec<u8>, hash: ScramHash) -> BoxFuture<'_, Result<ScramParameters, LookupError>> {
        Box::pin(async move { Ok(scram(hash)) })
    }
}

struct FakeDrop {
    texts: Vec<String>,
    list: Vec<DropMessage>,
    house: Arc<Fake>,
}

impl Drop for FakeDrop {
    fn messages(&self) -> &[DropMessage] {
        &self.list
    }
    fn open(&self, index: usize) -> BoxFuture<'_, Result<Body, MaildropError>> {
        let text = self.texts[index].clone();
        Box::pin(async move {
            if text.contains("unreadable") {
                return Err(std::io::Error::other("unreadable").into());
            }
            if text.len() < 65_536 {
                return Ok(Body::Memory(text.into()));
            }
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
            Ok(Body::File { file: Arc::new(file), start: 0, bytes: text.len() as u64 })
        })
    }
    fn finish(self: Box<Self>, deleted: Vec<usize>) -> BoxFuture<'static, Result<usize, MaildropError>> {
        Box::pin(async move {
            let mut mail = self.house.mail.lock().unwrap();
            mail.finished += 1;
            if mail.broken {
                return Ok(deleted.len());
            }
            mail.removed.extend(deleted);
            Ok(0)
        })
    }
}

struct Drops(Arc<Fake>);

impl Maildrops for Drops {
    fn open<'a>(&'a self, mailbox: &'a Mailbox) -> BoxFuture<'a, Result<Box<dyn Drop>, MaildropError>> {
        Box::pin(async move {
            if mailbox.address.starts_with("lost") {
                return Err(MaildropError::Missing("nowhere".into()));
            }
            let texts = self.0.mail.lock().unwrap().texts.clone();
            Ok(Box::new(FakeDrop { list: listed(&texts), texts, house: Arc::clone(&self.0) }) as Box<dyn Drop>)
        })
    }
}

impl Events for Fake {
    fn emit(&self, event: &Event<'_>) {
        let line = match event {
            Event::SessionEnded { service, login, tls, messages, reason, .. } => {
                format!("end {service} {login} {tls} {messages} {reason}")
            }
            Event::Login { login, granted, .. } => format!("login {login} {granted}"),
            _ => return,
        };
        let _ = self.events.try_send(line);
    }
}

impl Clock for Fake {
    fn now(&self) -> Time {
        Time::from_secs(1_700_000_000)
    }
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

pub struct House {
    pub fake: Arc<Fake>,
    pub address: SocketAddr,
    pub events: mpsc::Receiver<String>,
    pub limits: Arc<ConnectionLimits>,
    pub stop: watch::Sender<bool>,
    pub server: JoinHandle<std::io::Result<()>>,
}

/// What a test changes.
pub struct Plan {
    pub mail: Vec<String>,
    pub mode: TlsMode,
    pub tls: Option<Arc<ServerTls>>,
    pub config: fn(&mut Config),
    pub connections: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { mail: Vec::new(), mode: TlsMode::Stls, tls: None, config: |_| {}, connections: 0 }
    }
}

impl House {
    pub fn start(plan: Plan) -> Self {
        let (sender, events) = mpsc::channel(1000);
        let mail = Mutex::new(Mail { texts: plan.mail, ..Mail::default() });
        let fake = Arc::new(Fake { mail, events: sender, started: Instant::now() });
        let mut config = Config { me: "mail.example.org".into(), ..Config::default() };
        config.server.limits.failed_logins_per_minute = 0;
        (plan.config)(&mut config);
        let (stop, shutdown) = watch::channel(false);
        let context = Arc::new(Context {
            throttle: Arc::new(LoginThrottle::new(config.server.limits.failed_logins_per_minute)),
            config: Live::new(config),
            dns: None,
            directory: fake.clone(),
            maildrops: Arc::new(Drops(fake.clone())),
            events: fake.clone(),
            clock: fake.clone(),
            tls: plan.tls,
            roaming: None,
            shutdown: shutdown.clone(),
            reads: Arc::new(Semaphore::new(4)),
        });
        let limits = ConnectionLimits::new(plan.connections, 0);
        let settings = ListenerSettings { name: "pop3", limits: limits.clone(), refusal: Vec::new() };
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mode = plan.mode;
        let handler = Arc::new(move |accepted| -> BoxFuture<'static, ()> { Box::pin(serve(accepted, mode, context.clone())) });
        let server = tokio::spawn(accept_loop(listener, settings, shutdown, handler));
        Self { fake, address, events, limits, stop, server }
    }

    pub async fn connect(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Waits for the event that begins so.
    pub async fn event(&mut self, start: &str) -> String {
        let wait = async {
            loop {
                let event = self.events.recv().await.unwrap();
                if event.starts_with(start) {
                    return event;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("no event {start}"))
    }

    pub fn removed(&self) -> Vec<usize> {
        self.fake.mail.lock().unwrap().removed.clone()
    }
}

/// A client that reads lines; every wait ends.
pub struct Client<S> {
    pub stream: S,
    rest: Vec<u8>,
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, rest: Vec::new() }
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line without its CRLF; `None` at the end of the connection.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.rest.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..at + 2).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            let mut buffer = [0u8; 4096];
            let read = self.stream.read(&mut buffer);
            match tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer in time") {
                Ok(0) | Err(_) => {
                    assert!(self.rest.is_empty(), "half a line: {:?}", String::from_utf8_lossy(&self.rest));
                    return None;
                }
                Ok(n) => self.rest.extend_from_slice(&buffer[..n]),
            }
        }
    }

    pub async fn expect(&mut self, start: &str) -> String {
        let line = self.line().await.unwrap_or_else(|| panic!("closed instead of {start:?}"));
        assert!(line.starts_with(start), "got {line:?}, wanted {start:?}");
        line
    }

    /// Sends a command and takes its first line.
    pub async fn ask(&mut self, command: &str, start: &str) -> String {
        self.send(&format!("{command}\r\n")).await;
        self.expect(start).await
    }

    /// Greeting and login.
    pub async fn login(&mut self) {
        self.expect("+OK <").await;
        self.ask("USER user@example.org", "+OK").await;
        self.ask("PASS se same", "+OK ").await;
    }

    /// The lines up to the lone dot, dots undone.
    pub async fn lines(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            match self.line().await.expect("the dot").as_str() {
                "." => return all,
                line => all.push(line.strip_prefix('.').unwrap_or(line).to_owned()),
            }
        }
    }
}
