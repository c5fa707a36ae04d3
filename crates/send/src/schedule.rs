//! The loop: one task that owns every limit and every entry in flight. It takes due entries, cuts them into deliveries, starts what may
//! start, and gives each finished pass to a settlement. Started by `Scheduler::run`; never waits for a disk or a host itself.

mod pass;

use crate::context::{Context, Profile};
use crate::destination::{Caps, Destinations, LetGo, Meeting};
use crate::flight::{Attempt, Ended, Flight, Seed};
use crate::job::{self, JobReport, Order};
use crate::lane::{Lane, Turn};
use crate::links::link_of;
use crate::remembered::Remembered;
use crate::settle::SettleReport;
use crate::trusted::{Moment, TrustedClock};
use postino_control::Config;
use postino_control::links::Link;
use postino_ports::BoxFuture;
use postino_ports::event::Event;
use postino_ports::queue::QueueEntry;
use postino_types::printable::report;
use postino_types::{Channel, DeliveryOutcome, QueueId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Most entries taken from the queue at once: between two batches ends of deliveries are heard.
const BATCH_MAX: usize = 128;

/// The loop's state.
pub(crate) struct Run {
    context: Arc<Context>,
    config: Arc<Config>,
    shutdown: watch::Receiver<bool>,
    exiting: bool,
    clock: TrustedClock,
    flights: HashMap<QueueId, Flight>,
    /// Flights of entries tried before.
    retries: usize,
    local: Side,
    remote: Side,
    destinations: Destinations,
    remembered: Remembered,
    /// Entries that are due before a settlement that they come after was heard of: they wait for it.
    early: HashMap<QueueId, Vec<Arc<QueueEntry>>>,
    next_number: u64,
    jobs: JoinSet<JobReport>,
    settlements: JoinSet<SettleReport>,
}

/// One channel.
#[derive(Default)]
struct Side {
    lane: Lane,
    running: usize,
}

/// What the loop heard.
enum Heard {
    Job(JobReport),
    Settlement(SettleReport),
    Due(Vec<Arc<QueueEntry>>),
    Forget,
    Stop,
    /// A task died: its entry stays in flight until the next start of the house. Deliveries are guarded, so this is a bug of ours.
    Crash(String),
}

impl Run {
    pub(crate) fn new(context: Arc<Context>, shutdown: watch::Receiver<bool>) -> Self {
        let clock = TrustedClock::new(context.parts.clock.as_ref());
        Self {
            config: context.config(),
            context,
            shutdown,
            exiting: false,
            clock,
            flights: HashMap::new(),
            retries: 0,
            local: Side::default(),
            remote: Side::default(),
            destinations: Destinations::default(),
            remembered: Remembered::default(),
            early: HashMap::new(),
            next_number: 1,
            jobs: JoinSet::new(),
            settlements: JoinSet::new(),
        }
    }

    /// Runs until a stop was asked for and nothing is under way any more.
    pub(crate) async fn work(mut self) {
        let context = self.context.clone();
        // Kept from round to round: asking anew each time would cost an allocation and a lock for every delivery.
        let mut due: Option<BoxFuture<'_, Vec<Arc<QueueEntry>>>> = None;
        self.tell_status();
        while !(self.exiting && self.jobs.is_empty() && self.settlements.is_empty()) {
            let room = self.room();
            if due.is_none() && room > 0 {
                due = Some(context.parts.queue.due(room));
            }
            let heard = self.hear(due.as_mut()).await;
            if let Heard::Due(entries) = &heard {
                // An empty answer means that the queue is closing: do not spin on it.
                let closing = entries.is_empty();
                due = closing.then(|| -> BoxFuture<'_, _> { Box::pin(ask_slowly(&context, room)) });
            }
            if matches!(heard, Heard::Stop) {
                due = None;
                self.stop();
            }
            self.config = self.context.config();
            self.act(heard);
            self.start_ready();
        }
    }

    /// How many entries may be taken.
    fn room(&self) -> usize {
        if self.exiting {
            return 0;
        }
        let held = self.flights.len() + self.early.values().map(Vec::len).sum::<usize>();
        self.config.server.limits.in_flight_max.max(1).saturating_sub(held).min(BATCH_MAX)
    }

    async fn hear(&mut self, due: Option<&mut BoxFuture<'_, Vec<Arc<QueueEntry>>>>) -> Heard {
        let entries = async {
            match due {
                Some(due) => due.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // In no fixed order: a stream of ends must not keep new mail out.
            Some(end) = self.settlements.join_next() => end.map_or_else(|e| Heard::Crash(e.to_string()), Heard::Settlement),
            Some(end) = self.jobs.join_next() => end.map_or_else(|e| Heard::Crash(e.to_string()), Heard::Job),
            () = stopped(&mut self.shutdown), if !self.exiting => Heard::Stop,
            () = self.context.forget.notified() => Heard::Forget,
            entries = entries => Heard::Due(entries),
        }
    }

    fn act(&mut self, heard: Heard) {
        let moment = self.look();
        match heard {
            Heard::Job(report) => self.job_ended(report, &moment),
            Heard::Settlement(report) => self.settled(report, &moment),
            Heard::Due(entries) => entries.into_iter().for_each(|entry| self.take(entry, &moment)),
            Heard::Forget => {
                self.destinations.forget_pauses();
                self.remembered.forget_waits();
                self.flights.values_mut().for_each(|flight| flight.forget_waits(moment.monotonic));
            }
            Heard::Stop => {}
            Heard::Crash(what) => self.context.emit(&Event::Alert { what: "a task of the scheduler crashed", detail: &what }),
        }
    }

    fn look(&mut self) -> Moment {
        self.clock.look(self.context.parts.clock.as_ref())
    }

    fn side(&mut self, channel: Channel) -> &mut Side {
        match channel {
            Channel::Local => &mut self.local,
            Channel::Remote => &mut self.remote,
        }
    }

    fn limit(&self, channel: Channel) -> usize {
        match channel {
            Channel::Local if self.context.parts.profile == Profile::Native && self.config.concurrency_local > 0 => {
                // concurrencylocal bounds those that are made as a user, where they are made.
                self.config.concurrency_local.saturating_add(self.config.server.limits.mailbox_deliveries)
            }
            Channel::Local => self.config.concurrency_local,
            Channel::Remote => self.config.concurrency_remote,
        }
    }

    fn caps(&self) -> Caps {
        // One slow destination leaves a quarter of the deliveries to all others.
        let share = self.config.concurrency_remote - self.config.concurrency_remote / 4;
        let per_destination = self.config.server.remote.per_destination.min(share);
        Caps { per_destination, probes: self.config.concurrency_remote / 4 }
    }

    fn tell_status(&self) {
        self.context.emit(&Event::Status {
            local: self.local.running,
            local_max: self.limit(Channel::Local),
            remote: self.remote.running,
            remote_max: self.config.concurrency_remote,
            exiting: self.exiting,
        });
    }

    /// Starts as many ready deliveries as the limits allow.
    fn start_ready(&mut self) {
        if self.exiting {
            return;
        }
        // One of each channel in turn, as qmail-send passes over its own.
        while [Channel::Local, Channel::Remote].map(|channel| self.start_one(channel)).contains(&true) {}
    }

    /// Starts the next ready delivery of a channel; true when the channel may have more.
    fn start_one(&mut self, channel: Channel) -> bool {
        if self.side(channel).running >= self.limit(channel) {
            return false;
        }
        let Some(id) = self.side(channel).lane.pop() else { return false };
        let Some(flight) = self.flights.get_mut(&id) else { return true };
        let turn = flight.turn;
        let Some(seed) = flight.ready(channel).pop_front() else { return true };
        if !flight.ready(channel).is_empty() {
            self.side(channel).lane.push(id, turn);
        }
        match self.link_that_rests(id, &seed) {
            Some((link, rest)) => self.hold_seed(id, seed, &link, rest),
            None => self.start(id, seed),
        }
        true
    }

    /// The link of a job that was asked for while the link was up, and that has come down since.
    fn link_that_rests(&self, id: QueueId, seed: &Seed) -> Option<(Arc<Link>, Duration)> {
        if self.config.links.is_empty() {
            return None;
        }
        let recipient = self.flights.get(&id)?.entry.envelope.recipients.get(*seed.recipients.first()?)?;
        let link = link_of(&self.config.links, recipient)?;
        self.context.link_rests(link).map(|rest| (link.clone(), rest))
    }

    /// A job that does not start after all.
    fn hold_seed(&mut self, id: QueueId, seed: Seed, link: &Link, rest: Duration) {
        let moment = self.look();
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.unfinished = flight.unfinished.saturating_sub(1);
        }
        for &index in &seed.recipients {
            self.hold(id, index, link, rest, &moment);
        }
        if let Some(key) = &seed.destination {
            let caps = self.caps();
            let let_go = self.destinations.withdrawn(key, seed.role, caps);
            self.let_go(let_go, &moment);
        }
        self.go_on(id, &moment);
    }

    /// A job may start when its channel has room.
    fn make_ready(&mut self, id: QueueId, seed: Seed) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let (channel, turn) = (seed.channel, flight.turn);
        let line = flight.ready(channel);
        line.push_back(seed);
        if line.len() == 1 {
            self.side(channel).lane.push(id, turn);
        }
    }

    fn start(&mut self, id: QueueId, seed: Seed) {
        let Some(flight) = self.flights.get(&id) else { return };
        let entry = flight.entry.clone();
        let body = flight.body.clone();
        let first_number = self.next_number;
        self.next_number += seed.recipients.len() as u64;
        let channel = seed.channel;
        self.side(channel).running += 1;
        let name = |&index: &usize| entry.envelope.recipients.get(index).map(|r| report(r.routed.address.as_bytes())).unwrap_or_default();
        let names: Vec<String> = seed.recipients.iter().map(name).collect();
        for (number, recipient) in (first_number..).zip(&names) {
            self.context.emit(&Event::DeliveryStarted { number, id, channel, recipient });
        }
        self.tell_status();
        self.jobs.spawn(job::run(self.context.clone(), Order { entry, body, seed, first_number, names }));
    }

    fn job_ended(&mut self, report: JobReport, moment: &Moment) {
        let JobReport { id, seed, first_number, names, outcomes, millis } = report;
        let side = self.side(seed.channel);
        side.running = side.running.saturating_sub(1);
        let meeting = meeting(&outcomes, moment);
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.unfinished = flight.unfinished.saturating_sub(1);
            let told = (first_number..).zip(names).zip(seed.recipients.iter().zip(outcomes));
            for ((number, recipient), (&index, outcome)) in told {
                let outcome = flight.judge(outcome);
                self.context.emit(&Event::DeliveryEnded { number, id, recipient: &recipient, outcome: &outcome, millis });
                flight.end(Ended { index, outcome, attempt: Attempt::Made });
            }
        }
        self.tell_status();
        if let Some(key) = &seed.destination {
            let caps = self.caps();
            let let_go = self.destinations.ended(key, seed.role, meeting, moment.monotonic, caps);
            self.let_go(let_go, moment);
        }
        self.go_on(id, moment);
    }

    fn let_go(&mut self, let_go: LetGo, moment: &Moment) {
        for (id, seed) in let_go.start {
            self.make_ready(id, seed);
        }
        for (id, seed) in let_go.away {
            let key = seed.destination.clone().unwrap_or_default();
            let Some((until, status, detail)) = self.destinations.pause(&key, id) else {
                self.make_ready(id, seed);
                continue;
            };
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.unfinished = flight.unfinished.saturating_sub(1);
                self.spare(id, &seed, until, (status, detail), moment);
            }
            self.go_on(id, moment);
        }
    }

    /// Nothing new is started; what waits goes back.
    fn stop(&mut self) {
        self.exiting = true;
        let moment = self.look();
        self.local.lane.clear();
        self.remote.lane.clear();
        for (id, seed) in self.destinations.give_up_waiting() {
            self.abandon(id, &seed, &moment);
        }
        let waiting = std::mem::take(&mut self.early);
        for entry in waiting.into_values().flatten() {
            self.context.parts.queue.park(entry.id, moment.wall);
        }
        let ids: Vec<QueueId> = self.flights.keys().copied().collect();
        for id in ids {
            self.abandon_unstarted(id, &moment);
        }
        // qmail-send tells a status only when a delivery starts or ends.
        if self.context.parts.profile == Profile::Native {
            self.tell_status();
        }
    }
}

/// Did a delivery reach its destination? Only connection trouble of all its recipients counts against it.
fn meeting(outcomes: &[DeliveryOutcome], moment: &Moment) -> Meeting {
    const CONNECTION_SUBJECT: u16 = 4;
    let mut found = Meeting::Reached;
    for outcome in outcomes {
        match outcome {
            DeliveryOutcome::Deferred { status, detail, not_before }
                if not_before.is_some() || status.enhanced().subject == CONNECTION_SUBJECT =>
            {
                found = Meeting::Unreachable(*status, detail.clone(), not_before.map(|at| moment.monotonic_at(at)));
            }
            _ => return Meeting::Reached,
        }
    }
    found
}

async fn ask_slowly(context: &Context, room: usize) -> Vec<Arc<QueueEntry>> {
    tokio::time::sleep(Duration::from_secs(1)).await;
    context.parts.queue.due(room.max(1)).await
}

/// Waits for the stop; a sender that is gone means the same.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}

impl Flight {
    fn is_retry(&self) -> bool {
        self.turn == Turn::Retry
    }
}
