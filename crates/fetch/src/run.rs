//! One run over one account: connect, list, bring what is new through the queue's door, note it, delete what may be deleted. Called by `fetcher`.
//!
//! The order is the promise: the message is on stable storage in the queue, then the journal says so, then it may be deleted on the other side. A cut
//! at any byte or a crash at any step leaves a message there, here, or in both places; in both, it is known again by its mark.

use crate::connect::Connection;
use crate::header::Header;
use crate::imap::Imap;
use crate::pop3::Pop3;
use crate::sasl::{Credentials, SecretKind};
use crate::secret::Secrets;
use crate::session::{Broken, Event, Item, Listing, Options, Session};
use crate::state::{FAILURES_MAX, Known, State};
use md5::{Digest as _, Md5};
use postino_control::fetch::{FetchAccount, FetchProtocol, FetchSecret, FetchTls};
use postino_control::{Config, Live};
use postino_message::FetchedFrom;
use postino_policy::route::make_recipient;
use postino_ports::clock::Clock;
use postino_ports::directory::{Directory, Resolution};
use postino_ports::dns::Dns;
use postino_ports::event::Events;
use postino_ports::queue::{AcceptError, BodyWriter, NewEntry, Queue};
use postino_types::{BodyKind, DsnWish, Envelope, Origin, PeerInfo, QueueId, Recipient};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Bytes read at once.
const READ_BYTES: usize = 32 * 1024;
/// Entries of the queue looked at in one go.
const PAGE: usize = 500;

/// What runs need.
pub struct Ports {
    /// The one door.
    pub queue: Arc<dyn Queue>,
    /// Configuration.
    pub config: Live,
    /// Names of the servers.
    pub dns: Arc<dyn Dns>,
    /// Which of the named recipients there are.
    pub directory: Arc<dyn Directory>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Operator's view.
    pub events: Arc<dyn Events>,
    /// Passwords.
    pub secrets: Arc<dyn Secrets>,
    /// Where the journals lie.
    pub state_dir: PathBuf,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Fetches.
    Fetch,
    /// Logs in, lists and tells; changes nothing.
    DryRun,
}

/// Why a run came to an early end. Always temporary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// No password.
    #[error("no password: {0}")]
    Secret(String),
    /// The server has no address.
    #[error("{0}: {1}")]
    Name(String, String),
    /// No connection.
    #[error("cannot connect to {0} port {1}: {2}")]
    Connect(IpAddr, u16, String),
    /// The handshake.
    #[error("tls: {0}")]
    Tls(String),
    /// The end came too early.
    #[error("the server closed the connection")]
    Closed,
    /// Nothing came.
    #[error("the server says nothing any more")]
    Silent,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The session.
    #[error(transparent)]
    Session(#[from] Broken),
    /// Our queue.
    #[error("queue: {0}")]
    Queue(String),
    /// Our journal.
    #[error("the journal of fetched messages: {0}")]
    State(String),
    /// A message is larger than the server said, and than is allowed.
    #[error("a message is larger than {0} bytes; it stays there")]
    TooLarge(u64),
    /// The run took too long; the next one goes on.
    #[error("the run took too long; the next one goes on where it ended")]
    TooLong,
}

/// How a run stands, or ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Messages on the server.
    pub listed: usize,
    /// Of these, new ones that are (to be) fetched.
    pub new: usize,
    /// Fetched.
    pub fetched: usize,
    /// Bytes of these.
    pub bytes: u64,
    /// Deleted on the server.
    pub deleted: usize,
    /// Left there: too large, going round in circles, or not to be had.
    pub left: usize,
    /// More is new than one run takes.
    pub more: bool,
    /// The address that answered.
    pub peer: Option<IpAddr>,
}

/// Runs over `account`. `progress` hears how it goes; its last value is the outcome, also after trouble.
pub(crate) async fn run(ports: &Ports, account: &FetchAccount, mode: Mode, progress: &watch::Sender<Outcome>) -> Result<(), Trouble> {
    let state = open_state(ports, account).await?;
    let credentials = credentials(ports, account).await?;
    let connection = Connection::open(account, ports.dns.as_ref()).await?;
    progress.send_modify(|o| o.peer = Some(connection.peer));
    let secret = credentials.secret.clone();
    let options = Options { tls: account.tls, auth: account.auth, credentials };
    let session: Box<dyn Session> = match account.protocol {
        FetchProtocol::Pop3 => Box::new(Pop3::new(options)),
        FetchProtocol::Imap => Box::new(Imap::new(options)),
    };
    let marks = if state.is_unclean && mode == Mode::Fetch { marks_in_queue(ports).await? } else { HashSet::new() };
    let buffer = vec![0u8; READ_BYTES];
    let mut run = Run { ports, account, mode, progress, connection, session, buffer, state: Some(state), marks, deleted: Vec::new() };
    let result = run.whole().await.map_err(|trouble| without_secret(trouble, &secret));
    let certain = !matches!(result, Err(Trouble::Queue(_) | Trouble::State(_)));
    if certain && mode == Mode::Fetch {
        run.with_state(State::end).await?;
    }
    result
}

/// A server may say our own words back to us; the log must not.
fn without_secret(trouble: Trouble, secret: &[u8]) -> Trouble {
    let secret = String::from_utf8_lossy(secret);
    let clean = |text: String| if text.contains(&*secret) { text.replace(&*secret, "...") } else { text };
    match trouble {
        Trouble::Session(Broken::Login(text)) => Trouble::Session(Broken::Login(clean(text))),
        Trouble::Session(Broken::Command(what, text)) => Trouble::Session(Broken::Command(what, clean(text))),
        Trouble::Session(Broken::Bye(text)) => Trouble::Session(Broken::Bye(clean(text))),
        Trouble::Session(Broken::NoMechanism(text)) => Trouble::Session(Broken::NoMechanism(clean(text))),
        other => other,
    }
}

async fn open_state(ports: &Ports, account: &FetchAccount) -> Result<State, Trouble> {
    let (dir, name) = (ports.state_dir.clone(), account.name.clone());
    let opened = tokio::task::spawn_blocking(move || {
        match std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        State::open(&dir.join(name))
    });
    opened.await.map_err(|e| Trouble::State(e.to_string()))?.map_err(|e| Trouble::State(e.to_string()))
}

async fn credentials(ports: &Ports, account: &FetchAccount) -> Result<Credentials, Trouble> {
    let secret = ports.secrets.secret(account).await.map_err(Trouble::Secret)?;
    let kind = if matches!(account.secret, FetchSecret::TokenCommand(_)) { SecretKind::Token } else { SecretKind::Password };
    Ok(Credentials { user: account.user.clone(), secret, kind, server: (account.host.clone(), account.port) })
}

/// Marks of fetched messages that are in the queue: of those that a crash kept out of the journal.
async fn marks_in_queue(ports: &Ports) -> Result<HashSet<Vec<u8>>, Trouble> {
    let (mut marks, mut after) = (HashSet::new(), QueueId(0));
    loop {
        let page = ports.queue.list(after, PAGE).await.map_err(|e| Trouble::Queue(e.to_string()))?;
        let Some(last) = page.last() else { return Ok(marks) };
        after = last.id;
        for entry in &page {
            let words = entry.prepend.split(|b| matches!(b, b' ' | b';'));
            marks.extend(words.filter(|w| w.starts_with(MARK.as_bytes())).map(<[u8]>::to_vec));
        }
    }
}

/// What an id of ours in a Received line begins with.
const MARK: &str = "fetch-";

/// The mark of a message: the same in every run.
fn mark(account: &FetchAccount, scope: &str, uid: &[u8]) -> String {
    let digest =
        Md5::new().chain_update(&account.name).chain_update([0]).chain_update(scope).chain_update([0]).chain_update(uid).finalize();
    let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
    format!("{MARK}{hex}")
}

/// How one message ended.
enum End {
    Fetched(u64),
    /// Why, and how many failures that counts.
    Left(String, u32),
}

struct Run<'a> {
    ports: &'a Ports,
    account: &'a FetchAccount,
    mode: Mode,
    progress: &'a watch::Sender<Outcome>,
    connection: Connection,
    session: Box<dyn Session>,
    buffer: Vec<u8>,
    /// `None` only while a blocking thread has it.
    state: Option<State>,
    marks: HashSet<Vec<u8>>,
    /// Deleted in this session: (scope, uid).
    deleted: Vec<(String, Vec<u8>)>,
}

impl Run<'_> {
    async fn whole(&mut self) -> Result<(), Trouble> {
        self.expect(|e| matches!(e, Event::Ready).then_some(()), "a login").await?;
        if self.mode == Mode::Fetch {
            self.with_state(State::begin).await?;
        }
        for folder in &self.account.folders {
            self.session.list(folder);
            let listing = self.expect(|e| if let Event::Listed(l) = e { Some(l) } else { None }, "a listing").await?;
            self.folder(folder, listing).await?;
        }
        self.session.end();
        self.expect(|e| matches!(e, Event::Ended).then_some(()), "a farewell").await?;
        let deleted = std::mem::take(&mut self.deleted);
        self.progress.send_modify(|o| o.deleted = deleted.len());
        self.with_state(move |state| deleted.iter().try_for_each(|(scope, uid)| state.deleted(scope, std::iter::once(uid.as_slice()))))
            .await
    }

    /// Waits for the next event; does handshakes on the way.
    async fn event(&mut self) -> Result<Event, Trouble> {
        loop {
            match self.session.next_event()? {
                Some(Event::StartTls) => {
                    self.connection.start_tls().await?;
                    self.session.tls_established();
                }
                Some(event) => return Ok(event),
                None => {
                    let output = self.session.output();
                    if !output.is_empty() {
                        self.connection.send(&output).await?;
                    }
                    let n = self.connection.read(&mut self.buffer).await?;
                    self.session.receive(self.buffer.get(..n).unwrap_or_default());
                }
            }
        }
    }

    async fn expect<T>(&mut self, pick: impl FnOnce(Event) -> Option<T>, what: &'static str) -> Result<T, Trouble> {
        let event = self.event().await?;
        pick(event).ok_or(Trouble::Session(Broken::Nonsense(what)))
    }

    /// Does `work` where it may block.
    async fn with_state<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut State) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let mut state = self.state.take().ok_or_else(|| Trouble::State("lost".into()))?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work(&mut state);
            (state, result)
        });
        let (state, result) = done.await.map_err(|e| Trouble::State(e.to_string()))?;
        self.state = Some(state);
        result.map_err(|e| Trouble::State(e.to_string()))
    }

    /// The journal's name of a mailbox: the same account name may one day mean another server.
    fn scope(&self, folder: &str) -> String {
        let FetchAccount { protocol, host, user, .. } = self.account;
        match protocol {
            FetchProtocol::Pop3 => format!("pop3:{user}@{host}"),
            FetchProtocol::Imap => format!("imap:{user}@{host}/{folder}"),
        }
    }

    async fn folder(&mut self, folder: &str, listing: Listing) -> Result<(), Trouble> {
        let scope = self.scope(folder);
        self.progress.send_modify(|o| {
            o.listed = o.listed.saturating_add(listing.items.len());
            o.left = o.left.saturating_add(listing.unusable);
        });
        if self.mode == Mode::Fetch && !listing.partial {
            let name = scope.clone();
            let items = listing.items.clone();
            self.with_state(move |state| {
                let listed: HashMap<&[u8], u64> = items.iter().map(|i| (i.uid.as_slice(), i.size.unwrap_or(0))).collect();
                state.compare(&name, &listed)
            })
            .await?;
        }
        let (new, mut deletable) = self.sort_out(&scope, &listing.items).await?;
        if self.mode == Mode::DryRun {
            return Ok(());
        }
        for item in new {
            self.one(&scope, &item).await?;
            if self.account.keep_days == Some(0) && item.deletable && self.is_fetched(&scope, &item) {
                deletable.push(item);
            }
        }
        self.delete(&scope, deletable).await
    }

    fn is_fetched(&self, scope: &str, item: &Item) -> bool {
        let now = self.ports.clock.now().secs();
        self.state.as_ref().is_some_and(|s| matches!(s.known(scope, &item.uid, now), Known::Fetched(_)))
    }

    /// Which messages are new, and which fetched ones have stayed there long enough.
    async fn sort_out(&mut self, scope: &str, items: &[Item]) -> Result<(Vec<Item>, Vec<Item>), Trouble> {
        let now = self.ports.clock.now().secs();
        let (mut new, mut old, mut left, mut more) = (Vec::new(), Vec::new(), 0usize, false);
        let room = self.account.messages_max.saturating_sub(self.progress.borrow().new);
        for item in items {
            let known = self.state.as_ref().map_or(Known::New, |s| s.known(scope, &item.uid, now));
            match known {
                Known::New if self.marks.contains(mark(self.account, scope, &item.uid).as_bytes()) => self.note(scope, item).await?,
                Known::New if new.len() >= room => more = true,
                Known::New => new.push(item.clone()),
                Known::Paused => left = left.saturating_add(1),
                Known::Fetched(at) => {
                    let day = |days: u32| i64::from(days).saturating_mul(86_400);
                    let is_due = self.account.keep_days.is_some_and(|days| now.saturating_sub(at) >= day(days));
                    if is_due && item.deletable {
                        old.push(item.clone());
                    }
                }
            }
        }
        self.progress.send_modify(|o| {
            o.new = o.new.saturating_add(new.len());
            o.left = o.left.saturating_add(left);
            o.more |= more;
        });
        Ok((new, old))
    }

    /// Notes that a message is in the queue.
    async fn note(&mut self, scope: &str, item: &Item) -> Result<(), Trouble> {
        let (scope, uid, size, now) = (scope.to_owned(), item.uid.clone(), item.size.unwrap_or(0), self.ports.clock.now().secs());
        self.with_state(move |state| state.fetched(&scope, &uid, size, now)).await
    }

    /// Notes failures of a message.
    async fn note_failure(&mut self, scope: &str, item: &Item, times: u32) -> Result<(), Trouble> {
        let (scope, uid, now) = (scope.to_owned(), item.uid.clone(), self.ports.clock.now().secs());
        self.progress.send_modify(|o| o.left = o.left.saturating_add(1));
        self.with_state(move |state| state.failed(&scope, &uid, times, now)).await
    }

    /// One message, whatever comes of it.
    async fn one(&mut self, scope: &str, item: &Item) -> Result<(), Trouble> {
        let config = self.ports.config.get();
        let bytes_max = bytes_max(&config);
        if item.size.is_some_and(|size| size > bytes_max) {
            self.warn(item, &format!("larger than {bytes_max} bytes; it stays there"));
            return self.note_failure(scope, item, FAILURES_MAX).await;
        }
        match self.transfer(scope, item, &config).await {
            Ok(End::Fetched(bytes)) => {
                self.note(scope, item).await?;
                self.progress.send_modify(|o| {
                    o.fetched = o.fetched.saturating_add(1);
                    o.bytes = o.bytes.saturating_add(bytes);
                });
                Ok(())
            }
            Ok(End::Left(why, failures)) => {
                self.warn(item, &why);
                self.note_failure(scope, item, failures).await
            }
            Err(trouble @ Trouble::TooLarge(_)) => {
                self.progress.send_modify(|o| o.more = true);
                self.note_failure(scope, item, FAILURES_MAX).await?;
                Err(trouble)
            }
            // Our own trouble says nothing about the message.
            Err(trouble @ (Trouble::Queue(_) | Trouble::State(_))) => Err(trouble),
            // A message at which a session breaks again and again must not hold up the others.
            Err(trouble) => {
                self.note_failure(scope, item, 1).await?;
                Err(trouble)
            }
        }
    }

    fn warn(&self, item: &Item, why: &str) {
        let uid = postino_types::printable::printable(&item.uid);
        let why = postino_types::printable::printable(why.as_bytes());
        let detail = format!("account={} uid={uid} reason={why}", self.account.name);
        self.ports
            .events
            .emit(&postino_ports::event::Event::Warning { what: "fetch: a message was left on the other server", detail: &detail });
    }

    async fn transfer(&mut self, scope: &str, item: &Item, config: &Config) -> Result<End, Trouble> {
        let bytes_max = bytes_max(config);
        let mut writer = self.ports.queue.begin(item.size).map_err(|e| queue_trouble(&e))?;
        let mut header = Header::default();
        self.session.fetch(item);
        loop {
            match self.event().await? {
                Event::Body(bytes) => {
                    if writer.len().saturating_add(bytes.len() as u64) > bytes_max {
                        return Err(Trouble::TooLarge(bytes_max));
                    }
                    header.feed(&bytes);
                    writer.write(&bytes).map_err(|e| queue_trouble(&e))?;
                }
                Event::Whole => break,
                Event::Refused(why) => return Ok(End::Left(why, 1)),
                _ => return Err(Trouble::Session(Broken::Nonsense("a message"))),
            }
        }
        if writer.is_empty() && item.size.is_some_and(|size| size > 0) {
            return Ok(End::Left("the server sent nothing of it".into(), 1));
        }
        if header.hops() > config.server.limits.hops_max {
            return Ok(End::Left(LOOPS.into(), FAILURES_MAX));
        }
        let bytes = writer.len();
        match self.commit(writer, &header, (scope, item), config).await {
            Ok(_) => Ok(End::Fetched(bytes)),
            // A program before the queue does not want it, nor will it later.
            Err(AcceptError::Refused(why)) => Ok(End::Left(why, FAILURES_MAX)),
            Err(error) => Err(queue_trouble(&error)),
        }
    }

    async fn commit(
        &self,
        writer: Box<dyn BodyWriter>,
        header: &Header,
        (scope, item): (&str, &Item),
        config: &Config,
    ) -> Result<QueueId, AcceptError> {
        let now = self.ports.clock.now();
        let recipient = self.recipient(header, config).await;
        let sender = header.sender();
        let id = mark(self.account, scope, &item.uid);
        let from = FetchedFrom {
            host: &self.account.host,
            protocol: protocol_name(self.account),
            user: &self.account.user,
            local: &config.me,
            id: &id,
            time: now,
        };
        let utf8 = recipient.address.is_non_ascii() || !sender.as_bytes().is_ascii();
        let envelope =
            Envelope { sender, recipients: vec![recipient], body: BodyKind::EightBit, utf8, dsn: DsnWish::default(), require_tls: false };
        let peer = PeerInfo { ip: self.connection.peer.to_string(), helo: self.account.host.clone(), login: None };
        let entry = NewEntry {
            envelope,
            origin: Origin::Smtp(peer),
            prepend: from.build().into(),
            arrived: now,
            expires: now.plus_secs(config.queue_lifetime_s),
        };
        writer.commit(entry).await
    }

    /// Whom the message is for; what a field names that we do not have goes to the account's own address, not back to a stranger.
    async fn recipient(&self, header: &Header, config: &Config) -> Recipient {
        let named = make_recipient(config, &header.recipient(self.account, config));
        if self.account.multidrop.is_none() {
            return named;
        }
        match self.ports.directory.resolve(&named.routed.address).await {
            Ok(Resolution::NoMailbox { .. } | Resolution::Locked { .. }) => make_recipient(config, &self.account.to),
            // What cannot be looked up now is delivery's to find out.
            _ => named,
        }
    }

    async fn delete(&mut self, scope: &str, items: Vec<Item>) -> Result<(), Trouble> {
        if items.is_empty() {
            return Ok(());
        }
        self.session.delete(&items);
        let refused = self.expect(|e| if let Event::Deleted(refused) = e { Some(refused) } else { None }, "a deletion").await?;
        let refused: HashSet<u32> = refused.into_iter().collect();
        let done = items.into_iter().filter(|item| !refused.contains(&item.number));
        self.deleted.extend(done.map(|item| (scope.to_owned(), item.uid)));
        Ok(())
    }
}

const LOOPS: &str = "it goes round in circles (too many Received and Delivered-To lines)";

fn queue_trouble(error: &AcceptError) -> Trouble {
    Trouble::Queue(error.to_string())
}

/// Largest message, as SMTP has it.
fn bytes_max(config: &Config) -> u64 {
    let limit = config.server.limits.message_bytes_max;
    if config.databytes > 0 { limit.min(config.databytes) } else { limit }
}

fn protocol_name(account: &FetchAccount) -> &'static str {
    match (account.protocol, account.tls) {
        (FetchProtocol::Pop3, FetchTls::None) => "POP3",
        (FetchProtocol::Pop3, _) => "POP3S",
        (FetchProtocol::Imap, FetchTls::None) => "IMAP",
        (FetchProtocol::Imap, _) => "IMAPS",
    }
}
