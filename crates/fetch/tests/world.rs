//! A queue, a fetcher and the accounts of a test.

use postino_control::fetch::{FetchAccount, FetchAuth, FetchProtocol, FetchSecret, FetchTls, FetchTrust};
use postino_control::{Config, Live};
use postino_fetch::{Fetcher, Mode, Outcome, Ports, Secrets, Trouble};
use postino_ports::BoxFuture;
use postino_ports::clock::Clock;
use postino_ports::directory::{Credentials, Directory, Login, LookupError, Resolution};
use postino_ports::dns::{Dns, DnsError, Mx};
use postino_ports::event::Silent;
use postino_ports::queue::{Queue, QueueEntry};
use postino_queue::{QueueOptions, QueueStore};
use postino_types::{Address, QueueId, Time};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) queue: Arc<QueueStore>,
    pub(crate) clock: Arc<MovedClock>,
    pub(crate) live: Live,
    fetcher: Arc<Fetcher>,
}

/// Wall time that tests move on.
#[derive(Default)]
pub(crate) struct MovedClock(pub(crate) AtomicI64);

impl Clock for MovedClock {
    fn now(&self) -> Time {
        Time::from_secs(super::dovecot::now() + self.0.load(Ordering::Relaxed))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct Loopback;

impl Dns for Loopback {
    fn mx<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecord) })
    }
    fn addresses<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
    }
    fn ptr(&self, _: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecord) })
    }
    fn txt<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoRecord) })
    }
}

/// Everybody is here but `nobody`.
struct Everybody;

impl Directory for Everybody {
    fn resolve<'a>(&'a self, routed: &'a Address) -> BoxFuture<'a, Result<Resolution, LookupError>> {
        let is_here = routed.local() != b"nobody";
        Box::pin(async move { Ok(if is_here { Resolution::Discard } else { Resolution::NoMailbox { text: String::new() } }) })
    }
    fn authenticate(&self, _: Credentials) -> BoxFuture<'_, Result<Login, LookupError>> {
        Box::pin(async { Ok(Login::Denied) })
    }
}

/// The secret is the path's last part; a token is the program's name.
struct InTheName;

impl Secrets for InTheName {
    fn secret<'a>(&'a self, account: &'a FetchAccount) -> BoxFuture<'a, Result<zeroize::Zeroizing<Vec<u8>>, String>> {
        let secret = match &account.secret {
            FetchSecret::PasswordFile(path) => path.file_name().unwrap().as_encoded_bytes().to_vec(),
            FetchSecret::TokenCommand(words) => words[0].clone().into_bytes(),
            FetchSecret::PasswordCommand(_) => panic!(),
        };
        Box::pin(async move { Ok(zeroize::Zeroizing::new(secret)) })
    }
}

impl World {
    /// Inside a runtime.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let clock = Arc::new(MovedClock::default());
        let queue = QueueStore::open(QueueOptions {
            dir: dir.path().join("queue"),
            inline_body_bytes: 65536,
            body_memory_bytes: 64 << 20,
            disk_reserve_bytes: 0,
            message_bytes_max: 50 << 20,
            clock: clock.clone(),
        })
        .unwrap();
        let mut config = Config { me: "here.test".into(), ..Config::default() };
        config.locals.insert(b"here.test".to_vec());
        let live = Live::new(config);
        let fetcher = Fetcher::new(Ports {
            queue: queue.clone(),
            config: live.clone(),
            dns: Arc::new(Loopback),
            directory: Arc::new(Everybody),
            clock: clock.clone(),
            events: Arc::new(Silent),
            secrets: Arc::new(InTheName),
            state_dir: dir.path().join("queue/fetch"),
        });
        Self { dir, queue, clock, live, fetcher }
    }

    pub(crate) async fn run(&self, account: &FetchAccount) -> (Outcome, Result<(), Trouble>) {
        self.run_as(account, Mode::Fetch).await
    }

    pub(crate) async fn run_as(&self, account: &FetchAccount, mode: Mode) -> (Outcome, Result<(), Trouble>) {
        let (progress, outcome) = tokio::sync::watch::channel(Outcome::default());
        let result = self.fetcher.run(account, mode, &progress).await;
        (outcome.borrow().clone(), result)
    }

    /// What lies in the queue: entry and body.
    pub(crate) async fn queued(&self) -> Vec<(QueueEntry, Vec<u8>)> {
        let mut out = Vec::new();
        for entry in self.queue.list(QueueId(0), 1000).await.unwrap() {
            let body = self.queue.open(entry.id).await.unwrap().unwrap();
            let mut bytes = Vec::new();
            body.for_each_chunk(|chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .unwrap();
            out.push((entry, bytes));
        }
        out
    }

    /// The bodies alone, sorted.
    pub(crate) async fn bodies(&self) -> Vec<Vec<u8>> {
        let mut bodies: Vec<Vec<u8>> = self.queued().await.into_iter().map(|(_, body)| body).collect();
        bodies.sort();
        bodies
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.path().join("queue/fetch/isp")
    }
}

/// An account on loopback.
pub(crate) fn account(protocol: FetchProtocol, tls: FetchTls, port: u16, user: &str) -> FetchAccount {
    FetchAccount {
        name: "isp".into(),
        protocol,
        host: "mail.test".into(),
        port,
        tls,
        trust: FetchTrust::System,
        user: user.into(),
        auth: FetchAuth::Auto,
        secret: FetchSecret::PasswordFile("/segreto".into()),
        to: Address::from_bytes(b"joe@here.test").unwrap(),
        multidrop: None,
        folders: vec!["INBOX".into()],
        keep_days: None,
        every: None,
        messages_max: 1000,
        idle: Duration::from_secs(20),
    }
}
