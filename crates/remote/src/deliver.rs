//! `Deliver` for remote recipients: the route, the groups of recipients that may share a transaction, the outcomes in order. Called by
//! `send` through the port; the conversation itself is `transact`'s.

use crate::message::Message;
use crate::mx;
use crate::open::Manner;
use crate::own::OwnAddresses;
use crate::pool::Pool;
use crate::remembered::Remembered;
use crate::report;
use crate::route::{Route, find_route, to_host_name};
use crate::tls::{RelayTrust, TlsClients, TrustError};
use crate::transact::{Plan, transact, transact_on};
use crate::turned::{Slot, TurnedConnections};
use crate::{connection::Timeouts, verp};
use postino_control::{Config, Live};
use postino_ports::BoxFuture;
use postino_ports::clock::Clock;
use postino_ports::deliver::{Deliver, Job};
use postino_ports::dns::Dns;
use postino_ports::event::Events;
use postino_smtp::client::{Credentials, Login, TlsWish, Transaction, TransactionRecipient, check_recipient, check_sender};
use postino_types::{Address, BodyKind, DeliveryOutcome, Envelope, Recipient, ReversePath};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Submission under TLS from the first byte (RFC 8314 3.3): a smarthost on this port gets no STARTTLS.
const IMPLICIT_TLS_PORT: u16 = 465;

/// What remote delivery is made of.
pub struct RemoteParts {
    /// Configuration in force.
    pub live: Live,
    /// Resolver.
    pub dns: Arc<dyn Dns>,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Hears of TLS that failed.
    pub events: Arc<dyn Events>,
    /// Whom a login at a smarthost trusts.
    pub relay_trust: RelayTrust,
}

/// Connections at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCount {
    /// All that are open.
    pub open: usize,
    /// Those of them that rest.
    pub idle: usize,
}

pub(crate) struct Shared {
    pub(crate) dns: Arc<dyn Dns>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) tls: TlsClients,
    pub(crate) pool: Pool,
    pub(crate) remembered: Remembered,
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) turned: TurnedConnections,
}

/// Remote delivery. Needs a tokio runtime with time and I/O when it delivers.
pub struct Remote {
    pub(crate) live: Live,
    pub(crate) shared: Shared,
}

impl Remote {
    /// Builds it; no connection, no file. Fails only when the TLS library refuses its own settings.
    pub fn new(parts: RemoteParts) -> Result<Self, TrustError> {
        let shared = Shared {
            dns: parts.dns,
            clock: parts.clock,
            events: parts.events,
            tls: TlsClients::new(&parts.relay_trust)?,
            pool: Pool::default(),
            remembered: Remembered::default(),
            open: Arc::default(),
            turned: TurnedConnections::default(),
        };
        Ok(Self { live: parts.live, shared })
    }

    /// Open and idle connections.
    #[must_use]
    pub fn connections(&self) -> ConnectionCount {
        ConnectionCount { open: self.shared.open.load(Ordering::Relaxed), idle: self.shared.pool.idle() }
    }

    /// Every address is worth an attempt again (as qmail-tcpok(8)); for an administrator's retry.
    pub fn forget_down(&self) {
        self.shared.remembered.forget_down();
    }

    /// Mail of this link tries every address again; that of a link without a fixed server goes to the address that called.
    pub fn link_is_up(&self, link: &Arc<str>, caller: Option<IpAddr>) {
        self.shared.remembered.link_is_up(Arc::clone(link), caller, self.shared.clock.monotonic());
    }

    /// Says QUIT on all idle connections; for a clean stop.
    pub async fn close(&self) {
        self.shared.pool.close().await;
    }

    async fn run(&self, job: Job) -> Vec<DeliveryOutcome> {
        let config = self.live.get();
        let envelope = &job.entry.envelope;
        let mut outcomes: Vec<Option<DeliveryOutcome>> = Vec::with_capacity(job.recipients.len());
        let mut todo: Vec<(usize, &Recipient)> = Vec::with_capacity(job.recipients.len());
        for (n, &index) in job.recipients.iter().enumerate() {
            let recipient = envelope.recipients.get(index);
            let refusal = refusal(envelope, recipient);
            if let (None, Some(recipient)) = (&refusal, recipient) {
                todo.push((n, recipient));
            }
            outcomes.push(refusal);
        }
        if !todo.is_empty() {
            let results = self.run_speakable(&config, &job, &todo).await;
            for ((n, _), outcome) in todo.iter().zip(results) {
                if let Some(slot) = outcomes.get_mut(*n) {
                    *slot = Some(outcome);
                }
            }
        }
        outcomes.into_iter().map(|o| o.unwrap_or_else(|| report::internal("Recipient was left out. (#4.3.0)\n"))).collect()
    }

    async fn run_speakable(&self, config: &Arc<Config>, job: &Job, todo: &[(usize, &Recipient)]) -> Vec<DeliveryOutcome> {
        let all = |outcome: DeliveryOutcome| vec![outcome; todo.len()];
        let host = todo.first().and_then(|(_, r)| r.routed.address.host()).unwrap_or_default();
        if let Some(link) = config.links.of_host(host) {
            match self.shared.turned.slot(&link.name) {
                Some(slot) => return self.run_turned(config, job, todo, &slot).await,
                None if link.is_turned() => return all(report::no_connection(None)),
                None => {}
            }
        }
        let Some(route) = self.route(config, host) else { return all(report::no_connection(None)) };
        let remote = &config.server.remote;
        let own = OwnAddresses { configured: &remote.own_addresses, allow_loopback: remote.allow_loopback };
        let targets = match mx::resolve(&*self.shared.dns, &route, own).await {
            Ok(targets) => targets,
            Err(outcome) => return all(outcome),
        };
        let Ok(message) = Message::examine(&job.entry, job.body.clone(), config).await else {
            return all(report::internal("Unable to read message. (#4.3.0)\n"));
        };
        let mut plan = plan(config, &route, targets);
        if let Some(link) = config.links.of_host(host) {
            // A link was made for many messages over one connection.
            plan.messages_max = usize::MAX;
            plan.link = Some(Arc::clone(&link.name));
        }
        let envelope = &job.entry.envelope;
        let group_max = if verp::is_verp(&envelope.sender) { 1 } else { remote.recipients_max.max(1) };
        let mut outcomes = Vec::with_capacity(todo.len());
        while let Some(rest) = todo.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let group = rest.get(..group_max.min(rest.len())).unwrap_or(rest);
            let transaction = transaction(config, envelope, group, &message);
            match transact(&self.shared, &plan, &message, &transaction).await {
                Ok(some) if !some.is_empty() => outcomes.extend(some),
                Ok(_) => outcomes.push(report::internal("No outcome. (#4.3.0)\n")),
                Err(outcome) => outcomes.resize(todo.len(), outcome),
            }
        }
        outcomes
    }
}

impl Remote {
    /// `None`: the host's mail goes to whoever calls, and nobody has.
    fn route(&self, config: &Config, host: &[u8]) -> Option<Route> {
        let link = config.links.of_host(host);
        let Some((link, port)) = link.and_then(|link| Some((link, link.caller_port?))) else { return Some(find_route(config, host)) };
        let ip = self.shared.remembered.caller(&link.name)?.to_canonical();
        let relay = if ip.is_ipv4() { ip.to_string() } else { format!("[{ip}]") };
        Some(Route::Relay { relay, port, auth: None })
    }

    /// Over a connection that the other side made.
    async fn run_turned(&self, config: &Arc<Config>, job: &Job, todo: &[(usize, &Recipient)], slot: &Slot) -> Vec<DeliveryOutcome> {
        let Ok(message) = Message::examine(&job.entry, job.body.clone(), config).await else {
            return vec![report::internal("Unable to read message. (#4.3.0)\n"); todo.len()];
        };
        let envelope = &job.entry.envelope;
        let group_max = if verp::is_verp(&envelope.sender) { 1 } else { config.server.remote.recipients_max.max(1) };
        let mut held = slot.lock().await;
        let mut outcomes = Vec::with_capacity(todo.len());
        while let Some(rest) = todo.get(outcomes.len()..).filter(|rest| !rest.is_empty()) {
            let group = rest.get(..group_max.min(rest.len())).unwrap_or(rest);
            let transaction = transaction(config, envelope, group, &message);
            let Some(connection) = held.take() else {
                outcomes.resize(todo.len(), report::no_connection(None));
                break;
            };
            let (some, connection) = transact_on(connection, &message, &transaction).await;
            *held = connection;
            match some {
                some if !some.is_empty() => outcomes.extend(some),
                _ => outcomes.push(report::internal("No outcome. (#4.3.0)\n")),
            }
        }
        outcomes
    }
}

impl Deliver for Remote {
    fn destination(&self, recipient: &Recipient) -> String {
        find_route(&self.live.get(), recipient.routed.address.host().unwrap_or_default()).key()
    }

    fn deliver(&self, job: Job) -> BoxFuture<'_, Vec<DeliveryOutcome>> {
        Box::pin(self.run(job))
    }
}

/// What can be said of a recipient without the network.
fn refusal(envelope: &Envelope, recipient: Option<&Recipient>) -> Option<DeliveryOutcome> {
    let Some(recipient) = recipient else { return Some(report::internal("No such recipient. (#4.3.0)\n")) };
    if let Err(fault) = check_recipient(&recipient.routed.address) {
        return Some(report::bad_recipient(fault));
    }
    if let Err(fault) = check_sender(&envelope.sender) {
        return Some(report::bad_sender(fault));
    }
    envelope.require_tls.then(report::no_verified_tls)
}

/// Our name, and how long we wait.
pub(crate) fn manner_for(config: &Config) -> (String, Timeouts) {
    let helo = if config.helohost.is_empty() { config.me.clone() } else { config.helohost.clone() };
    (helo, Timeouts { connect: config.timeout_connect, remote: config.timeout_remote })
}

fn plan(config: &Config, route: &Route, targets: Vec<mx::Target>) -> Plan {
    let remote = &config.server.remote;
    let opportunistic = if remote.starttls { TlsWish::Opportunistic } else { TlsWish::Never };
    let (port, tls, login) = match route {
        Route::Relay { port, auth, .. } => {
            let login = match auth {
                Some(auth) => Login::With(Credentials { user: auth.user.clone(), password: auth.password.clone() }),
                None => Login::No,
            };
            let tls = match (*port, &login) {
                (IMPLICIT_TLS_PORT, _) => TlsWish::Active,
                (_, Login::With(_)) => TlsWish::Required,
                (_, Login::No) => opportunistic,
            };
            (*port, tls, login)
        }
        Route::Literal(_) | Route::Domain(_) | Route::Impossible => (remote.port, opportunistic, Login::No),
    };
    let (helo, timeouts) = manner_for(config);
    Plan {
        targets,
        port,
        manner: Manner { helo, tls, login, timeouts },
        messages_max: remote.messages_per_connection.max(1),
        idle: remote.idle,
        idle_max: remote.per_destination.max(1),
        link: None,
    }
}

fn transaction(config: &Config, envelope: &Envelope, group: &[(usize, &Recipient)], message: &Message) -> Transaction {
    let sender = match group {
        [(_, only)] => verp::expand(&envelope.sender, &only.routed.address),
        _ => envelope.sender.clone(),
    };
    let sender = match sender {
        ReversePath::Address(address) => {
            let outside = config.masquerade.outside(&address);
            ReversePath::Address(with_a_labels(outside.as_ref().unwrap_or(&address)))
        }
        other => other,
    };
    let recipients: Vec<TransactionRecipient> = group
        .iter()
        .map(|(_, r)| TransactionRecipient { address: with_a_labels(&r.routed.address), notify: r.notify, original: r.original.clone() })
        .collect();
    // SMTPUTF8 only where it is needed (RFC 6531 3.4): an address that no A-label can express, or a header that the sender declared.
    let address_is_utf8 =
        matches!(&sender, ReversePath::Address(a) if a.is_non_ascii()) || recipients.iter().any(|r| r.address.is_non_ascii());
    Transaction {
        sender,
        recipients,
        size_bytes: message.wire_bytes,
        eight_bit: message.eight_bit || envelope.body == BodyKind::EightBit,
        utf8: address_is_utf8 || (envelope.utf8 && message.header_is_utf8),
        dsn: envelope.dsn.clone(),
    }
}

/// A U-label host becomes A-labels: every server understands these.
fn with_a_labels(address: &Address) -> Address {
    let Some(host) = address.host().filter(|host| !host.is_ascii()) else { return address.clone() };
    to_host_name(host).and_then(|name| Address::from_parts(address.local(), name.as_bytes()).ok()).unwrap_or_else(|| address.clone())
}
