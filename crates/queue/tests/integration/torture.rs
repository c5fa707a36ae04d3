//! Faults at the k-th system call: a child runs a small load under strace, which injects an error or kills it. Whatever the child was promised must be
//! there afterwards, whole, and nothing torn; after an error the queue must work again. Needs strace; without it the test says so and passes.

use crate::house::{accept, body, deferred, delivered, new_entry, seed_of};
use postino_ports::clock::Clock;
use postino_ports::queue::{NewBody, NewMessage, Queue, QueueEntry, Settlement};
use postino_queue::{QueueOptions, QueueStore, Repair, check};
use postino_types::{Origin, QueueId, Time};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const MESSAGES: u64 = 24;
/// The whole stays short on two slow cores; `TORTURE_SECONDS` allows more by hand.
const SECONDS: u64 = 45;
/// Rounds within that time, each with a later call than the one before.
const ROUNDS: u32 = 8;

struct WallClock(Instant);

impl Clock for WallClock {
    fn now(&self) -> Time {
        Time(i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap())
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn open(home: &Path) -> Arc<QueueStore> {
    QueueStore::open(QueueOptions {
        dir: home.join("queue"),
        inline_body_bytes: 65_536,
        body_memory_bytes: 64 << 20,
        disk_reserve_bytes: 0,
        message_bytes_max: 1 << 20,
        clock: Arc::new(WallClock(Instant::now())),
    })
    .unwrap()
}

fn size_of(seed: u64) -> usize {
    [300, 10_000, 90_000][usize::try_from(seed % 3).unwrap()]
}

/// One line, in one write: either the parent has it or it does not.
fn say(line: &str) {
    use std::io::Write;
    std::io::stdout().write_all(format!("\n@ {line}\n").as_bytes()).unwrap();
}

async fn deliver(queue: Arc<QueueStore>, entry: Arc<QueueEntry>) {
    let (id, now) = (entry.id, WallClock(Instant::now()).now());
    let later = Some(now.plus_secs(3600));
    let settle = |changes, new, release| Settlement { id, changes, new, release };
    let forwarded = matches!(entry.origin, Origin::Forward { .. });
    match seed_of(&entry) % 4 {
        _ if forwarded => drop(queue.settle(settle(vec![(0, deferred(1))], vec![], later)).await),
        0 => drop(queue.settle(settle(vec![(0, deferred(1))], vec![], later)).await),
        remainder => {
            let mut new = Vec::new();
            if remainder == 1 {
                let mut child = new_entry(seed_of(&entry), 1, now);
                child.origin = Origin::Forward { of: id, uid: 0 };
                new.push(NewMessage { entry: child, body: NewBody::Parent });
            }
            say(&format!("try {id} {}", new.len()));
            if queue.settle(settle(vec![(0, delivered())], new, later)).await.is_ok() {
                say(&format!("settled {id}"));
            }
        }
    }
}

/// The child: not a test of its own.
#[test]
#[ignore = "run by the torture test"]
fn child() {
    let Some(home) = std::env::var_os("TORTURE_HOME") else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let queue = open(Path::new(&home));
        say("open");
        let dispatcher = {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                loop {
                    for entry in queue.due(8).await {
                        tokio::spawn(deliver(Arc::clone(&queue), entry));
                    }
                }
            })
        };
        let sessions: Vec<_> = (0..4)
            .map(|session| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    for seed in (session..MESSAGES).step_by(4) {
                        receive(&queue, seed).await;
                    }
                })
            })
            .collect();
        for session in sessions {
            session.await.unwrap();
        }
        // The fault is over: the queue must take mail again without a restart.
        for attempt in 0..30 {
            if receive(&queue, 1000 + 12 * attempt).await {
                say("healed");
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        dispatcher.abort();
        queue.stop().await;
        say("end");
    });
}

async fn receive(queue: &QueueStore, seed: u64) -> bool {
    let now = WallClock(Instant::now()).now();
    match accept(queue, now, (seed, 1, size_of(seed))).await {
        Ok(id) => {
            say(&format!("accepted {id} {seed}"));
            true
        }
        Err(_) => {
            say("refused");
            false
        }
    }
}

/// What the child was promised.
#[derive(Debug, Default)]
struct Promises {
    accepted: BTreeMap<QueueId, u64>,
    tried: BTreeMap<QueueId, usize>,
    settled: BTreeSet<QueueId>,
    refused: usize,
    opened: bool,
    healed: bool,
    ended: bool,
}

impl Promises {
    fn read(output: &str) -> Self {
        let mut promises = Self::default();
        for line in output.lines().filter_map(|line| line.strip_prefix("@ ")) {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |i: usize| words.get(i).and_then(|w| w.parse::<u64>().ok());
            match (words[0], number(1), number(2)) {
                ("accepted", Some(id), Some(seed)) => drop(promises.accepted.insert(QueueId(id), seed)),
                ("try", Some(id), Some(new)) => drop(promises.tried.insert(QueueId(id), usize::try_from(new).unwrap())),
                ("settled", Some(id), _) => drop(promises.settled.insert(QueueId(id))),
                ("refused", ..) => promises.refused += 1,
                ("open", ..) => promises.opened = true,
                ("healed", ..) => promises.healed = true,
                ("end", ..) => promises.ended = true,
                _ => {}
            }
        }
        promises
    }
}

fn run_child(home: &Path, inject: &str) -> Promises {
    let call = inject.split(':').next().unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={inject}")])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "torture::child", "--nocapture", "--test-threads=1"])
        .env("TORTURE_HOME", home)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    Promises::read(&String::from_utf8_lossy(&output.stdout))
}

/// P1 and P2: all that was promised is there, and whole; what was settled stays settled, with its forwards.
fn judge(home: &Path, promises: &Promises, context: &str) {
    let report = check(home, Repair::No).unwrap();
    assert!(report.is_sound(), "{context}: {report:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let queue = open(home);
        let entries: BTreeMap<_, _> = queue.list(QueueId(0), 10_000).await.unwrap().into_iter().map(|e| (e.id, e)).collect();
        for (id, entry) in &entries {
            let seed = seed_of(entry);
            assert!(crate::house::body_bytes(&queue, *id).await.unwrap() == body(seed, size_of(seed)), "{context}: torn body of {id}");
        }
        let forwarded = |of: &QueueId| entries.values().any(|e| matches!(e.origin, Origin::Forward { of: parent, .. } if parent == *of));
        for (id, seed) in &promises.accepted {
            let there = entries.get(id).is_some_and(|e| seed_of(e) == *seed);
            match promises.tried.get(id) {
                None => assert!(there, "{context}: {id} was accepted and is lost"),
                Some(new) => {
                    assert!(!(there && promises.settled.contains(id)), "{context}: {id} was settled and is back");
                    assert!(there || *new == 0 || forwarded(id), "{context}: the forward of {id} is lost");
                }
            }
        }
        queue.stop().await;
    });
}

const FAULTS: &[(&str, &str)] = &[
    ("fsync", "error=EIO"),
    ("fdatasync", "error=EIO"),
    ("pwrite64", "error=EIO"),
    ("pwrite64", "error=ENOSPC"),
    ("ftruncate", "error=EIO"),
    ("fsync", "signal=KILL"),
    ("fdatasync", "signal=KILL"),
    ("pwrite64", "signal=KILL"),
    ("write", "signal=KILL"),
    ("unlink", "signal=KILL"),
];

#[test]
fn faults_at_the_kth_call_lose_nothing() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: strace is not installed");
        return;
    }
    let by_hand = std::env::var("TORTURE_SECONDS").ok().and_then(|text| text.parse().ok());
    let time_max = Duration::from_secs(by_hand.unwrap_or(SECONDS));
    let rounds = if by_hand.is_some() { 1000 } else { ROUNDS };
    let (began, mut runs, mut faults_met) = (Instant::now(), 0, 0);
    // Round by round, so that a slow machine sees every fault rather than the first one thoroughly.
    for round in 0..rounds {
        for (number, (call, fault)) in FAULTS.iter().enumerate() {
            if began.elapsed() > time_max {
                break;
            }
            let number = u32::try_from(number).unwrap();
            let step = if by_hand.is_some() { round } else { 3 * round.pow(2) / 2 };
            let k = 1 + step + number * round.min(8) / 3;
            // Every other round the trouble lasts: healing itself meets it.
            let last = if fault.starts_with("error") && round % 2 == 1 { k + 4 } else { k };
            let inject = format!("{call}:{fault}:when={k}..{last}");
            let home = tempfile::tempdir().unwrap();
            let promises = run_child(home.path(), &inject);
            judge(home.path(), &promises, &inject);
            runs += 1;
            faults_met += u32::from(!promises.ended || promises.refused > 0);
            if promises.opened && fault.starts_with("error") {
                assert!(promises.healed && promises.ended, "{inject}: the queue did not heal: {promises:?}");
            }
        }
    }
    eprintln!("{runs} runs, {faults_met} met their fault, {:?}", began.elapsed());
    assert!(faults_met > 5, "only {faults_met} of {runs} runs met their fault");
}
