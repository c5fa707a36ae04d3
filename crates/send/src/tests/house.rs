//! A house for tests: a queue in memory, deliveries by script, a clock bound to the runtime's paused time, events as qmail's log lines.

use crate::{Parts, Scheduler};
use bytes::Bytes;
use postino_control::{Config, Live};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::clock::Clock;
use postino_ports::deliver::{Deliver, Job};
use postino_ports::event::{Event, Events};
use postino_ports::queue::*;
use postino_types::printable::report;
use postino_types::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(super) const BIRTH: Time = Time::from_secs(1_795_486_507);

pub(super) struct TestClock {
    start: Instant,
    jump_ms: AtomicI64,
}

impl TestClock {
    pub(super) fn jump(&self, secs: i64) {
        self.jump_ms.fetch_add(secs * 1000, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Time {
        Time(BIRTH.0 + i64::try_from(self.start.elapsed().as_millis()).unwrap() + self.jump_ms.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(1000) + self.start.elapsed()
    }
}

#[derive(Clone)]
pub(super) struct Row {
    pub(super) entry: QueueEntry,
    pub(super) body: Bytes,
    due: Instant,
}

#[derive(Default)]
struct Rows {
    rows: BTreeMap<QueueId, Row>,
    due: BTreeSet<(Instant, QueueId)>,
    next_id: u64,
}

/// The queue in memory. Ok means that it is in `rows`.
pub(super) struct MemQueue {
    rows: Mutex<Rows>,
    wake: Notify,
    clock: Arc<TestClock>,
    /// Settlements that will fail.
    pub(super) failing: AtomicU64,
    pub(super) settlements: AtomicU64,
    pub(super) parks: AtomicU64,
    /// Every message ever made by a settlement.
    pub(super) made: Mutex<Vec<Row>>,
}

impl MemQueue {
    fn new(clock: Arc<TestClock>) -> Self {
        let rows = Mutex::new(Rows { next_id: 1, ..Rows::default() });
        Self {
            rows,
            wake: Notify::new(),
            clock,
            failing: AtomicU64::new(0),
            settlements: AtomicU64::new(0),
            parks: AtomicU64::new(0),
            made: Mutex::new(Vec::new()),
        }
    }

    fn instant(&self, at: Time) -> Instant {
        let ahead = at.0.saturating_sub(self.clock.now().0).max(0);
        Instant::now() + Duration::from_millis(ahead.unsigned_abs())
    }

    pub(super) fn add(&self, new: NewEntry, body: Bytes) -> QueueId {
        let mut rows = self.rows.lock().unwrap();
        let id = QueueId(rows.next_id);
        rows.next_id += 1;
        let states = new.envelope.recipients.iter().map(|_| RecipientState::fresh()).collect();
        let entry = QueueEntry {
            id,
            envelope: new.envelope,
            origin: new.origin,
            prepend: new.prepend,
            body_bytes: body.len() as u64,
            arrived: new.arrived,
            expires: new.expires,
            states,
            next_at: new.arrived,
            held: false,
        };
        let due = Instant::now();
        rows.rows.insert(id, Row { entry, body, due });
        rows.due.insert((due, id));
        self.wake.notify_one();
        id
    }

    pub(super) fn row(&self, id: QueueId) -> Option<Row> {
        self.rows.lock().unwrap().rows.get(&id).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.lock().unwrap().rows.len()
    }

    fn take(&self, max: usize) -> Result<Vec<Arc<QueueEntry>>, Option<Instant>> {
        let mut rows = self.rows.lock().unwrap();
        let mut taken = Vec::new();
        while taken.len() < max {
            match rows.due.first().copied() {
                Some((at, id)) if at <= Instant::now() => {
                    rows.due.pop_first();
                    taken.push(Arc::new(rows.rows[&id].entry.clone()));
                }
                Some((at, _)) if taken.is_empty() => return Err(Some(at)),
                None if taken.is_empty() => return Err(None),
                _ => break,
            }
        }
        Ok(taken)
    }
}

struct MemWriter(Vec<u8>);

impl BodyWriter for MemWriter {
    fn write(&mut self, chunk: &[u8]) -> Result<(), AcceptError> {
        self.0.extend_from_slice(chunk);
        Ok(())
    }
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn body(&self) -> Result<Body, AcceptError> {
        Ok(Body::Memory(Bytes::from(self.0.clone())))
    }
    fn commit(self: Box<Self>, _entry: NewEntry) -> BoxFuture<'static, Result<QueueId, AcceptError>> {
        unreachable!("the scheduler never accepts by itself")
    }
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self
    }
}

impl Queue for MemQueue {
    fn begin(&self, _declared: Option<u64>) -> Result<Box<dyn BodyWriter>, AcceptError> {
        Ok(Box::new(MemWriter(Vec::new())))
    }
    fn due(&self, max: usize) -> BoxFuture<'_, Vec<Arc<QueueEntry>>> {
        Box::pin(async move {
            loop {
                match self.take(max) {
                    Ok(taken) => return taken,
                    Err(None) => self.wake.notified().await,
                    Err(Some(at)) => tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.wake.notified() => {}
                    },
                }
            }
        })
    }
    fn park(&self, id: QueueId, until: Time) {
        self.parks.fetch_add(1, Ordering::SeqCst);
        let at = self.instant(until);
        let mut rows = self.rows.lock().unwrap();
        if let Some(row) = rows.rows.get_mut(&id) {
            row.due = at;
            rows.due.insert((at, id));
        }
        self.wake.notify_one();
    }
    fn settle(&self, settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        Box::pin(async move {
            if self.failing.load(Ordering::SeqCst) > 0 {
                self.failing.fetch_sub(1, Ordering::SeqCst);
                return Err(SettleError::Io("no".into()));
            }
            self.settlements.fetch_add(1, Ordering::SeqCst);
            let Some(mut row) = self.row(settlement.id) else { return Ok(Settled { new: Vec::new(), finished: true }) };
            for (index, state) in settlement.changes {
                assert!(row.entry.states[index].is_pending(), "Q-ONCE: a recipient leaves Pending once");
                row.entry.states[index] = state;
            }
            let mut new = Vec::new();
            for message in settlement.new {
                let body = match message.body {
                    NewBody::Bytes(bytes) => bytes,
                    NewBody::Parent => row.body.clone(),
                    NewBody::Written(writer) => Bytes::from(writer.into_any().downcast::<MemWriter>().unwrap().0),
                };
                let id = self.add(message.entry, body);
                self.made.lock().unwrap().push(self.row(id).unwrap());
                new.push(id);
            }
            let finished = !row.entry.states.iter().any(RecipientState::is_pending);
            let due = settlement.release.map(|at| self.instant(at));
            let mut rows = self.rows.lock().unwrap();
            if finished {
                rows.rows.remove(&settlement.id);
            } else {
                if let Some(at) = due {
                    row.due = at;
                    row.entry.next_at = settlement.release.unwrap();
                    rows.due.insert((at, settlement.id));
                }
                rows.rows.insert(settlement.id, row);
            }
            self.wake.notify_one();
            Ok(Settled { new, finished })
        })
    }
    fn open(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Body>, SettleError>> {
        Box::pin(async move { Ok(self.row(id).map(|row| Body::Memory(row.body))) })
    }
    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Option<QueueEntry>, SettleError>> {
        Box::pin(async move { Ok(self.row(id).map(|row| row.entry)) })
    }
    fn list(&self, after: QueueId, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, SettleError>> {
        let rows = self.rows.lock().unwrap();
        let page = rows.rows.range(QueueId(after.0 + 1)..).take(max).map(|(_, row)| row.entry.clone()).collect();
        Box::pin(async move { Ok(page) })
    }
    fn admin(&self, _action: AdminAction, _which: Selection) -> BoxFuture<'_, Result<u64, SettleError>> {
        let mut rows = self.rows.lock().unwrap();
        let waiting: Vec<QueueId> = rows.due.iter().map(|(_, id)| *id).collect();
        rows.due = waiting.iter().map(|id| (Instant::now(), *id)).collect();
        self.wake.notify_one();
        Box::pin(async move { Ok(waiting.len() as u64) })
    }
    fn stat(&self) -> QueueStat {
        QueueStat::default()
    }
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// What a host or mailbox does.
pub(super) type Script = Arc<dyn Fn(&Recipient) -> (Duration, DeliveryOutcome) + Send + Sync>;

/// Deliveries by script; keeps who was tried when, in seconds after the birth of the house.
pub(super) struct Agent {
    script: Mutex<Script>,
    start: Instant,
    pub(super) tries: Mutex<Vec<(u64, QueueId, Vec<usize>)>>,
    pub(super) running: Mutex<HashMap<String, usize>>,
    pub(super) peak: Mutex<HashMap<String, usize>>,
}

impl Agent {
    fn new(start: Instant) -> Self {
        let script: Script = Arc::new(|_| (Duration::ZERO, DeliveryOutcome::delivered("did 1+0+0\n")));
        Self { script: Mutex::new(script), start, tries: Mutex::default(), running: Mutex::default(), peak: Mutex::default() }
    }
    pub(super) fn plays(&self, script: impl Fn(&Recipient) -> (Duration, DeliveryOutcome) + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }
    /// Every recipient meets this at once.
    pub(super) fn always(&self, outcome: DeliveryOutcome) {
        self.plays(move |_| (Duration::ZERO, outcome.clone()));
    }
    fn enter(&self, host: &str) {
        let mut running = self.running.lock().unwrap();
        let now = running.entry(host.to_owned()).or_default();
        *now += 1;
        let mut peak = self.peak.lock().unwrap();
        let top = peak.entry(host.to_owned()).or_default();
        *top = (*now).max(*top);
    }
    /// Seconds at which an entry was tried.
    pub(super) fn times(&self, id: QueueId) -> Vec<u64> {
        self.tries.lock().unwrap().iter().filter(|t| t.1 == id).map(|t| t.0).collect()
    }
}

impl Deliver for Agent {
    fn destination(&self, recipient: &Recipient) -> String {
        String::from_utf8_lossy(&recipient.routed.address.host_lower()).into_owned()
    }
    fn deliver(&self, job: Job) -> BoxFuture<'_, Vec<DeliveryOutcome>> {
        Box::pin(async move {
            self.tries.lock().unwrap().push((self.start.elapsed().as_secs(), job.entry.id, job.recipients.clone()));
            let first = &job.entry.envelope.recipients[job.recipients[0]];
            let host = self.destination(first);
            self.enter(&host);
            let script = self.script.lock().unwrap().clone();
            let mut outcomes = Vec::new();
            for &index in &job.recipients {
                let (takes, outcome) = script(&job.entry.envelope.recipients[index]);
                if !takes.is_zero() {
                    tokio::time::sleep(takes).await;
                }
                outcomes.push(outcome);
            }
            *self.running.lock().unwrap().get_mut(&host).unwrap() -= 1;
            outcomes
        })
    }
}

/// Events as lines of qmail-send's log.
#[derive(Default)]
pub(super) struct Log(pub(super) Mutex<Vec<String>>);

impl Events for Log {
    fn emit(&self, event: &Event<'_>) {
        let line = match event {
            Event::Queued { id, bytes, sender, .. } => format!("info msg {id}: bytes {bytes} from <{sender}>"),
            Event::DeliveryStarted { number, id, channel, recipient } => {
                let channel = if *channel == Channel::Local { "local" } else { "remote" };
                format!("starting delivery {number}: msg {id} to {channel} {recipient}")
            }
            Event::DeliveryEnded { number, outcome, .. } => match outcome {
                DeliveryOutcome::Delivered { detail, .. } => format!("delivery {number}: success: {}", report(detail.as_bytes())),
                DeliveryOutcome::Deferred { detail, .. } => format!("delivery {number}: deferral: {}", report(detail.as_bytes())),
                DeliveryOutcome::Failed { detail, .. } => format!("delivery {number}: failure: {}", report(detail.as_bytes())),
            },
            Event::Status { local, local_max, remote, remote_max, exiting } => {
                format!("status: local {local}/{local_max} remote {remote}/{remote_max}{}", if *exiting { " exitasap" } else { "" })
            }
            Event::Bounced { id, bounce } => format!("bounce msg {id} -> {bounce}"),
            Event::TripleBounce { id } => format!("triple bounce: discarding bounce/{id}"),
            Event::Ended { id } => format!("end msg {id}"),
            Event::Warning { what, .. } => format!("warning: {what}"),
            Event::Alert { what, .. } => format!("alert: {what}"),
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

pub(super) struct House {
    pub(super) queue: Arc<MemQueue>,
    pub(super) local: Arc<Agent>,
    pub(super) remote: Arc<Agent>,
    pub(super) clock: Arc<TestClock>,
    pub(super) log: Arc<Log>,
    pub(super) config: Live,
    pub(super) scheduler: Arc<Scheduler>,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

pub(super) fn config() -> Config {
    let mut config = Config {
        me: "oracle.test".into(),
        bouncehost: "oracle.test".into(),
        bouncefrom: "MAILER-DAEMON".into(),
        doublebounceto: "postmaster".into(),
        doublebouncehost: "oracle.test".into(),
        envnoathost: "oracle.test".into(),
        locals: [b"oracle.test".to_vec()].into(),
        concurrency_local: 10,
        concurrency_remote: 20,
        queue_lifetime_s: 604_800,
        ..Config::default()
    };
    // concurrencylocal alone: the tests count.
    config.server.limits.mailbox_deliveries = 0;
    config
}

impl House {
    pub(super) fn open(config: Config) -> Self {
        let start = Instant::now();
        let clock = Arc::new(TestClock { start, jump_ms: AtomicI64::new(0) });
        let queue = Arc::new(MemQueue::new(clock.clone()));
        let (local, remote) = (Arc::new(Agent::new(start)), Arc::new(Agent::new(start)));
        let log = Arc::new(Log::default());
        let live = Live::new(config);
        let parts = Parts {
            queue: queue.clone(),
            local: local.clone(),
            remote: remote.clone(),
            config: live.clone(),
            clock: clock.clone(),
            events: log.clone(),
            uid: 7,
            profile: crate::Profile::default(),
            week_minute: Arc::new(week_minute),
        };
        let scheduler = Arc::new(Scheduler::new(parts));
        let (stop, heard) = watch::channel(false);
        let runner = scheduler.clone();
        let task = Some(tokio::spawn(async move { runner.run(heard).await }));
        Self { queue, local, remote, clock, log, config: live, scheduler, stop, task }
    }

    /// Queues a message now, from `sender`.
    pub(super) fn send(&self, sender: &str, recipients: &[&str]) -> QueueId {
        let config = self.config.get();
        let all = recipients.iter().map(|r| postino_policy::make_recipient(&config, &address(r))).collect();
        self.send_to(sender, all, |_| {})
    }

    pub(super) fn send_to(&self, sender: &str, recipients: Vec<Recipient>, adjust: impl FnOnce(&mut NewEntry)) -> QueueId {
        let now = self.clock.now();
        let mut entry = NewEntry {
            envelope: Envelope {
                sender: ReversePath::from_bytes(sender.as_bytes()).unwrap(),
                recipients,
                body: BodyKind::SevenBit,
                utf8: false,
                dsn: DsnWish::default(),
                require_tls: false,
            },
            origin: Origin::Local { uid: 1001 },
            prepend: Bytes::from_static(b"Received: (qmail 1 invoked by uid 1001); now\n"),
            arrived: now,
            expires: now.plus_secs(self.config.get().queue_lifetime_s),
        };
        adjust(&mut entry);
        self.queue.add(entry, Bytes::from_static(b"Subject: t\n\nbody line\n"))
    }

    /// Lets so many seconds pass.
    pub(super) async fn pass(&self, secs: u64) {
        tokio::time::sleep(Duration::from_millis(secs * 1000 + 1)).await;
    }

    /// Asks for a stop and waits for it.
    pub(super) async fn close(&mut self) {
        self.stop.send(true).unwrap();
        self.task.take().unwrap().await.unwrap();
    }

    pub(super) fn ask_to_close(&self) {
        self.stop.send(true).unwrap();
    }

    /// Log lines without the status lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.log.0.lock().unwrap().iter().filter(|l| !l.starts_with("status")).cloned().collect()
    }

    /// Messages made by settlements so far, as text with their prepended lines.
    pub(super) fn made(&self) -> Vec<(QueueEntry, String)> {
        let made = self.queue.made.lock().unwrap();
        made.iter().map(|row| (row.entry.clone(), String::from_utf8([&row.entry.prepend[..], &row.body].concat()).unwrap())).collect()
    }
}

/// As in Greenwich; the epoch was a Thursday.
fn week_minute(at: Time) -> u32 {
    u32::try_from((at.0 / 60_000 + 3 * 1440).rem_euclid(7 * 1440)).unwrap()
}

pub(super) fn address(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}
