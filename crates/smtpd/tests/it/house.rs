//! A house for tests: fake queue, fake directory, a clock on tokio's time, recorded events; pipes and sockets to talk over.

use bytes::Bytes;
use postino_control::resolved::ListenerKind;
use postino_control::{Config, Live};
use postino_net::{ConnectionLimits, ListenerSettings, LoginThrottle, ServerTls};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::clock::Clock;
use postino_ports::directory::{
    Credentials, Directory, Login, LookupError, Mailbox, MailboxRoom, Resolution, ScramHash, ScramParameters, Secret,
};
use postino_ports::event::{Event, Events};
use postino_ports::links::{Asked, Asker, Links, Turn};
use postino_ports::queue::{
    AcceptError, AdminAction, BodyWriter, NewEntry, Queue, QueueEntry, QueueStat, Selection, SettleError, Settled, Settlement,
};
use postino_smtpd::{Caller, Context, HeldMail, Transport};
use postino_types::{Address, QueueId, Time};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::watch;

pub const NOW: Time = Time::from_secs(1_795_486_507);

pub struct Stored {
    pub entry: NewEntry,
    pub body: Vec<u8>,
}

impl Stored {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub fn prepend(&self) -> String {
        String::from_utf8(self.entry.prepend.to_vec()).unwrap()
    }
    pub fn recipients(&self) -> Vec<String> {
        self.entry.envelope.recipients.iter().map(|r| String::from_utf8(r.routed.address.as_bytes().to_vec()).unwrap()).collect()
    }
}

type Fault = Option<fn() -> AcceptError>;

#[derive(Default)]
pub struct FakeQueue {
    pub stored: Mutex<Vec<Stored>>,
    pub begin_fault: Mutex<Fault>,
    pub write_fault: Mutex<Fault>,
    pub commit_fault: Mutex<Fault>,
    /// Writers alive now.
    pub open: Mutex<usize>,
}

struct FakeWriter {
    queue: Arc<FakeQueue>,
    bytes: Vec<u8>,
}

impl Drop for FakeWriter {
    fn drop(&mut self) {
        *self.queue.open.lock().unwrap() -= 1;
    }
}

impl BodyWriter for FakeWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<(), AcceptError> {
        if let Some(fault) = *self.queue.write_fault.lock().unwrap() {
            return Err(fault());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
    fn body(&self) -> Result<Body, AcceptError> {
        Ok(Body::Memory(Bytes::copy_from_slice(&self.bytes)))
    }
    fn commit(mut self: Box<Self>, entry: NewEntry) -> BoxFuture<'static, Result<QueueId, AcceptError>> {
        Box::pin(async move {
            if let Some(fault) = *self.queue.commit_fault.lock().unwrap() {
                return Err(fault());
            }
            let mut stored = self.queue.stored.lock().unwrap();
            stored.push(Stored { entry, body: std::mem::take(&mut self.bytes) });
            Ok(QueueId(stored.len() as u64 + 4000))
        })
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        Box::new(())
    }
}

pub struct QueuePort(pub Arc<FakeQueue>);

impl Queue for QueuePort {
    fn begin(&self, _declared: Option<u64>) -> Result<Box<dyn BodyWriter>, AcceptError> {
        if let Some(fault) = *self.0.begin_fault.lock().unwrap() {
            return Err(fault());
        }
        *self.0.open.lock().unwrap() += 1;
        Ok(Box::new(FakeWriter { queue: Arc::clone(&self.0), bytes: Vec::new() }))
    }
    fn due(&self, _max: usize) -> BoxFuture<'_, Vec<Arc<QueueEntry>>> {
        Box::pin(std::future::pending())
    }
    fn park(&self, _id: QueueId, _until: Time) {}
    fn settle(&self, _settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        Box::pin(async { Err(SettleError::Stopping) })
    }
    fn open(&self, _id: QueueId) -> BoxFuture<'_, Result<Option<Body>, SettleError>> {
        Box::pin(async { Ok(None) })
    }
    fn load(&self, _id: QueueId) -> BoxFuture<'_, Result<Option<QueueEntry>, SettleError>> {
        Box::pin(async { Ok(None) })
    }
    fn list(&self, _after: QueueId, _max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, SettleError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn admin(&self, _action: AdminAction, _which: Selection) -> BoxFuture<'_, Result<u64, SettleError>> {
        Box::pin(async { Ok(0) })
    }
    fn stat(&self) -> QueueStat {
        QueueStat::default()
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// `user1`, `user2`, `postmaster` at any local host, with `+tag`; `small` has room for 1000 bytes; `locked` takes nothing; `broken` cannot be looked up; `bug` panics.
pub struct FakeDirectory;

pub fn mailbox(address: &str, flags: u32) -> Mailbox {
    Mailbox {
        address: address.into(),
        home: "/nowhere".into(),
        maildir: "/nowhere/Maildir".into(),
        uid: 89,
        gid: 89,
        quota: "NOQUOTA".into(),
        flags,
    }
}

impl Directory for FakeDirectory {
    fn resolve<'a>(&'a self, routed: &'a Address) -> BoxFuture<'a, Result<Resolution, LookupError>> {
        let local = String::from_utf8_lossy(routed.local()).to_ascii_lowercase();
        let local = local.strip_prefix("virt-").unwrap_or(&local).to_owned();
        Box::pin(async move {
            match local.split('+').next().unwrap_or("") {
                "user1" | "user2" | "postmaster" => Ok(Resolution::Mailbox(mailbox(&local, 0))),
                "small" => Ok(Resolution::Mailbox(Mailbox { quota: "1000S".into(), ..mailbox(&local, 0) })),
                "locked" => Ok(Resolution::Locked { text: "locked".into() }),
                "broken" => Err(LookupError { what: "vpasswd.cdb: input/output error".into() }),
                "bug" => panic!("a bug in the directory"),
                _ => Ok(Resolution::NoMailbox { text: "Sorry, no mailbox here by that name. (#5.1.1)".into() }),
            }
        })
    }
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'_, Result<Login, LookupError>> {
        Box::pin(async move {
            let password = match credentials.secret {
                Secret::Plain(password) => password,
                Secret::Scram { hash, message, proof } if scram_keys(hash).proves(hash, &message, &proof) => b"pw".to_vec(),
                Secret::CramMd5 { challenge, digest } if postino_sasl::cram::respond(b"pw", &challenge).as_bytes() == digest => {
                    b"pw".to_vec()
                }
                Secret::Bearer(token) if token == b"good" => b"pw".to_vec(),
                _ => b"wrong".to_vec(),
            };
            match (credentials.login.as_slice(), password.as_slice()) {
                (b"user1@example.test", b"pw") => Ok(Login::Granted(mailbox("user1@example.test", 0))),
                (b"norelay@example.test", b"pw") => Ok(Login::Granted(mailbox("norelay@example.test", 0x20))),
                (b"away", _) => Err(LookupError { what: "database is away".into() }),
                _ => Ok(Login::Denied),
            }
        })
    }
    fn scram(&self, login: Vec<u8>, hash: ScramHash) -> BoxFuture<'_, Result<ScramParameters, LookupError>> {
        Box::pin(async move {
            if login == b"away" {
                return Err(LookupError { what: "database is away".into() });
            }
            Ok(ScramParameters { salt: b"salt".to_vec(), iterations: 4096, server_key: scram_keys(hash).server })
        })
    }
}

/// The keys of everybody's password `pw`.
pub fn scram_keys(hash: ScramHash) -> postino_sasl::scram::Keys {
    postino_sasl::scram::Keys::derive(hash, b"pw", b"salt", 4096)
}

/// Has a thousand bytes.
struct FakeRoom;

impl MailboxRoom for FakeRoom {
    fn is_full(&self, mailbox: &Mailbox, bytes: u64) -> bool {
        mailbox.quota == "1000S" && bytes > 1000
    }
}

pub struct TestClock(tokio::time::Instant);

impl Clock for TestClock {
    fn now(&self) -> Time {
        NOW
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

#[derive(Default)]
pub struct Recorder(pub Mutex<Vec<String>>);

impl Events for Recorder {
    fn emit(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

pub struct House {
    pub queue: Arc<FakeQueue>,
    pub events: Arc<Recorder>,
    pub context: Context,
    pub stop: watch::Sender<bool>,
    pub peer: SocketAddr,
}

pub fn tls() -> Arc<ServerTls> {
    static TLS: OnceLock<Arc<ServerTls>> = OnceLock::new();
    let make = || {
        let dir = tempfile::tempdir().unwrap();
        let made = postino_net::tls::ensure_self_made(dir.path(), &["mx.example.test".into()], &[], NOW).unwrap();
        Arc::new(ServerTls::new(&[made.identity]).unwrap())
    };
    Arc::clone(TLS.get_or_init(make))
}

pub fn config() -> Config {
    let mut config = Config { me: "mx.example.test".into(), smtpgreeting: "mx.example.test".into(), ..Config::default() };
    config.envnoathost = "mx.example.test".into();
    config.localiphost = "example.test".into();
    config.locals = [b"example.test".to_vec(), b"mx.example.test".to_vec()].into();
    config.virtualdomains.insert(b"virt.test".to_vec(), b"virt".to_vec());
    config.rcpthosts = Some([b"example.test".to_vec(), b"mx.example.test".to_vec(), b"virt.test".to_vec(), b"backup.test".to_vec()].into());
    config
}

/// Mail waits for three.test alone, and whoever comes may have it.
struct FakeLinks;

impl Links for FakeLinks {
    fn ask<'a>(&'a self, _asker: Asker<'a>, node: &'a [u8]) -> BoxFuture<'a, Asked> {
        let asked = match node {
            b"three.test" => Asked::Started(3),
            b"none.test" => Asked::Started(0),
            _ => Asked::NotAllowed,
        };
        Box::pin(async move { asked })
    }
    fn turn<'a>(&'a self, _login: &'a str, _domains: &'a [u8]) -> BoxFuture<'a, Turn> {
        Box::pin(async { Turn::NotAllowed })
    }
    fn connected(&self, _ip: IpAddr) {}
}

impl House {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config();
        change(&mut config);
        let queue = Arc::new(FakeQueue::default());
        let events = Arc::new(Recorder::default());
        let (stop, shutdown) = watch::channel(false);
        let throttle = LoginThrottle::new(config.server.limits.failed_logins_per_minute);
        let context = Context {
            config: Live::new(config),
            queue: Arc::new(QueuePort(Arc::clone(&queue))),
            directory: Arc::new(FakeDirectory),
            room: Some(Arc::new(FakeRoom)),
            events: Arc::clone(&events) as Arc<dyn Events>,
            clock: Arc::new(TestClock(tokio::time::Instant::now())),
            dns: None,
            lists: None,
            tls: Some(tls()),
            throttle: Arc::new(throttle),
            own_addresses: Arc::from([]),
            roaming: None,
            held: Some(Arc::new(HeldMail { links: Arc::new(FakeLinks), turned: None })),
            shutdown,
        };
        Self { queue, events, context, stop, peer: "192.0.2.77:4000".parse().unwrap() }
    }

    /// A pipe to a session; `room` bytes fit into it in each direction (1: every byte is read alone).
    pub fn pipe(&self, kind: ListenerKind, room: usize) -> Client<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(room);
        let caller = Caller { peer: self.peer, local: IpAddr::from([192, 0, 2, 1]), kind, session: 7, permit: None };
        tokio::spawn(postino_smtpd::serve(Pipe { stream: theirs, tls: false }, caller, self.context.clone()));
        Client::new(ours)
    }

    pub async fn connect(&self) -> Client<DuplexStream> {
        let mut client = self.pipe(ListenerKind::Smtp, 1 << 16);
        assert_eq!(client.reply().await, "220 mx.example.test ESMTP\r\n");
        client
    }

    /// EHLO said.
    pub async fn greeted(&self) -> Client<DuplexStream> {
        let mut client = self.connect().await;
        client.say("EHLO client.test", "250").await;
        client
    }

    /// A real listener; its address.
    pub fn listen(&self, kind: ListenerKind) -> SocketAddr {
        let listener = postino_net::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let settings = ListenerSettings { name: "smtp", limits: ConnectionLimits::new(100, 100), refusal: Vec::new() };
        let handler = postino_smtpd::handler(kind, self.context.clone());
        tokio::spawn(postino_net::accept_loop(listener, settings, self.context.shutdown.clone(), handler));
        address
    }

    pub fn count(&self) -> usize {
        self.queue.stored.lock().unwrap().len()
    }

    pub fn last<T>(&self, look: impl FnOnce(&Stored) -> T) -> T {
        look(self.queue.stored.lock().unwrap().last().expect("a message is stored"))
    }

    pub fn told(&self, what: &str) -> Vec<String> {
        self.events.0.lock().unwrap().iter().filter(|e| e.starts_with(what)).cloned().collect()
    }
}

/// The server's end of a pipe; its TLS is pretended.
pub struct Pipe {
    pub stream: DuplexStream,
    pub tls: bool,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Transport for Pipe {
    async fn start_tls(self, _tls: &ServerTls) -> std::io::Result<Self> {
        Ok(Self { tls: true, ..self })
    }
    fn tls_text(&self) -> Option<String> {
        self.tls.then(|| "TLSv1.3 TLS_AES_256_GCM_SHA384".to_owned())
    }
    async fn close(mut self) {
        let _ = self.stream.shutdown().await;
    }
}

/// The client's end.
pub struct Client<S> {
    pub stream: S,
    read: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let mut bytes = bytes.as_ref();
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let mut buffer = [0u8; 4096];
        let mut open = true;
        // A pipe of one byte: replies must be taken while we send. A server that has closed already is judged by its replies.
        while !bytes.is_empty() {
            tokio::select! {
                biased;
                written = writer.write(bytes) => match written {
                    Ok(n) if n > 0 => bytes = &bytes[n..],
                    _ => return,
                },
                read = reader.read(&mut buffer), if open => match read {
                    Ok(n) if n > 0 => self.read.extend_from_slice(&buffer[..n]),
                    _ => open = false,
                },
            }
        }
        let _ = writer.flush().await;
    }

    /// One whole reply, all its lines; empty when the server closed.
    pub async fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.read.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                let line = String::from_utf8(line).unwrap();
                let last = line.as_bytes().get(3) == Some(&b' ');
                reply.push_str(&line);
                if last {
                    return reply;
                }
            }
            let mut buffer = [0u8; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return reply,
                Ok(n) => self.read.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// One line without its end; empty when the server closed.
    pub async fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|&b| b == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return String::from_utf8(line).unwrap().trim_end_matches(['\r', '\n']).to_owned();
            }
            let mut buffer = [0u8; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return String::new(),
                Ok(n) => self.read.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Sends a line; its reply must begin with `want`.
    pub async fn say(&mut self, line: &str, want: &str) -> String {
        self.send(format!("{line}\r\n")).await;
        let reply = self.reply().await;
        assert!(reply.starts_with(want), "{line:?}: {reply:?}, wanted {want}");
        reply
    }

    /// Replies until the server closes.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let reply = self.reply().await;
            if reply.is_empty() {
                return all;
            }
            all.push(reply);
        }
    }

    pub async fn deliver(&mut self, content: &str) -> String {
        self.say("MAIL FROM:<sender@client.test>", "250").await;
        self.say("RCPT TO:<user1@example.test>", "250").await;
        self.say("DATA", "354").await;
        self.send(format!("{content}.\r\n")).await;
        self.reply().await
    }
}

pub fn client_tls() -> tokio_rustls::TlsConnector {
    let provider = postino_net::tls::provider();
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    tokio_rustls::TlsConnector::from(Arc::new(config))
}

pub async fn encrypt<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> std::io::Result<tokio_rustls::client::TlsStream<S>> {
    client_tls().connect("mx.example.test".try_into().unwrap(), stream).await
}

#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
