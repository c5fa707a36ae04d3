//! Wrong passwords cost time: by address, by account, and in all. Daemons ask before they check a password and tell how it ended. Pure:
//! time is handed in. Memory is bounded, keys are hashed with random keys, no password comes here.

use super::neighbourhood;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What to do with a login attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Check the password now.
    Now,
    /// Wait so long, then check it.
    After(Duration),
    /// Too many wait already: answer with a temporary refusal and check nothing.
    Refuse,
}

/// The longest wait for one attempt.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// Attempts from one address, or at one account, follow each other at this distance (ms) while nobody there has logged in: five a second.
const SPACING_MS: u64 = 200;
/// Records of one generation: two generations of 32 bytes a record, at most about 2 MB under attack.
const RECORDS_MAX: usize = 16_384;
/// Known good pairs of address and account in one generation.
const KNOWN_MAX: usize = 16_384;
/// So long a pair stays known good after its last login.
const KNOWN_FOR: Duration = Duration::from_secs(14 * 86_400);
/// The house as a whole takes this many times the failures of one address before every unknown one waits.
const GLOBAL_FACTOR: u64 = 100;

/// Counts failed logins. One for the whole house.
#[derive(Debug)]
pub struct LoginThrottle {
    core: Mutex<Core>,
}

impl LoginThrottle {
    /// `failures_per_minute` are free for one address (and for one account); 0 = wrong passwords cost nothing.
    #[must_use]
    pub fn new(failures_per_minute: u32) -> Self {
        Self { core: Mutex::new(Core::new(failures_per_minute)) }
    }

    /// Another limit, from now on.
    pub fn set_limit(&self, failures_per_minute: u32) {
        self.with(|core| core.per_minute = failures_per_minute);
    }

    /// Before the password is checked; one of [`Self::succeeded`], [`Self::failed`], [`Self::undecided`] follows (when the session is
    /// dropped before, the attempt is forgotten in time). `now` is monotonic time (`ports::clock::Clock::monotonic`).
    pub fn admit(&self, peer: IpAddr, login: &[u8], now: Duration) -> Admission {
        self.with(|core| core.admit(peer, login, now))
    }

    /// The attempt was granted: it cost nothing, and this address is known good for this account for 14 days.
    pub fn succeeded(&self, peer: IpAddr, login: &[u8], now: Duration) {
        self.with(|core| core.forgive(peer, login, now, Outcome::Granted));
    }

    /// The name or the password was wrong.
    pub fn failed(&self, peer: IpAddr, login: &[u8], now: Duration) {
        self.with(|core| core.failed(peer, login, now));
    }

    /// The password could not be checked (directory out of order): the attempt costs nothing.
    pub fn undecided(&self, peer: IpAddr, login: &[u8], now: Duration) {
        self.with(|core| core.forgive(peer, login, now, Outcome::Undecided));
    }

    fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        act(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What one key did lately: two buckets that leak with time.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    /// Failures in thousandths; the free ones of a minute leak in a minute.
    failures: u64,
    /// Attempts in thousandths, whatever became of them, leaking one each [`SPACING_MS`]; granted ones are taken out again.
    attempts: u64,
    /// When both were right, milliseconds.
    at: u64,
}

impl Record {
    fn leak(&mut self, now: Duration, per_minute: u64) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let millis = now.saturating_sub(self.at);
        self.failures = self.failures.saturating_sub(millis.saturating_mul(per_minute) / 60);
        self.attempts = self.attempts.saturating_sub(millis.saturating_mul(1000) / SPACING_MS);
        self.at = self.at.max(now);
    }

    /// How long an attempt made now has to wait: nothing while free ones are left; then 1, 2, 4 … 30 s by failures, and attempts side
    /// by side never closer than [`SPACING_MS`] once `at_once` of them have been made.
    fn wait(&mut self, now: Duration, per_minute: u64, at_once: u64) -> Duration {
        self.leak(now, per_minute);
        // Rounded: the little that leaks while an attempt waits for its turn frees no other.
        let over = ((self.failures + 500) / 1000 + 1).saturating_sub(per_minute);
        let delay = if over == 0 { Duration::ZERO } else { Duration::from_secs(1u64 << (over - 1).min(5)).min(DELAY_MAX) };
        let crowd = (self.attempts.div_ceil(1000) + 1).saturating_sub(at_once);
        delay.max(Duration::from_millis(crowd.saturating_mul(SPACING_MS)))
    }

    fn attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1000);
    }

    fn failed(&mut self, now: Duration, per_minute: u64) {
        self.leak(now, per_minute);
        // A ceiling, so that an attack of a day does not slow the owner down for another day.
        self.failures = self.failures.saturating_add(1000).min(per_minute.saturating_add(6).saturating_mul(1000));
    }

    fn refund(&mut self, now: Duration, per_minute: u64) {
        self.leak(now, per_minute);
        self.attempts = self.attempts.saturating_sub(1000);
    }
}

/// A map that forgets what was not touched for long: two generations, the older one dropped whole.
#[derive(Debug)]
struct Ageing<T> {
    young: HashMap<u64, T>,
    old: HashMap<u64, T>,
    max: usize,
}

impl<T: Copy + Default> Ageing<T> {
    fn new(max: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), max }
    }
    fn get(&self, key: u64) -> Option<&T> {
        self.young.get(&key).or_else(|| self.old.get(&key))
    }
    fn entry(&mut self, key: u64) -> &mut T {
        if !self.young.contains_key(&key) && self.young.len() >= self.max {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.get(&key).copied();
        self.young.entry(key).or_insert_with(|| before.unwrap_or_default())
    }
    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[derive(Debug)]
struct Core {
    per_minute: u32,
    hash: RandomState,
    records: Ageing<Record>,
    known: Ageing<Duration>,
    all: Record,
}

/// The hashed names of one attempt.
struct Keys {
    address: u64,
    account: u64,
    pair: u64,
}

impl Core {
    fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            hash: RandomState::new(),
            records: Ageing::new(RECORDS_MAX),
            known: Ageing::new(KNOWN_MAX),
            all: Record::default(),
        }
    }

    fn keys(&self, peer: IpAddr, login: &[u8]) -> Keys {
        let address = neighbourhood(peer);
        let login = login.to_ascii_lowercase();
        Keys {
            address: self.hash.hash_one((1u8, address)),
            account: self.hash.hash_one((2u8, &login)),
            pair: self.hash.hash_one((3u8, address, &login)),
        }
    }

    fn is_known(&self, pair: u64, now: Duration) -> bool {
        self.known.get(pair).is_some_and(|&until| until > now)
    }

    fn admit(&mut self, peer: IpAddr, login: &[u8], now: Duration) -> Admission {
        if self.per_minute == 0 {
            return Admission::Now;
        }
        let keys = self.keys(peer, login);
        let limit = u64::from(self.per_minute);
        if self.is_known(keys.pair, now) {
            // Its own wrong passwords slow it down, other people's never do, and it is never turned away.
            let pair = self.records.entry(keys.pair);
            let wait = pair.wait(now, limit, limit).min(DELAY_MAX);
            pair.attempt();
            return if wait.is_zero() { Admission::Now } else { Admission::After(wait) };
        }
        let by_address = self.records.entry(keys.address).wait(now, limit, 1);
        let by_account = self.records.entry(keys.account).wait(now, limit, 1);
        let in_all = self.all.wait(now, Self::global(limit), Self::global(limit)).min(Duration::from_secs(1));
        let wait = by_address.max(by_account).max(in_all);
        if wait > DELAY_MAX {
            // Not counted: attempts that cost us nothing must not push the owner's turn away.
            return Admission::Refuse;
        }
        self.records.entry(keys.address).attempt();
        self.records.entry(keys.account).attempt();
        self.all.attempt();
        if wait.is_zero() { Admission::Now } else { Admission::After(wait) }
    }

    fn failed(&mut self, peer: IpAddr, login: &[u8], now: Duration) {
        if self.per_minute == 0 {
            return;
        }
        let keys = self.keys(peer, login);
        let limit = u64::from(self.per_minute);
        if self.is_known(keys.pair, now) {
            self.records.entry(keys.pair).failed(now, limit);
        } else {
            self.records.entry(keys.address).failed(now, limit);
            self.records.entry(keys.account).failed(now, limit);
            self.all.failed(now, Self::global(limit));
        }
    }

    fn forgive(&mut self, peer: IpAddr, login: &[u8], now: Duration, outcome: Outcome) {
        if self.per_minute == 0 {
            return;
        }
        let keys = self.keys(peer, login);
        let limit = u64::from(self.per_minute);
        if self.is_known(keys.pair, now) {
            self.records.entry(keys.pair).refund(now, limit);
        } else {
            self.records.entry(keys.address).refund(now, limit);
            self.records.entry(keys.account).refund(now, limit);
            self.all.refund(now, Self::global(limit));
        }
        if outcome == Outcome::Granted {
            *self.known.entry(keys.pair) = now.saturating_add(KNOWN_FOR);
        }
    }

    fn global(limit: u64) -> u64 {
        limit.saturating_mul(GLOBAL_FACTOR)
    }
}

/// How an attempt that costs nothing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Granted,
    Undecided,
}

#[cfg(test)]
mod tests;
