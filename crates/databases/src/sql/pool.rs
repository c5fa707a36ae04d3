//! A few open connections, shared. Called by the keeper. Waits are bounded in time and number; after a failure to connect, questions of the next second
//! fail at once, so that a database that is down costs its callers one time-out, not one each.

use super::link::{Link, LinkError, Opener, Purpose};
use crate::settings::Limits;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A link that lay idle for longer is asked whether it still lives.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);
/// How long a failure stands for the next questions.
const FAILURE_STANDS: Duration = Duration::from_secs(1);
/// Callers that wait for one connection, at most: more are told that the database is busy.
const WAITING_FOR_ONE_MAX: usize = 32;

/// Connections for one purpose.
#[derive(Debug)]
pub(crate) struct Pool {
    opener: Arc<dyn Opener>,
    limits: Limits,
    state: Mutex<State>,
    freed: Condvar,
}

/// A link that nobody uses, and since when.
type Idle = (Box<dyn Link>, Instant);

#[derive(Default)]
struct State {
    idle: VecDeque<Idle>,
    /// Links that exist or are being opened.
    open: usize,
    waiting: usize,
    failed: Option<(Instant, String)>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} open, {} idle, {} waiting", self.open, self.idle.len(), self.waiting)
    }
}

/// A link in use; gives itself back.
struct Held<'a> {
    pool: &'a Pool,
    link: Option<Box<dyn Link>>,
    is_fresh: bool,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.link.take() {
            Some(link) => state.idle.push_front((link, Instant::now())),
            None => state.open = state.open.saturating_sub(1),
        }
        self.pool.freed.notify_one();
    }
}

impl Pool {
    pub(crate) fn new(opener: Arc<dyn Opener>, limits: Limits) -> Self {
        Self { opener, limits, state: Mutex::default(), freed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` on a connection. A question whose connection had died while it lay idle is asked once more on a new one; a change never is.
    pub(crate) fn with<T>(&self, purpose: Purpose, work: impl Fn(&mut dyn Link) -> Result<T, LinkError>) -> Result<T, LinkError> {
        let mut held = self.take(purpose)?;
        let first = self.attempt(&mut held, &work);
        match first {
            Err(LinkError::Lost(_)) if purpose == Purpose::Read && !held.is_fresh => {
                drop(held);
                self.forget_idle();
                let mut held = self.take(purpose)?;
                self.attempt(&mut held, &work)
            }
            other => other,
        }
    }

    fn attempt<T>(&self, held: &mut Held<'_>, work: &impl Fn(&mut dyn Link) -> Result<T, LinkError>) -> Result<T, LinkError> {
        // Taken out while it works: a link whose work panicked is in an unknown state, and is dropped with it.
        let Some(mut link) = held.link.take() else { return Err(LinkError::Lost("no connection".into())) };
        let result = work(link.as_mut());
        match &result {
            Err(LinkError::Late(what)) => self.note_failure(what),
            Err(LinkError::Lost(what)) if held.is_fresh => self.note_failure(what),
            Err(LinkError::Lost(_)) => {}
            _ => held.link = Some(link),
        }
        result
    }

    /// An idle link that still lives, or a new one.
    fn take(&self, purpose: Purpose) -> Result<Held<'_>, LinkError> {
        loop {
            let idle = self.place(purpose)?;
            let mut held = Held { pool: self, link: None, is_fresh: idle.is_none() };
            let Some((mut link, since)) = idle else {
                match self.opener.open(purpose) {
                    Ok(link) => {
                        self.lock().failed = None;
                        held.link = Some(link);
                        return Ok(held);
                    }
                    Err(error) => {
                        self.note_failure(match &error {
                            LinkError::Lost(what) | LinkError::Late(what) | LinkError::Refused(what) => what,
                            _ => "cannot connect",
                        });
                        return Err(error);
                    }
                }
            };
            let trusted = purpose == Purpose::Read && since.elapsed() < TRUSTED_IDLE;
            match if trusted { Ok(()) } else { link.ping() } {
                Ok(()) => {
                    held.link = Some(link);
                    return Ok(held);
                }
                Err(LinkError::Late(what)) => {
                    self.note_failure(&what);
                    return Err(LinkError::Late(what));
                }
                Err(_) => self.forget_idle(), // the others lay as long
            }
        }
    }

    /// A place among the connections, with an idle link if there is one. Waits for at most the query time-out.
    fn place(&self, purpose: Purpose) -> Result<Option<Idle>, LinkError> {
        let until = Instant::now() + self.limits.query;
        let connections_max = self.limits.connections_max.max(1);
        let mut state = self.lock();
        loop {
            if let Some(idle) = state.idle.pop_front() {
                return Ok(Some(idle));
            }
            if let Some((at, what)) = &state.failed
                && at.elapsed() < FAILURE_STANDS
                && purpose == Purpose::Read
            {
                return Err(LinkError::Lost(what.clone()));
            }
            if state.open < connections_max {
                state.open += 1;
                return Ok(None);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.waiting >= connections_max.saturating_mul(WAITING_FOR_ONE_MAX) {
                return Err(LinkError::Lost("all connections are busy".into()));
            }
            state.waiting += 1;
            state = self.freed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting = state.waiting.saturating_sub(1);
        }
    }

    fn note_failure(&self, what: &str) {
        self.lock().failed = Some((Instant::now(), what.to_owned()));
        self.freed.notify_all();
    }

    fn forget_idle(&self) {
        let mut state = self.lock();
        let gone = std::mem::take(&mut state.idle);
        state.open = state.open.saturating_sub(gone.len());
        drop(state);
        drop(gone);
    }
}
