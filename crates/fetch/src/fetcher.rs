//! All accounts: which is due, which is asked for, how they stand. `serve` keeps one for its timers and its control socket, `postino fetch` makes one when
//! no server runs. Never runs one account twice at a time; knows no protocol.

use crate::run::{self, Mode, Outcome, Ports, Trouble};
use postino_control::fetch::{FetchAccount, FetchProtocol};
use postino_ports::event::Event;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Accounts being run over at once: each holds a connection and a message being received.
const AT_ONCE: usize = 4;
/// How often the timers are looked at.
const TICK: Duration = Duration::from_secs(1);
/// After trouble an account waits longer and longer, up to this (or its own interval, when that is longer).
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// Commands whose outcome is kept for those who ask.
const JOBS_MAX: usize = 16;

/// How an account stands in a command.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Stage {
    /// Not begun.
    #[default]
    Waiting,
    /// Begun.
    Running,
    /// Ended well.
    Done,
    /// Ended early; why.
    Failed(String),
}

/// One account in a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Account.
    pub name: String,
    /// How far it is.
    pub stage: Stage,
    /// What came of it so far.
    pub outcome: Outcome,
}

struct Job {
    id: u64,
    accounts: Vec<Place>,
}

struct Place {
    name: String,
    stage: Arc<Mutex<Stage>>,
    progress: watch::Receiver<Outcome>,
}

/// See the module.
pub struct Fetcher {
    ports: Ports,
    places: Semaphore,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    jobs: Mutex<VecDeque<Job>>,
    tasks: Mutex<JoinSet<()>>,
    next: AtomicU64,
}

/// When an account runs next.
#[derive(Default)]
struct Due {
    at: Duration,
    failures: u32,
    told: String,
    is_running: bool,
}

impl Fetcher {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(ports: Ports) -> Arc<Self> {
        Arc::new(Self {
            ports,
            places: Semaphore::new(AT_ONCE),
            turns: Mutex::new(HashMap::new()),
            jobs: Mutex::new(VecDeque::new()),
            tasks: Mutex::new(JoinSet::new()),
            next: AtomicU64::new(1),
        })
    }

    /// Runs over one account, after all others that run over it. The last value of `progress` is the outcome, also after trouble.
    ///
    /// # Errors
    /// All are temporary: the next run goes on.
    pub async fn run(&self, account: &FetchAccount, mode: Mode, progress: &watch::Sender<Outcome>) -> Result<(), Trouble> {
        let turn = Arc::clone(lock(&self.turns).entry(account.name.clone()).or_default());
        let _turn = turn.lock().await;
        let _place = self.places.acquire().await;
        let began = self.ports.clock.monotonic();
        let limit = self.ports.config.get().server.limits.session;
        let result = match tokio::time::timeout(limit, run::run(&self.ports, account, mode, progress)).await {
            Ok(result) => result,
            Err(_) => Err(Trouble::TooLong),
        };
        let outcome = progress.borrow().clone();
        if outcome.fetched > 0 || outcome.deleted > 0 {
            let millis = self.ports.clock.monotonic().saturating_sub(began).as_millis();
            self.tell(account, &outcome, if result.is_ok() { "quit" } else { "closed" }, u64::try_from(millis).unwrap_or(u64::MAX));
        }
        result
    }

    fn tell(&self, account: &FetchAccount, outcome: &Outcome, reason: &str, millis: u64) {
        self.ports.events.emit(&Event::SessionEnded {
            service: if account.protocol == FetchProtocol::Pop3 { "fetch-pop3" } else { "fetch-imap" },
            session: self.next.fetch_add(1, Ordering::Relaxed),
            peer: outcome.peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            login: &account.name,
            tls: "",
            messages: outcome.fetched as u64,
            bytes: outcome.bytes,
            reason,
            millis,
        });
    }

    /// Runs over every account at its interval, until the task is ended.
    pub async fn timers(self: Arc<Self>) {
        let mut due: HashMap<String, Due> = HashMap::new();
        let mut running: JoinSet<(String, Outcome, Result<(), Trouble>)> = JoinSet::new();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.start_due(&mut due, &mut running),
                Some(ended) = running.join_next() => {
                    if let Ok((name, outcome, result)) = ended {
                        self.settle(&name, &outcome, &result, due.entry(name.clone()).or_default());
                    }
                }
            }
        }
    }

    fn start_due(self: &Arc<Self>, due: &mut HashMap<String, Due>, running: &mut JoinSet<(String, Outcome, Result<(), Trouble>)>) {
        let config = self.ports.config.get();
        let now = self.ports.clock.monotonic();
        due.retain(|name, d| d.is_running || config.server.fetch.iter().any(|a| a.name == *name));
        for account in config.server.fetch.iter().filter(|a| a.every.is_some()) {
            let entry = due.entry(account.name.clone()).or_default();
            if entry.is_running || entry.at > now {
                continue;
            }
            entry.is_running = true;
            let (fetcher, account) = (Arc::clone(self), account.clone());
            running.spawn(async move {
                let (progress, outcome) = watch::channel(Outcome::default());
                let result = fetcher.run(&account, Mode::Fetch, &progress).await;
                let outcome = outcome.borrow().clone();
                (account.name, outcome, result)
            });
        }
    }

    fn settle(&self, name: &str, outcome: &Outcome, result: &Result<(), Trouble>, due: &mut Due) {
        let config = self.ports.config.get();
        let every = config.server.fetch.iter().find(|a| a.name == name).and_then(|a| a.every).unwrap_or(PAUSE_MAX);
        due.is_running = false;
        let told = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let wait = if result.is_ok() {
            due.failures = 0;
            if outcome.more && outcome.fetched > 0 { TICK } else { every }
        } else {
            let wait = every.saturating_mul(1 << due.failures.min(12)).min(PAUSE_MAX.max(every));
            due.failures = due.failures.saturating_add(1);
            // What got somewhere is not in such trouble.
            if outcome.fetched > 0 { every } else { wait }
        };
        if !told.is_empty() && told != due.told {
            self.ports
                .events
                .emit(&Event::Warning { what: "fetch failed; it is tried again", detail: &format!("account={name} error={told}") });
        }
        due.told = told;
        due.at = self.ports.clock.monotonic().saturating_add(wait);
    }

    /// Begins a command over these accounts (none: all); gives its number for [`Fetcher::standing`]. Must run inside the runtime.
    ///
    /// # Errors
    /// A name that is no account, or no account at all.
    pub fn start(self: &Arc<Self>, names: &[String], mode: Mode) -> Result<u64, String> {
        let accounts = chosen(&self.ports.config.get().server.fetch, names)?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut places = Vec::new();
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {} // those that ended long ago
        for account in accounts {
            let (progress, outcome) = watch::channel(Outcome::default());
            let stage = Arc::new(Mutex::new(Stage::Waiting));
            places.push(Place { name: account.name.clone(), stage: Arc::clone(&stage), progress: outcome });
            let fetcher = Arc::clone(self);
            tasks.spawn(async move {
                *lock(&stage) = Stage::Running;
                let result = fetcher.run(&account, mode, &progress).await;
                *lock(&stage) = result.map_or_else(|trouble| Stage::Failed(trouble.to_string()), |()| Stage::Done);
            });
        }
        drop(tasks);
        let mut jobs = lock(&self.jobs);
        jobs.push_back(Job { id, accounts: places });
        while jobs.len() > JOBS_MAX {
            jobs.pop_front();
        }
        Ok(id)
    }

    /// How a command stands; `None` when it was long ago.
    #[must_use]
    pub fn standing(&self, id: u64) -> Option<Vec<Standing>> {
        let jobs = lock(&self.jobs);
        let job = jobs.iter().find(|job| job.id == id)?;
        let one = |place: &Place| {
            let stage = lock(&place.stage).clone();
            Standing { name: place.name.clone(), stage, outcome: place.progress.borrow().clone() }
        };
        Some(job.accounts.iter().map(one).collect())
    }
}

/// The accounts of these names, all without names.
fn chosen(accounts: &[FetchAccount], names: &[String]) -> Result<Vec<FetchAccount>, String> {
    if accounts.is_empty() {
        return Err("no [[fetch]] account in control/server.toml".into());
    }
    if names.is_empty() {
        return Ok(accounts.to_vec());
    }
    let one = |name: &String| {
        let known = || accounts.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
        accounts.iter().find(|a| a.name == *name).cloned().ok_or_else(|| format!("no account \"{name}\"; there are: {}", known()))
    };
    names.iter().map(one).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
