//! What the tests share: a queue in a directory of its own, with a clock that the test moves.

use bytes::Bytes;
use postino_ports::queue::{NewEntry, Queue, QueueEntry, Settlement};
use postino_queue::{QueueOptions, QueueStore};
use postino_testkit::SimClock;
use postino_types::{
    Address, BodyKind, Channel, DsnWish, Envelope, Notify, Origin, PeerInfo, QueueId, Recipient, RecipientState, ReversePath, Routed,
    TempStatus, Time,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const START: Time = Time(1_800_000_000_000);

pub(crate) fn options(home: &Path, clock: &Arc<SimClock>) -> QueueOptions {
    QueueOptions {
        dir: home.join("queue"),
        inline_body_bytes: 65_536,
        body_memory_bytes: 64 << 20,
        disk_reserve_bytes: 0,
        message_bytes_max: 4 << 20,
        clock: Arc::clone(clock) as Arc<dyn postino_ports::clock::Clock>,
    }
}

/// A queue, its clock and its directory.
pub(crate) struct House {
    pub(crate) queue: Arc<QueueStore>,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) home: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Arc::new(SimClock::at(START));
        Self { queue: QueueStore::open(options(home.path(), &clock)).unwrap(), clock, home }
    }
    /// The server ends and starts again.
    pub(crate) fn restart(self) -> Self {
        let Self { queue, clock, home } = self;
        drop(queue);
        Self { queue: QueueStore::open(options(home.path(), &clock)).unwrap(), clock, home }
    }
    pub(crate) async fn accept(&self, seed: u64, recipients: usize, bytes: usize) -> QueueId {
        accept(&self.queue, self.now(), (seed, recipients, bytes)).await.unwrap()
    }
    pub(crate) fn now(&self) -> Time {
        postino_ports::clock::Clock::now(&*self.clock)
    }
    /// What is due just now.
    pub(crate) async fn due(&self, max: usize) -> Vec<Arc<QueueEntry>> {
        tokio::time::timeout(Duration::from_millis(100), self.queue.due(max)).await.unwrap_or_default()
    }
    pub(crate) async fn body(&self, id: QueueId) -> Option<Vec<u8>> {
        body_bytes(&self.queue, id).await
    }
    pub(crate) fn check(&self) -> postino_queue::Report {
        postino_queue::check(self.home.path(), postino_queue::Repair::No).unwrap()
    }
}

pub(crate) async fn body_bytes(queue: &QueueStore, id: QueueId) -> Option<Vec<u8>> {
    let body = queue.open(id).await.unwrap()?;
    let mut bytes = Vec::new();
    body.for_each_chunk(|chunk| {
        bytes.extend_from_slice(chunk);
        Ok(())
    })
    .unwrap();
    Some(bytes)
}

pub(crate) async fn accept(
    queue: &QueueStore,
    now: Time,
    (seed, recipients, bytes): (u64, usize, usize),
) -> Result<QueueId, postino_ports::queue::AcceptError> {
    let mut writer = queue.begin(None)?;
    for chunk in body(seed, bytes).chunks(7000) {
        writer.write(chunk)?;
    }
    writer.commit(new_entry(seed, recipients, now)).await
}

/// A body that tells its seed and length by every byte.
pub(crate) fn body(seed: u64, bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|i| u8::try_from((seed.wrapping_mul(31) ^ i.wrapping_mul(2_654_435_761) >> 7) & 0x7f).unwrap()).collect()
}

pub(crate) fn new_entry(seed: u64, recipients: usize, now: Time) -> NewEntry {
    let address = |text: String| Address::from_bytes(text.as_bytes()).unwrap();
    let recipient = |i: usize| Recipient {
        address: address(format!("r{i}@example.org")),
        routed: Routed { channel: Channel::Local, address: address(format!("r{i}@example.org")) },
        notify: Notify::default(),
        original: None,
    };
    let envelope = Envelope {
        sender: ReversePath::Address(address(format!("{seed}@sender"))),
        recipients: (0..recipients).map(recipient).collect(),
        body: BodyKind::EightBit,
        utf8: false,
        dsn: DsnWish::default(),
        require_tls: false,
    };
    let prepend = Bytes::from(format!("X-Seed: {seed}\n"));
    NewEntry { envelope, origin: Origin::Smtp(PeerInfo::default()), prepend, arrived: now, expires: now.plus_secs(604_800) }
}

pub(crate) fn seed_of(entry: &QueueEntry) -> u64 {
    let ReversePath::Address(address) = &entry.envelope.sender else { panic!("a seed is in every sender") };
    std::str::from_utf8(address.local()).unwrap().parse().unwrap()
}

pub(crate) fn delivered() -> RecipientState {
    RecipientState::Delivered { at: START, detail: "did 1+0+0\n".into() }
}

pub(crate) fn deferred(attempts: u16) -> RecipientState {
    RecipientState::Pending { attempts, last: Some((TempStatus::NO_ANSWER, "not now".into())), delay_told: false }
}

pub(crate) fn settlement(id: QueueId, changes: Vec<(usize, RecipientState)>, release: Option<Time>) -> Settlement {
    Settlement { id, changes, new: Vec::new(), release }
}
