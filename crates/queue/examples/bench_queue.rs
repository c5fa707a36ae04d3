//! Measures the queue alone: `bench_queue DIR [SESSIONS] [BYTES] [SECONDS] [INLINE_BYTES]`. Sessions accept as fast as they can, one dispatcher takes what
//! is due and settles it; prints messages (accepted and settled) a second and commits. Writes into DIR/queue, which should be on the disk in question.

use bytes::Bytes;
use postino_ports::clock::Clock;
use postino_ports::queue::{NewEntry, Queue, Settlement};
use postino_queue::{QueueOptions, QueueStore};
use postino_types::{Address, Channel, Envelope, Notify, Origin, PeerInfo, Recipient, RecipientState, ReversePath, Routed, Time};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Time {
        let passed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn entry(now: Time) -> NewEntry {
    let address = Address::from_bytes(b"user@example.org").expect("invariant: a short address");
    let routed = Routed { channel: Channel::Local, address: address.clone() };
    let recipient = Recipient { address: address.clone(), routed, notify: Notify::default(), original: None };
    let envelope = Envelope {
        sender: ReversePath::Address(address),
        recipients: vec![recipient],
        body: postino_types::BodyKind::SevenBit,
        utf8: false,
        dsn: postino_types::DsnWish::default(),
        require_tls: false,
    };
    let prepend = Bytes::from_static(b"Received: from x (HELO y) (127.0.0.1)\n  by z with ESMTP; 1 Jan 2027 00:00:00 -0000\n");
    NewEntry { envelope, origin: Origin::Smtp(PeerInfo::default()), prepend, arrived: now, expires: now.plus_secs(604_800) }
}

fn argument(number: usize, default: u64) -> u64 {
    std::env::args().nth(number).and_then(|a| a.parse().ok()).unwrap_or(default)
}

fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    [11, 12].iter().filter_map(|i| fields.get(*i).and_then(|f| f.parse::<u64>().ok())).sum::<u64>() * 10
}

/// What the process has written so far: (calls, bytes to the disk).
fn written() -> (f64, f64) {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let field = |name: &str| io.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.trim().parse().ok()).unwrap_or(0.0);
    (field("syscw:"), field("write_bytes:"))
}

/// Takes what is due, reads its body, settles it: 64 at once.
fn dispatch(queue: Arc<QueueStore>, settled: Arc<AtomicU64>, clock: Arc<dyn Clock>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let slots = Arc::new(tokio::sync::Semaphore::new(64));
        loop {
            for entry in queue.due(32).await {
                let permit = Arc::clone(&slots).acquire_owned().await;
                let (queue, settled, clock) = (Arc::clone(&queue), Arc::clone(&settled), Arc::clone(&clock));
                tokio::spawn(async move {
                    let _permit = permit;
                    let body = queue.open(entry.id).await.expect("readable").expect("there");
                    assert_eq!(body.len(), entry.body_bytes);
                    let state = RecipientState::Delivered { at: clock.now(), detail: "did 1+0+0\n".into() };
                    let settlement = Settlement { id: entry.id, changes: vec![(0, state)], new: Vec::new(), release: Some(clock.now()) };
                    let done = queue.settle(settlement).await.expect("settled");
                    settled.fetch_add(u64::from(done.finished), Ordering::Relaxed);
                });
            }
        }
    })
}

#[tokio::main]
async fn main() {
    let dir = std::path::PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "/tmp/bench-queue".to_owned()));
    let (sessions, bytes, seconds, inline) = (argument(2, 10), argument(3, 10_240), argument(4, 5), argument(5, 65_536));
    let options = QueueOptions {
        dir: dir.join("queue"),
        inline_body_bytes: usize::try_from(inline).unwrap_or(65_536),
        body_memory_bytes: 256 << 20,
        disk_reserve_bytes: 1 << 20,
        message_bytes_max: 1 << 30,
        clock: Arc::new(WallClock(Instant::now())),
    };
    let clock = Arc::clone(&options.clock);
    let opening = Instant::now();
    let queue = QueueStore::open(options).expect("the queue opens");
    println!("opened in {:?} with {} entries", opening.elapsed(), queue.stat().entries);
    let stop = Arc::new(AtomicBool::new(false));
    let settled = Arc::new(AtomicU64::new(0));
    let worst_us = Arc::new(AtomicU64::new(0));
    let body: Vec<u8> = (0..bytes).map(|i| u8::try_from(i * 7919 % 251).unwrap_or(0)).collect();
    let body = Bytes::from(body);
    let mut tasks = Vec::new();
    for _ in 0..sessions {
        let (queue, stop, clock, body, worst) =
            (Arc::clone(&queue), Arc::clone(&stop), Arc::clone(&clock), body.clone(), Arc::clone(&worst_us));
        tasks.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut writer = queue.begin(Some(body.len() as u64)).expect("room");
                for chunk in body.chunks(65_536) {
                    writer.write(chunk).expect("written");
                }
                let began = Instant::now();
                writer.commit(entry(clock.now())).await.expect("accepted");
                worst.fetch_max(u64::try_from(began.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
            }
        }));
    }
    let dispatcher = dispatch(Arc::clone(&queue), Arc::clone(&settled), Arc::clone(&clock));
    let (began, cpu, (calls, written_bytes)) = (Instant::now(), cpu_ms(), written());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("session");
    }
    while queue.stat().entries > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (took, stat, done) = (began.elapsed().as_secs_f64(), queue.stat(), settled.load(Ordering::Relaxed));
    dispatcher.abort();
    #[allow(clippy::cast_precision_loss)]
    let (rate, group, cpu) = (done as f64 / took, stat.operations as f64 / stat.commits as f64, (cpu_ms() - cpu) as f64 / done as f64);
    println!(
        "{sessions} sessions, {bytes} bytes: {rate:.0} messages/s, {group:.1} operations a commit, {:.0} commits/s, {cpu:.3} CPU-s a thousand, worst accept {} ms",
        stat.commits as f64 / took,
        worst_us.load(Ordering::Relaxed) / 1000
    );
    let (calls, written_bytes) = (written().0 - calls, written().1 - written_bytes);
    #[allow(clippy::cast_precision_loss)]
    let (calls, kib) = (calls / done as f64, written_bytes / 1024.0 / done as f64);
    println!("    a message: {calls:.1} write calls, {kib:.1} KiB written");
    queue.stop().await;
}
