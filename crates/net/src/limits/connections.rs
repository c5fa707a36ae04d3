//! Connections at once: in all and from one address, with a rule for the day when the house is full: whoever idles without having
//! done anything useful makes room for the next. The accept loop and the sessions use it.

use super::neighbourhood;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Shared by all listeners.
#[derive(Debug)]
pub struct ConnectionLimits {
    slots: Arc<Semaphore>,
    total_max: usize,
    per_address_max: AtomicUsize,
    next_session: AtomicU64,
    open: AtomicUsize,
    evicted: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_address: HashMap<u128, usize>,
    /// Sessions that idle before login, oldest first.
    idle: BTreeMap<u64, Arc<Notify>>,
}

impl ConnectionLimits {
    /// `total` connections at once and `per_address` from one IPv4 address or IPv6 /64; 0 = no limit.
    #[must_use]
    pub fn new(total: usize, per_address: usize) -> Arc<Self> {
        let slots = if total == 0 { Semaphore::MAX_PERMITS } else { total.min(Semaphore::MAX_PERMITS) };
        Arc::new(Self {
            slots: Arc::new(Semaphore::new(slots)),
            total_max: total,
            per_address_max: AtomicUsize::new(per_address),
            next_session: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            state: Mutex::new(State::default()),
        })
    }

    /// Another limit per address, for connections from now on.
    pub fn set_per_address(&self, per_address: usize) {
        self.per_address_max.store(per_address, Ordering::Relaxed);
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Idle sessions that were asked to make room since start.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// True when nine tenths of the slots are taken: sessions then use short idle times (10 s) before login or MAIL.
    #[must_use]
    pub fn under_stress(&self) -> bool {
        self.total_max != 0 && self.open() >= self.total_max - self.total_max / 10
    }

    /// A free slot, if there is one.
    #[must_use]
    pub fn try_slot(self: &Arc<Self>) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some(Slot { limits: Arc::clone(self), permit })
    }

    /// Waits for a free slot; when there is none, the session that idles longest before login is asked to leave. To be called when a
    /// connection waits to be accepted, before accept(2). Cancel-safe.
    pub async fn slot(self: &Arc<Self>) -> Slot {
        if let Some(slot) = self.try_slot() {
            return slot;
        }
        self.evict_oldest();
        let permit = Arc::clone(&self.slots).acquire_owned().await.expect("invariant: the semaphore is never closed");
        Slot { limits: Arc::clone(self), permit }
    }

    fn evict_oldest(&self) {
        let oldest = self.state().idle.pop_first();
        if let Some((_, wake)) = oldest {
            self.evicted.fetch_add(1, Ordering::Relaxed);
            wake.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot for a connection whose address is not known yet.
#[derive(Debug)]
pub struct Slot {
    limits: Arc<ConnectionLimits>,
    permit: OwnedSemaphorePermit,
}

impl Slot {
    /// The connection comes from `ip`; `None` when that address holds too many already.
    #[must_use]
    pub fn admit(self, ip: IpAddr) -> Option<ConnectionPermit> {
        let Self { limits, permit } = self;
        let key = neighbourhood(ip);
        let max = limits.per_address_max.load(Ordering::Relaxed);
        {
            let mut state = limits.state();
            let count = state.by_address.entry(key).or_insert(0);
            if max != 0 && *count >= max {
                return None;
            }
            *count = count.saturating_add(1);
        }
        limits.open.fetch_add(1, Ordering::Relaxed);
        let session = limits.next_session.fetch_add(1, Ordering::Relaxed);
        let place = Place { limits, session, key, wake: Arc::new(Notify::new()), _slot: permit };
        Some(ConnectionPermit { place: Arc::new(place) })
    }
}

/// A connection's place. Clones share it; it is free again when the last one is dropped.
#[derive(Debug, Clone)]
pub struct ConnectionPermit {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    limits: Arc<ConnectionLimits>,
    session: u64,
    key: u128,
    wake: Arc<Notify>,
    _slot: OwnedSemaphorePermit,
}

impl ConnectionPermit {
    /// Number of the session, unique in this process.
    #[must_use]
    pub fn session(&self) -> postino_types::SessionId {
        postino_types::SessionId(self.place.session)
    }

    /// The limits that this place belongs to.
    #[must_use]
    pub fn limits(&self) -> &Arc<ConnectionLimits> {
        &self.place.limits
    }

    /// See [`ConnectionLimits::under_stress`].
    #[must_use]
    pub fn under_stress(&self) -> bool {
        self.place.limits.under_stress()
    }

    /// Ends when this session should make room. Await it beside the read while the client has not logged in (POP3) or is between
    /// transactions (SMTP): only while it is awaited may the session be chosen. Cancel-safe.
    pub async fn evicted(&self) {
        let _listed = Listed::new(&self.place);
        self.place.wake.notified().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.limits.state();
        state.idle.remove(&self.session);
        if let Some(count) = state.by_address.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.by_address.remove(&self.key);
            }
        }
        drop(state);
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps a session on the list of those that may be evicted.
struct Listed<'a>(&'a Place);

impl<'a> Listed<'a> {
    fn new(place: &'a Place) -> Self {
        place.limits.state().idle.insert(place.session, Arc::clone(&place.wake));
        Self(place)
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.0.limits.state().idle.remove(&self.0.session);
    }
}

#[cfg(test)]
mod tests;
