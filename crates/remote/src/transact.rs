//! One transaction with the first address that takes it: reuse or open a connection, try the next address while nothing was accepted,
//! one retry when a reused connection turns out dead. Called by `deliver`; says what became of each recipient.

use crate::connection::{Broken, Connection};
use crate::deliver::Shared;
use crate::message::Message;
use crate::mx::Target;
use crate::open::{Manner, OpenError, open};
use crate::pool::{PoolKey, UnderWay};
use crate::report::{self, Duplicate, TransactionReport};
use postino_smtp::client::{Event, Progress, Transaction};
use postino_types::{DeliveryOutcome, Time};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Time for finding an address that answers: a destination with many dead addresses must not hold a delivery for an hour. The next
/// attempt skips those found dead, so the others get their turn.
const SEARCH_MAX: Duration = Duration::from_secs(300);

/// Where a group of recipients goes, and how.
pub(crate) struct Plan {
    /// Addresses, in order, never empty.
    pub(crate) targets: Vec<Target>,
    /// Port.
    pub(crate) port: u16,
    /// How to speak.
    pub(crate) manner: Manner,
    /// Transactions a connection.
    pub(crate) messages_max: usize,
    /// Rest of an idle connection.
    pub(crate) idle: Duration,
    /// Idle connections to one place.
    pub(crate) idle_max: usize,
    /// The link that leads there.
    pub(crate) link: Option<Arc<str>>,
}

enum Ended {
    /// The outcome of the first recipients (all, or as many as the host takes at once).
    Outcomes(Vec<DeliveryOutcome>),
    /// Nothing was accepted or refused: another connection may try.
    Nothing(Broken),
}

/// Runs `transaction`. At least one outcome; fewer than recipients when the host takes no more at once (the caller goes on). The error
/// says that no address took a session: then it is the outcome of every recipient.
pub(crate) async fn transact(
    shared: &Shared,
    plan: &Plan,
    message: &Message,
    transaction: &Transaction,
) -> Result<Vec<DeliveryOutcome>, DeliveryOutcome> {
    let mut trail = Trail::default();
    let began = shared.clock.monotonic();
    let places = plan.targets.iter().map(|target| SocketAddr::new(target.ip, plan.port));
    let _under_way: Vec<UnderWay> = places.map(|place| shared.pool.begin(place)).collect();
    for target in &plan.targets {
        if trail.tried && shared.clock.monotonic().saturating_sub(began) > SEARCH_MAX {
            break;
        }
        let peer = SocketAddr::new(target.ip, plan.port);
        let key = PoolKey {
            peer,
            helo: plan.manner.helo.clone(),
            tls: plan.manner.tls,
            login: PoolKey::login_of(&plan.manner.login, &target.host),
        };
        if let Some(mut connection) = shared.pool.take(&key) {
            connection.set_timeouts(plan.manner.timeouts);
            // A reused connection that died was closed by the server meanwhile: a fresh one decides.
            if let Ended::Outcomes(outcomes) = run(shared, plan, key.clone(), connection, (message, transaction)).await {
                return Ok(outcomes);
            }
        }
        if let Some(until) = shared.remembered.down_until(peer, plan.link.as_deref(), shared.clock.monotonic()) {
            trail.skipped(until);
            continue;
        }
        match open(shared, target, peer, &plan.manner).await {
            Ok(connection) => match run(shared, plan, key, connection, (message, transaction)).await {
                Ended::Outcomes(outcomes) => return Ok(outcomes),
                Ended::Nothing(broken) => trail.failed(report::died(target.ip, &broken, Duplicate::Impossible)),
            },
            Err(OpenError::NoConnection) => trail.tried = true,
            Err(OpenError::NoSession(outcome)) => trail.failed(outcome),
        }
    }
    Err(trail.outcome(shared))
}

async fn run(shared: &Shared, plan: &Plan, key: PoolKey, connection: Connection, mail: (&Message, &Transaction)) -> Ended {
    let (ended, connection) = attempt(connection, mail).await;
    if let Some(connection) = connection {
        give_back(shared, plan, key, connection).await;
    }
    ended
}

/// Runs `transaction` on a connection that there is no other for. The connection comes back while it can be used again.
pub(crate) async fn transact_on(
    connection: Connection,
    message: &Message,
    transaction: &Transaction,
) -> (Vec<DeliveryOutcome>, Option<Connection>) {
    let ip = connection.peer.ip();
    let (ended, connection) = attempt(connection, (message, transaction)).await;
    let outcomes = match ended {
        Ended::Outcomes(outcomes) => outcomes,
        Ended::Nothing(broken) => vec![report::died(ip, &broken, Duplicate::Impossible); transaction.recipients.len()],
    };
    match connection {
        Some(connection) if connection.session.is_reusable() => (outcomes, Some(connection)),
        Some(connection) => {
            connection.quit().await;
            (outcomes, None)
        }
        None => (outcomes, None),
    }
}

/// One transaction; the connection comes back unless it broke.
async fn attempt(mut connection: Connection, mail: (&Message, &Transaction)) -> (Ended, Option<Connection>) {
    let (message, transaction) = mail;
    let ip = connection.peer.ip();
    let offered = connection.session.capabilities().clone();
    let count = offered.recipients_max.unwrap_or(usize::MAX).min(transaction.recipients.len());
    let refused = match offered.size_bytes_max {
        _ if transaction.utf8 && !offered.smtp_utf8 => Some(report::no_smtputf8(ip)),
        Some(bytes_max) if message.stored_bytes > bytes_max => Some(report::too_large(ip, bytes_max)),
        _ => None,
    };
    if let Some(outcome) = refused {
        return (Ended::Outcomes(vec![outcome; transaction.recipients.len()]), Some(connection));
    }
    let reused = connection.messages > 0;
    connection.messages += 1;
    let ended = if count < transaction.recipients.len() {
        let mut part = transaction.clone();
        part.recipients.truncate(count);
        converse(&mut connection, message, &part).await
    } else {
        converse(&mut connection, message, transaction).await
    };
    let progress = connection.session.take_progress();
    let broken = ended.err();
    if is_nothing(&progress, broken.as_ref(), reused) {
        return (Ended::Nothing(broken.unwrap_or(Broken::Closed)), None);
    }
    let report = TransactionReport { ip, progress: &progress, broken: broken.as_ref(), relayed: !offered.dsn };
    (Ended::Outcomes(report.outcomes()), broken.is_none().then_some(connection))
}

/// No word on MAIL: the message never got anywhere. On a reused connection a 421 to MAIL only means that it had rested too long
/// (RFC 5321 3.8).
fn is_nothing(progress: &Progress, broken: Option<&Broken>, reused: bool) -> bool {
    match &progress.mail {
        None => broken.is_some(),
        Some(mail) => reused && mail.code == 421,
    }
}

async fn converse(connection: &mut Connection, message: &Message, transaction: &Transaction) -> Result<(), Broken> {
    connection.session.begin(transaction).map_err(Broken::Protocol)?;
    loop {
        match connection.next_event().await? {
            Event::Done => return Ok(()),
            Event::SendBody => match message.send(connection).await {
                Ok(()) => {}
                // Dropping the connection without a dot is what keeps a half message from being taken for a whole one.
                Err(Broken::Body) => return Err(Broken::Body),
                Err(broken) => {
                    let _ = connection.last_words().await;
                    return Err(broken);
                }
            },
            Event::StartTls | Event::Ready | Event::Refused(_) => return Err(Broken::Closed),
        }
    }
}

async fn give_back(shared: &Shared, plan: &Plan, key: PoolKey, connection: Connection) {
    if !connection.session.is_reusable() || connection.messages >= plan.messages_max {
        connection.quit().await;
    } else if let Some(connection) = shared.pool.put(key, connection, plan.idle, plan.idle_max) {
        connection.quit().await;
    }
}

/// What happened at the addresses so far.
#[derive(Default)]
struct Trail {
    tried: bool,
    last: Option<DeliveryOutcome>,
    earliest: Option<Duration>,
}

impl Trail {
    fn skipped(&mut self, until: Duration) {
        self.earliest = Some(self.earliest.map_or(until, |e| e.min(until)));
    }

    fn failed(&mut self, outcome: DeliveryOutcome) {
        self.tried = true;
        self.last = Some(outcome);
    }

    fn outcome(self, shared: &Shared) -> DeliveryOutcome {
        if let Some(outcome) = self.last {
            return outcome;
        }
        let wait = self.earliest.filter(|_| !self.tried).map(|until| until.saturating_sub(shared.clock.monotonic()));
        let not_before = wait.map(|wait| {
            let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            Time(shared.clock.now().0.saturating_add(millis))
        });
        report::no_connection(not_before)
    }
}
