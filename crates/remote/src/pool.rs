//! Idle connections kept for the next message to the same place: for as long as configured while other mail for the place is under way,
//! for a moment otherwise. Called by `transact`; bounded, and emptied by a task that ends with the last connection.

use crate::connection::Connection;
use postino_smtp::client::Login;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Idle connections, all destinations together: each is a descriptor here and a slot there.
const IDLE_MAX: usize = 256;
/// Without other mail under way to its place a connection rests this part of the usual time (50 ms of 5 s): a run of messages one after
/// the other still shares it, and a host that nobody writes to any more has its slot back at once.
const ALONE_PART: u32 = 100;

/// What two messages must share to share a connection.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PoolKey {
    /// Where.
    pub(crate) peer: SocketAddr,
    /// Our name.
    pub(crate) helo: String,
    /// TLS wish.
    pub(crate) tls: postino_smtp::client::TlsWish,
    /// Login, with the relay's name (its certificate was checked for that name).
    pub(crate) login: Option<(String, String, String)>,
}

impl PoolKey {
    pub(crate) fn login_of(login: &Login, host: &str) -> Option<(String, String, String)> {
        match login {
            Login::No => None,
            Login::With(c) => Some((host.to_owned(), c.user.clone(), c.password.clone())),
        }
    }
}

struct Idle {
    connection: Connection,
    until: Instant,
}

#[derive(Default)]
struct Shelf {
    idle: HashMap<PoolKey, VecDeque<Idle>>,
    count: usize,
    /// Deliveries under way, by place.
    under_way: HashMap<SocketAddr, usize>,
    reaper: Option<JoinHandle<()>>,
}

/// The pool.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    shelf: Arc<Mutex<Shelf>>,
    /// Wakes the reaper when something is to end sooner than it thought.
    sooner: Arc<Notify>,
}

/// A delivery under way to a place; ends when dropped.
pub(crate) struct UnderWay {
    pool: Pool,
    place: SocketAddr,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut shelf = self.pool.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = shelf.under_way.get_mut(&self.place) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                shelf.under_way.remove(&self.place);
            }
        }
    }
}

impl Pool {
    /// Tells that a delivery to `place` begins.
    pub(crate) fn begin(&self, place: SocketAddr) -> UnderWay {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let count = shelf.under_way.entry(place).or_insert(0);
        *count = count.saturating_add(1);
        drop(shelf);
        UnderWay { pool: self.clone(), place }
    }

    /// A live idle connection, the one used last first. Dead ones are dropped on the way.
    pub(crate) fn take(&self, key: &PoolKey) -> Option<Connection> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = &mut *shelf;
        let queue = shelf.idle.get_mut(key)?;
        let mut found = None;
        while let Some(idle) = queue.pop_back() {
            shelf.count -= 1;
            if idle.until > Instant::now() && idle.connection.is_alive() {
                found = Some(idle.connection);
                break;
            }
        }
        if queue.is_empty() {
            shelf.idle.remove(key);
        }
        found
    }

    /// Keeps a connection for `rest`, or gives it back when there is no room (the caller quits). When nothing else is under way to the
    /// place, this connection and the others that rest there are kept for a moment only.
    pub(crate) fn put(&self, key: PoolKey, mut connection: Connection, rest: Duration, per_key_max: usize) -> Option<Connection> {
        let mut guard = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = &mut *guard;
        if rest.is_zero() || shelf.count >= IDLE_MAX || shelf.idle.get(&key).is_some_and(|q| q.len() >= per_key_max) {
            return Some(connection);
        }
        connection.rest();
        shelf.count += 1;
        // The caller's own delivery is one of them.
        let alone = shelf.under_way.get(&key.peer).is_none_or(|&count| count <= 1);
        let rest = if alone { rest / ALONE_PART } else { rest };
        let until = Instant::now() + rest;
        let queue = shelf.idle.entry(key).or_default();
        if alone {
            for idle in queue.iter_mut() {
                idle.until = idle.until.min(until);
            }
            self.sooner.notify_one();
        }
        queue.push_back(Idle { connection, until });
        if shelf.reaper.as_ref().is_none_or(JoinHandle::is_finished) {
            shelf.reaper = Some(tokio::spawn(reap(Arc::downgrade(&self.shelf), self.sooner.clone(), rest)));
        }
        None
    }

    /// Idle connections now.
    pub(crate) fn idle(&self) -> usize {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// Says QUIT on every idle connection.
    pub(crate) async fn close(&self) {
        let (all, reaper) = {
            let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.count = 0;
            (std::mem::take(&mut shelf.idle), shelf.reaper.take())
        };
        if let Some(reaper) = reaper {
            reaper.abort();
        }
        for idle in all.into_values().flatten() {
            idle.connection.quit().await;
        }
    }
}

/// Closes connections whose rest is over; ends when none is left (the next `put` starts a new one).
async fn reap(shelf: Weak<Mutex<Shelf>>, sooner: Arc<Notify>, rest: Duration) {
    let mut wake = Instant::now() + rest;
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = sooner.notified() => {}
        }
        let Some(shelf) = shelf.upgrade() else { return };
        let (expired, next) = take_expired(&shelf);
        for connection in expired {
            connection.quit().await;
        }
        match next {
            Some(next) => wake = next,
            None => return,
        }
    }
}

fn take_expired(shelf: &Mutex<Shelf>) -> (Vec<Connection>, Option<Instant>) {
    let mut guard = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    let shelf = &mut *guard;
    let now = Instant::now();
    let mut expired = Vec::new();
    for queue in shelf.idle.values_mut() {
        // The front one ends first: those put later end later, or all were cut to the same moment.
        while queue.front().is_some_and(|idle| idle.until <= now) {
            expired.extend(queue.pop_front().map(|idle| idle.connection));
        }
    }
    shelf.idle.retain(|_, queue| !queue.is_empty());
    shelf.count -= expired.len();
    let next = shelf.idle.values().flatten().map(|idle| idle.until).min();
    if next.is_none() {
        // Forgotten under the same lock that `put` takes: no connection is left without a reaper.
        shelf.reaper = None;
    }
    (expired, next)
}
