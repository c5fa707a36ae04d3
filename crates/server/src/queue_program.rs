//! Programs on the way into the queue: `QMAILQUEUE`, `queue_program` of server.toml, or somebody's own `bin/qmail-queue`. Messages from the
//! network, forwards and bounces go through one before they are accepted; what it hands to our `qmail-queue` comes in by the injection socket,
//! which asks no program again. The program runs below the spawner: this process starts none.

use bytes::Bytes;
use postino_control::{Config, Live};
use postino_local::inject::{LETTER_VARIABLE, RawEnvelope};
use postino_local::queue_child::Answer;
use postino_local::queue_program::{PROGRAM, Refused, VARIABLE, Whose, identity, whose};
use postino_local::spawn_link::{QueueLetter, SpawnLink};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::deliver::{Deliver, Job};
use postino_ports::event::{Event, Events};
use postino_ports::queue::{
    AcceptError, AdminAction, BodyWriter, NewBody, NewEntry, NewMessage, Queue, QueueEntry, QueueStat, Selection, SettleError, Settled,
    Settlement,
};
use postino_types::{Address, DeliveryOutcome, Envelope, Origin, PermStatus, QueueId, Recipient, ReversePath, TempStatus, Time};
use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The program that the administrator named: the variable goes before the setting.
pub(crate) fn named(config: &Config) -> Option<PathBuf> {
    let variable = std::env::var_os(VARIABLE).filter(|name| !name.is_empty()).map(PathBuf::from);
    let setting = Some(&config.server.queue_program).filter(|name| !name.is_empty()).map(PathBuf::from);
    variable.or(setting).map(|program| config.home.join(program))
}

/// All that the spawner may run for the worker.
pub(crate) fn permitted(config: &Config) -> Vec<PathBuf> {
    named(config).into_iter().chain([config.home.join(PROGRAM)]).collect()
}

/// Decides which program a message goes through, and has it run.
pub(crate) struct QueuePrograms {
    link: SpawnLink,
    live: Live,
    events: Arc<dyn Events>,
    named: Option<PathBuf>,
    /// Messages that are with a program now.
    letters: Mutex<HashMap<u64, First>>,
    /// What stood under qmail-queue's name when it was last looked at, and whether it is somebody else's.
    seen: Mutex<(Option<[u64; 4]>, bool)>,
}

impl QueuePrograms {
    pub(crate) fn new(link: SpawnLink, live: Live, events: Arc<dyn Events>) -> Arc<Self> {
        let named = named(&live.get());
        Arc::new(Self { link, live, events, named, letters: Mutex::default(), seen: Mutex::new((None, false)) })
    }

    /// The program for the next message; `None`: straight into the queue. Costs a stat(2) while nothing changes.
    fn program(&self) -> Option<PathBuf> {
        let home = &self.live.get().home;
        let usual = home.join(PROGRAM);
        if let Some(named) = self.named.as_ref().filter(|named| **named != usual) {
            return Some(named.clone());
        }
        let now = identity(home);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != now {
            *seen = (now, now.is_some() && whose(home) == Whose::Others);
        }
        seen.1.then_some(usual)
    }

    /// What comes back from a program under this number gets what the message that went in had.
    pub(crate) fn complete(&self, letter: u64, entry: &mut NewEntry) {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = letters.get(&letter) {
            first.complete(entry);
        }
    }

    fn keep(&self, first: First) -> Kept<'_> {
        // A number that nobody guesses: the keys of a hasher are random.
        let number = RandomState::new().build_hasher().finish();
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).insert(number, first);
        Kept { programs: self, number }
    }

    async fn ask(&self, program: PathBuf, letter: Letter) -> Result<u32, Refused> {
        let mut environment = environment(&letter.origin);
        let origin = letter.origin;
        let kept = letter.wishes.map(|envelope| self.keep(First { envelope, origin }));
        if let Some(kept) = &kept {
            environment.extend_from_slice(format!("{LETTER_VARIABLE}={}\n", kept.number).as_bytes());
        }
        let answer = self.link.run_queue(QueueLetter {
            program: program.into_os_string().into_encoded_bytes(),
            environment,
            envelope: RawEnvelope { sender: letter.sender, recipients: letter.recipients }.encode(),
            prepend: letter.prepend,
            body: letter.body,
        });
        match answer.await {
            (Answer::Taken { pid }, _) => Ok(pid),
            (Answer::Refused(refused), complaint) => {
                if !complaint.is_empty() {
                    self.events.emit(&Event::Warning { what: "a queue program complains", detail: complaint.trim_end() });
                }
                Err(refused)
            }
        }
    }
}

/// A message as it came in: what qmail-queue's envelope cannot say of it.
struct First {
    envelope: Envelope,
    origin: Origin,
}

impl First {
    /// The wishes of the transaction, those of each recipient that is still there, and the client that it came from. A program may queue a note
    /// of its own under the same number: another sender's message did not come from that client.
    fn complete(&self, entry: &mut NewEntry) {
        let (first, envelope) = (&self.envelope, &mut entry.envelope);
        (envelope.body, envelope.utf8, envelope.require_tls) = (first.body, envelope.utf8 || first.utf8, first.require_tls);
        envelope.dsn = first.dsn.clone();
        for recipient in &mut envelope.recipients {
            if let Some(same) = first.recipients.iter().find(|same| same.address == recipient.address) {
                (recipient.notify, recipient.original) = (same.notify, same.original.clone());
            }
        }
        if matches!(self.origin, Origin::Smtp(_)) && envelope.sender == first.sender {
            entry.origin = self.origin.clone();
        }
    }
}

/// A letter's number while its program runs.
struct Kept<'a> {
    programs: &'a QueuePrograms,
    number: u64,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.programs.letters.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// A message for a program.
struct Letter {
    /// The envelope as it came in, with what qmail-queue's cannot say.
    wishes: Option<Envelope>,
    sender: ReversePath,
    recipients: Vec<Address>,
    origin: Origin,
    prepend: Bytes,
    body: Body,
}

impl Letter {
    fn new(entry: NewEntry, body: Body) -> Self {
        let recipients = entry.envelope.recipients.iter().map(|recipient| recipient.address.clone()).collect();
        Self {
            sender: entry.envelope.sender.clone(),
            wishes: Some(entry.envelope),
            recipients,
            origin: entry.origin,
            prepend: entry.prepend,
            body,
        }
    }
}

/// What qmail-smtpd's program would see of the client.
fn environment(origin: &Origin) -> Vec<u8> {
    let Origin::Smtp(peer) = origin else { return Vec::new() };
    let mut lines = format!("TCPREMOTEIP={}\nSMTPHELO={}\n", peer.ip, peer.helo);
    if let Some(login) = &peer.login {
        lines.push_str(&format!("TCPREMOTEINFO={login}\nRELAYCLIENT=\n"));
    }
    lines.into_bytes()
}

/// The queue, for everybody whose messages go through a program when there is one.
pub(crate) struct ThroughProgram {
    inner: Arc<dyn Queue>,
    programs: Arc<QueuePrograms>,
}

impl ThroughProgram {
    pub(crate) fn new(inner: Arc<dyn Queue>, programs: Arc<QueuePrograms>) -> Self {
        Self { inner, programs }
    }

    /// Bounces that a program takes are no longer the settlement's to make; their places are remembered.
    async fn take_bounces(&self, program: PathBuf, settlement: &mut Settlement) -> Result<Vec<Option<QueueId>>, SettleError> {
        let mut places = Vec::with_capacity(settlement.new.len());
        let mut rest = Vec::new();
        for message in settlement.new.drain(..) {
            let place = match message.entry.origin {
                Origin::Bounce { .. } => self.take_bounce(&program, bounce(&message)?).await?,
                _ => None,
            };
            if place.is_none() {
                rest.push(message);
            }
            places.push(place);
        }
        settlement.new = rest;
        Ok(places)
    }
}

/// The Received line in front of a bounce is qmail-queue's, which will write its own.
fn bounce(message: &NewMessage) -> Result<Letter, SettleError> {
    let body = match &message.body {
        NewBody::Bytes(bytes) => Body::Memory(bytes.clone()),
        NewBody::Written(writer) => writer.body().map_err(|error| SettleError::Io(error.to_string()))?,
        NewBody::Parent => return Err(SettleError::Io("a bounce without a body".into())),
    };
    let entry = NewEntry { prepend: Bytes::new(), ..message.entry.clone() };
    Ok(Letter::new(entry, body))
}

impl ThroughProgram {
    /// The place of a bounce that the program took. `None`: it refuses this one for good. Asking again would bring the same answer, and as long as
    /// the bounce is not told, nothing of its message can be recorded: not what was delivered with it, and not that its place is free.
    async fn take_bounce(&self, program: &Path, letter: Letter) -> Result<Option<QueueId>, SettleError> {
        match self.programs.ask(program.to_owned(), letter).await {
            Ok(pid) => Ok(Some(QueueId(pid.into()))),
            Err(Refused { hard: true, text }) => {
                self.programs
                    .events
                    .emit(&Event::Warning { what: "a queue program refuses a bounce, which goes without it", detail: &text });
                Ok(None)
            }
            Err(refused) => Err(SettleError::NoticeNotTaken(refused.text)),
        }
    }
}

impl Queue for ThroughProgram {
    fn begin(&self, declared: Option<u64>) -> Result<Box<dyn BodyWriter>, AcceptError> {
        let inner = self.inner.begin(declared)?;
        Ok(Box::new(Writer { inner, program: self.programs.program(), programs: Arc::clone(&self.programs) }))
    }

    fn settle(&self, mut settlement: Settlement) -> BoxFuture<'_, Result<Settled, SettleError>> {
        let bounces = settlement.new.iter().any(|message| matches!(message.entry.origin, Origin::Bounce { .. }));
        match bounces.then(|| self.programs.program()).flatten() {
            None => self.inner.settle(settlement),
            Some(program) => Box::pin(async move {
                let places = self.take_bounces(program, &mut settlement).await?;
                let settled = self.inner.settle(settlement).await?;
                let mut made = settled.new.into_iter();
                let new = places.into_iter().filter_map(|place| place.or_else(|| made.next())).collect();
                Ok(Settled { new, finished: settled.finished })
            }),
        }
    }

    fn due(&self, max: usize) -> BoxFuture<'_, Vec<Arc<QueueEntry>>> {
        self.inner.due(max)
    }

    fn park(&self, id: QueueId, until: Time) {
        self.inner.park(id, until);
    }

    fn open(&self, id: QueueId) -> BoxFuture<'_, Result<Option<Body>, SettleError>> {
        self.inner.open(id)
    }

    fn load(&self, id: QueueId) -> BoxFuture<'_, Result<Option<QueueEntry>, SettleError>> {
        self.inner.load(id)
    }

    fn list(&self, after: QueueId, max: usize) -> BoxFuture<'_, Result<Vec<QueueEntry>, SettleError>> {
        self.inner.list(after, max)
    }

    fn admin(&self, action: AdminAction, which: Selection) -> BoxFuture<'_, Result<u64, SettleError>> {
        self.inner.admin(action, which)
    }

    fn stat(&self) -> QueueStat {
        self.inner.stat()
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        self.inner.stop()
    }
}

/// A body that goes into the queue, or that the queue only keeps for the program.
struct Writer {
    inner: Box<dyn BodyWriter>,
    program: Option<PathBuf>,
    programs: Arc<QueuePrograms>,
}

impl BodyWriter for Writer {
    fn write(&mut self, chunk: &[u8]) -> Result<(), AcceptError> {
        self.inner.write(chunk)
    }

    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn body(&self) -> Result<Body, AcceptError> {
        self.inner.body()
    }

    fn through(&mut self, program: &str) {
        let home = &self.programs.live.get().home;
        let usual = home.join(PROGRAM);
        // A rule that names qmail-queue asks for nothing while that is ours.
        let named = Some(home.join(program)).filter(|named| *named != usual || whose(home) == Whose::Others);
        self.program = named;
    }

    fn commit(self: Box<Self>, entry: NewEntry) -> BoxFuture<'static, Result<QueueId, AcceptError>> {
        let Self { inner, program, programs } = *self;
        let Some(program) = program else { return inner.commit(entry) };
        Box::pin(async move {
            let letter = Letter::new(entry, inner.body()?);
            // Until then the body's memory counts, and its file stays.
            let answer = programs.ask(program, letter).await;
            drop(inner);
            answer
                .map(|pid| QueueId(pid.into()))
                .map_err(|refused| if refused.hard { AcceptError::Refused(refused.text) } else { AcceptError::Postponed(refused.text) })
        })
    }

    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send> {
        self.inner.into_any()
    }
}

/// Local delivery whose forwards go through the program, as qmail-local's did: before the delivery counts as done.
pub(crate) struct ForwardsThroughProgram {
    pub(crate) inner: Arc<dyn Deliver>,
    pub(crate) programs: Arc<QueuePrograms>,
}

impl ForwardsThroughProgram {
    async fn pass(&self, program: PathBuf, job: &Job, outcome: DeliveryOutcome) -> DeliveryOutcome {
        let DeliveryOutcome::Delivered { detail, forwards, relayed } = outcome else { return outcome };
        for forward in forwards {
            let letter = Letter {
                wishes: None,
                sender: forward.sender,
                recipients: forward.recipients.into_iter().map(|recipient| recipient.address).collect(),
                origin: Origin::Forward { of: job.entry.id, uid: forward.uid },
                prepend: [forward.prepend.as_slice(), &job.entry.prepend].concat().into(),
                body: job.body.clone(),
            };
            match self.programs.ask(program.clone(), letter).await {
                Ok(_) => {}
                Err(Refused { hard: true, text }) => {
                    return DeliveryOutcome::failed(PermStatus::SYSTEM, format!("Unable to forward message: {text}.\n"));
                }
                Err(Refused { text, .. }) => {
                    return DeliveryOutcome::deferred(TempStatus::SYSTEM, format!("Unable to forward message: {text}.\n"));
                }
            }
        }
        DeliveryOutcome::Delivered { detail, forwards: Vec::new(), relayed }
    }
}

impl Deliver for ForwardsThroughProgram {
    fn destination(&self, recipient: &Recipient) -> String {
        self.inner.destination(recipient)
    }

    fn deliver(&self, job: Job) -> BoxFuture<'_, Vec<DeliveryOutcome>> {
        Box::pin(async move {
            let outcomes = self.inner.deliver(job.clone()).await;
            let forwards =
                |outcome: &DeliveryOutcome| matches!(outcome, DeliveryOutcome::Delivered { forwards, .. } if !forwards.is_empty());
            let Some(program) = self.programs.program().filter(|_| outcomes.iter().any(forwards)) else { return outcomes };
            let mut passed = Vec::with_capacity(outcomes.len());
            for outcome in outcomes {
                passed.push(self.pass(program.clone(), &job, outcome).await);
            }
            passed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_types::{BodyKind, DsnWish, PeerInfo};

    #[test]
    fn what_a_program_hands_on_comes_from_the_same_client() {
        let sender = |text: &str| ReversePath::Address(Address::from_bytes(text.as_bytes()).unwrap());
        let envelope = |from: &str| Envelope {
            sender: sender(from),
            recipients: Vec::new(),
            body: BodyKind::EightBit,
            utf8: false,
            dsn: DsnWish::default(),
            require_tls: false,
        };
        let peer = PeerInfo { ip: "192.0.2.7".into(), helo: "x.test".into(), login: Some("joe".into()) };
        let first = First { envelope: Envelope { require_tls: true, ..envelope("joe@a.test") }, origin: Origin::Smtp(peer.clone()) };
        let queued = |from: &str| {
            let (arrived, expires) = (Time::from_secs(0), Time::from_secs(0));
            let mut entry =
                NewEntry { envelope: envelope(from), origin: Origin::Local { uid: 7 }, prepend: Bytes::new(), arrived, expires };
            first.complete(&mut entry);
            entry
        };
        let same = queued("joe@a.test");
        assert_eq!((same.origin, same.envelope.require_tls), (Origin::Smtp(peer), true));
        assert_eq!(queued("scanner@here.test").origin, Origin::Local { uid: 7 });
    }
}
