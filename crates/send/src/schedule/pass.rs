//! A pass: how an entry is taken, cut into jobs, left alone where its destinations ask for it, and released with the time of its next
//! attempt. Part of the loop.

use super::Run;
use crate::context::Profile;
use crate::destination::{Admission, Role};
use crate::flight::{Attempt, Ended, Flight, Life, Seed, is_fresh, pending};
use crate::lane::Turn;
use crate::links::link_of;
use crate::notice::delay_is_due;
use crate::remembered::Later;
use crate::settle::{self, PassEnd, Plan, SettleReport, Telling};
use crate::trusted::Moment;
use postino_control::links::Link;
use postino_policy::retry;
use postino_ports::event::Event;
use postino_ports::queue::QueueEntry;
use postino_types::printable::report;
use postino_types::{Channel, DeliveryOutcome, Origin, PermStatus, QueueId, RecipientState, ReportText, TempStatus};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Mail of a channel whose concurrency is 0 is looked at again after this.
const CLOSED_CHANNEL: Duration = Duration::from_secs(60);
/// Retries beyond their share of the room come back after this: fresh mail must always find room.
const CROWDED: Duration = Duration::from_secs(5);
/// No pass is followed by another sooner, whatever the clocks say.
const BETWEEN_PASSES: Duration = Duration::from_secs(1);

impl Run {
    /// Takes a due entry.
    pub(super) fn take(&mut self, entry: Arc<QueueEntry>, moment: &Moment) {
        let id = entry.id;
        if let Some(first) = self.comes_after(&entry) {
            self.early.entry(first).or_default().push(entry);
            return;
        }
        let turn = if is_fresh(&entry) { Turn::Fresh } else { Turn::Retry };
        if self.exiting || (turn == Turn::Retry && self.retries >= self.retries_max()) {
            self.context.parts.queue.park(id, moment.wall_at(moment.monotonic + CROWDED));
            return;
        }
        if turn == Turn::Fresh {
            self.announce(&entry);
            self.remembered.note_birth(&entry, moment);
        }
        let life = self.life(&entry, moment);
        let flight = Flight::new(entry.clone(), turn, life, *moment);
        self.retries += usize::from(flight.is_retry());
        self.flights.insert(id, flight);
        self.cut(&entry, moment);
        self.go_on(id, moment);
    }

    /// Mail of a link lives as long as the link lets it: it did not choose to wait.
    fn life(&self, entry: &QueueEntry, moment: &Moment) -> Life {
        if !self.remembered.is_dying(entry, moment) {
            return Life::Young;
        }
        let spares = |index: usize| {
            let link = entry.envelope.recipients.get(index).and_then(|recipient| link_of(&self.config.links, recipient));
            link.is_some_and(|link| !self.remembered.is_past(entry, entry.arrived.plus_secs(link.lifetime_s), moment))
        };
        if pending(entry).any(spares) { Life::Young } else { Life::Dying }
    }

    /// The entry in flight whose settlement must be heard of first: the same one (it is due again before we heard that its last pass was
    /// recorded), or the one that this notice or forward came from.
    fn comes_after(&self, entry: &QueueEntry) -> Option<QueueId> {
        if self.flights.contains_key(&entry.id) {
            return Some(entry.id);
        }
        parent(&entry.origin).filter(|parent| self.flights.get(parent).is_some_and(|f| f.settling))
    }

    fn retries_max(&self) -> usize {
        (self.config.server.limits.in_flight_max / 4 * 3).max(1)
    }

    fn announce(&mut self, entry: &QueueEntry) {
        if !self.remembered.announce(entry.id) {
            return;
        }
        let uid = match entry.origin {
            Origin::Local { uid } | Origin::Forward { uid, .. } => uid,
            Origin::Smtp(_) | Origin::Bounce { .. } => self.context.parts.uid,
        };
        self.context.emit(&Event::Queued {
            id: entry.id,
            bytes: entry.body_bytes.saturating_add(entry.prepend.len() as u64),
            sender: &report(entry.envelope.sender.as_bytes()),
            pid: self.injector(entry),
            uid,
        });
    }

    /// The pid in the log: in qmail's profile that of the qmail-queue that wrote the first line, else ours.
    fn injector(&self, entry: &QueueEntry) -> u32 {
        let written = || {
            let digits = entry.prepend.strip_prefix(b"Received: (qmail ")?.split(|&b| b == b' ').next()?;
            std::str::from_utf8(digits).ok()?.parse().ok()
        };
        let native = self.context.parts.profile == Profile::Native;
        if native { self.context.pid } else { written().unwrap_or(self.context.pid) }
    }

    /// Cuts the pending recipients into jobs: one for each local recipient, one for each group of a remote destination.
    fn cut(&mut self, entry: &QueueEntry, moment: &Moment) {
        let id = entry.id;
        let mut waits = self.remembered.take_later(id);
        waits.sort_unstable();
        let mut groups: Vec<(Arc<str>, Vec<usize>)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for index in pending(entry) {
            let Some(recipient) = entry.envelope.recipients.get(index) else { continue };
            let channel = recipient.routed.channel;
            let wait = wait_of(&waits, index).filter(|until| *until > moment.monotonic);
            let closed = (self.limit(channel) == 0).then_some(moment.monotonic + CLOSED_CHANNEL);
            let link = link_of(&self.config.links, recipient).cloned();
            let rests = link.as_ref().and_then(|link| Some((link, self.context.link_rests(link)?)));
            if let Some((link, rest)) = rests {
                self.hold(id, index, link, rest, moment);
            } else if let Some(until) = wait.or(closed) {
                self.leave(id, &[index], until);
            } else if channel == Channel::Local {
                self.add(id, Seed { channel, destination: None, recipients: vec![index], role: Role::Ordinary });
            } else {
                let key = self.context.parts.remote.destination(recipient);
                let group = *known.entry(key).or_insert_with_key(|key| {
                    groups.push((Arc::from(key.as_str()), Vec::new()));
                    groups.len() - 1
                });
                if let Some((_, recipients)) = groups.get_mut(group) {
                    recipients.push(index);
                }
            }
        }
        let together = self.config.server.remote.recipients_max.max(1);
        for (key, recipients) in groups {
            for part in recipients.chunks(together) {
                self.ask(id, key.clone(), part.to_vec(), moment);
            }
        }
    }

    /// The recipient's link is down: nothing is written, unless the mail has waited for it too long.
    pub(super) fn hold(&mut self, id: QueueId, index: usize, link: &Link, rest: Duration, moment: &Moment) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let end = flight.entry.arrived.plus_secs(link.lifetime_s);
        if self.remembered.is_past(&flight.entry, end, moment) {
            let detail = format!("The link {} was not up for too long. I'm not going to wait any more. (#5.4.7)\n", link.name);
            let outcome = DeliveryOutcome::failed(PermStatus::new(4, 7), detail);
            flight.held.push(Ended { index, outcome, attempt: Attempt::Spared(moment.monotonic) });
        } else {
            let until = (moment.monotonic + rest).min(moment.monotonic_at(end).max(moment.monotonic + BETWEEN_PASSES));
            flight.later.push((index, until));
        }
        self.context.links.tried(id);
    }

    /// A job that may start when its channel has room.
    fn add(&mut self, id: QueueId, seed: Seed) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.unfinished += 1;
            self.make_ready(id, seed);
        }
    }

    /// Asks a remote destination for one delivery.
    fn ask(&mut self, id: QueueId, key: Arc<str>, recipients: Vec<usize>, moment: &Moment) {
        let mut caps = self.caps();
        let first = recipients.first().and_then(|&index| self.flights.get(&id)?.entry.envelope.recipients.get(index));
        if let Some(link) = first.and_then(|recipient| link_of(&self.config.links, recipient)) {
            caps.per_destination = caps.per_destination.min(link.connections);
        }
        let mut seed = Some(Seed { channel: Channel::Remote, destination: Some(key.clone()), recipients, role: Role::Ordinary });
        let admission = self.destinations.admit(&key, &mut seed, id, moment.monotonic, caps);
        match (admission, seed) {
            (Admission::Start(role), Some(seed)) => self.add(id, Seed { role, ..seed }),
            (Admission::Busy(until), Some(seed)) => self.leave(id, &seed.recipients, until),
            (Admission::Dead(until, status, detail), Some(seed)) => self.spare(id, &seed, until, (status, detail), moment),
            (_, None) | (Admission::Waits, _) => {
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.unfinished += 1;
                }
            }
        }
    }

    /// Leaves recipients alone in this pass.
    fn leave(&mut self, id: QueueId, recipients: &[usize], until: Duration) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.later.extend(recipients.iter().map(|&index| (index, until)));
        }
    }

    /// The destination is dead: its recipients are left alone, nothing is written. Only a message that gives up, or a delay that must be
    /// told, takes the destination's last word for an answer.
    pub(super) fn spare(&mut self, id: QueueId, seed: &Seed, until: Duration, said: (TempStatus, ReportText), moment: &Moment) {
        self.context.links.tried(id);
        let Some(flight) = self.flights.get_mut(&id) else { return };
        let age_s = moment.trusted.secs_since(self.remembered.birth(&flight.entry, moment));
        let envelope = &flight.entry.envelope;
        for &index in &seed.recipients {
            let told = matches!(flight.entry.states.get(index), Some(RecipientState::Pending { delay_told: true, .. }));
            let tell = envelope.recipients.get(index).is_some_and(|r| delay_is_due(r, &envelope.sender, told, age_s));
            if flight.life == Life::Young && !tell {
                flight.later.push((index, until));
                continue;
            }
            let outcome = DeliveryOutcome::Deferred { status: said.0, detail: said.1.clone(), not_before: None };
            let outcome = flight.judge(outcome);
            flight.held.push(Ended { index, outcome, attempt: Attempt::Spared(until) });
        }
    }

    /// Something about a flight changed: settle what can be settled.
    pub(super) fn go_on(&mut self, id: QueueId, moment: &Moment) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        if flight.settling {
            return;
        }
        if flight.unfinished > 0 {
            if !flight.delivered.is_empty() {
                flight.settling = true;
                let ended = std::mem::take(&mut flight.delivered);
                self.settle(id, ended, PassEnd::Continues, moment);
            }
            return;
        }
        if flight.is_untouched() {
            self.give_back(id, moment);
            return;
        }
        flight.settling = true;
        let mut ended = std::mem::take(&mut flight.delivered);
        ended.append(&mut flight.held);
        flight.finishes = flight.later.is_empty() && !ended.iter().any(|e| matches!(e.outcome, DeliveryOutcome::Deferred { .. }));
        let next = self.next_pass(id, &ended, moment);
        self.settle(id, ended, PassEnd::Releases(next), moment);
    }

    /// Nothing was tried: the entry goes back as it was, in memory only.
    fn give_back(&mut self, id: QueueId, moment: &Moment) {
        let Some(mut flight) = self.land(id) else { return };
        let until = flight.later.iter().map(|l| l.1).min().unwrap_or(moment.monotonic).max(moment.monotonic + BETWEEN_PASSES);
        if flight.turn == Turn::Fresh {
            self.remembered.was_announced(id);
        }
        flight.later.retain(|l| l.1 > until);
        self.remembered.wait_longer(id, flight.later);
        self.context.parts.queue.park(id, moment.wall_at(until));
    }

    /// When the entry is due again; recipients that are to wait longer are remembered.
    fn next_pass(&mut self, id: QueueId, ended: &[Ended], moment: &Moment) -> postino_types::Time {
        let Some(flight) = self.flights.get_mut(&id) else { return moment.wall };
        let birth = self.remembered.birth(&flight.entry, &flight.started);
        let mut waits: Vec<Later> = std::mem::take(&mut flight.later);
        for one in ended {
            let DeliveryOutcome::Deferred { not_before, .. } = &one.outcome else { continue };
            let channel = flight.entry.envelope.recipients.get(one.index).map_or(Channel::Remote, |r| r.routed.channel);
            let scheduled = match one.attempt {
                Attempt::Spared(until) => until,
                Attempt::Made => {
                    let next = retry::next_attempt(&self.config, channel, birth, flight.started.trusted);
                    let ahead_ms = next.0.saturating_sub(flight.started.trusted.0).max(0).unsigned_abs();
                    flight.started.monotonic + Duration::from_millis(ahead_ms)
                }
            };
            waits.push((one.index, not_before.map_or(scheduled, |at| scheduled.max(moment.monotonic_at(at)))));
        }
        let next = waits.iter().map(|w| w.1).min().unwrap_or(moment.monotonic);
        if !waits.is_empty() {
            waits.retain(|w| w.1 > next + BETWEEN_PASSES);
            self.remembered.wait_longer(id, waits);
        }
        moment.wall_at(next.max(moment.monotonic + BETWEEN_PASSES))
    }

    fn settle(&mut self, id: QueueId, ended: Vec<Ended>, end: PassEnd, moment: &Moment) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.was_settled = true;
        let age_s = moment.trusted.secs_since(self.remembered.birth(&flight.entry, moment));
        let telling = match (self.context.parts.profile, flight.finishes) {
            (_, true) => Telling::All,
            (Profile::Native, false) => Telling::Now,
            (Profile::Qmail { .. }, false) => Telling::AtTheEnd,
        };
        let plan = Plan { entry: flight.entry.clone(), body: flight.body.clone(), ended, end, telling, now: moment.wall, age_s };
        self.settlements.spawn(settle::carry_out(self.context.clone(), plan, self.shutdown.clone()));
    }

    /// A settlement came back.
    pub(super) fn settled(&mut self, done: SettleReport, moment: &Moment) {
        let id = done.id;
        if let Some(record) = &done.record {
            for &bounce in &record.bounces {
                self.context.emit(&Event::Bounced { id, bounce });
            }
            if record.triple_bounce {
                self.context.emit(&Event::TripleBounce { id });
            }
            if record.finished && done.end != PassEnd::Continues {
                self.remembered.forget(id);
                self.context.emit(&Event::Ended { id });
            }
        }
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.settling = false;
        }
        if done.end != PassEnd::Continues {
            self.context.links.tried(id);
            self.land(id);
            self.remembered.tried(id);
        }
        for entry in self.early.remove(&id).unwrap_or_default() {
            self.take(entry, moment);
        }
        self.go_on(id, moment);
    }

    /// The entry is no longer in flight.
    fn land(&mut self, id: QueueId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.retries -= usize::from(flight.is_retry());
        Some(flight)
    }

    /// A stop: jobs of this entry that have not started go back.
    pub(super) fn abandon_unstarted(&mut self, id: QueueId, moment: &Moment) {
        let Some(flight) = self.flights.get_mut(&id) else { return };
        flight.drop_ready(moment.monotonic);
        self.go_on(id, moment);
    }

    /// A stop: a job that waited at its destination goes back.
    pub(super) fn abandon(&mut self, id: QueueId, seed: &Seed, moment: &Moment) {
        if let Some(flight) = self.flights.get_mut(&id) {
            flight.unfinished = flight.unfinished.saturating_sub(1);
        }
        self.leave(id, &seed.recipients, moment.monotonic);
    }
}

fn wait_of(waits: &[Later], index: usize) -> Option<Duration> {
    let at = waits.binary_search_by_key(&index, |w| w.0).ok()?;
    waits.get(at).map(|w| w.1)
}

fn parent(origin: &Origin) -> Option<QueueId> {
    match origin {
        Origin::Forward { of, .. } | Origin::Bounce { of } => Some(*of),
        Origin::Smtp(_) | Origin::Local { .. } => None,
    }
}
