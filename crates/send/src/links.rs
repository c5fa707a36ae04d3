//! Which links are up (control/links), and how far the mail is that was let go when they came up. Held in memory: after a start every link
//! without hours is down, since nobody knows whether its line still stands. Asked by the loop, switched by the server; mail itself it never sees.

use crate::context::Context;
use postino_control::links::{Link, LinkTable};
use postino_ports::queue::{AdminAction, QueueEntry, Selection, SettleError};
use postino_types::{Channel, QueueId, Recipient, Time};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Held mail is looked at again after this at the latest: a settings file may have changed meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Entries read at once when a link comes up.
const PAGE: usize = 500;

/// Tells the minute of the week (since Monday 00:00) that local clocks show at a time.
pub type WeekMinute = Arc<dyn Fn(Time) -> u32 + Send + Sync>;

/// How a link stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Its mail is sent.
    pub is_up: bool,
    /// Messages that were let go when it came up and have not been tried since.
    pub under_way: usize,
}

/// Switches of the links.
#[derive(Debug, Default)]
pub(crate) struct Links {
    states: Mutex<HashMap<Arc<str>, State>>,
    /// Of all links together, so that nobody takes the lock while nothing is under way.
    under_way: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    up: Option<Up>,
    /// Looking through the queue.
    looking: usize,
    under_way: HashSet<QueueId>,
}

#[derive(Debug, Clone, Copy)]
enum Up {
    /// Until it is taken down.
    On,
    /// Until this monotonic moment.
    Until(Duration),
}

impl Links {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Arc<str>, State>) -> T) -> T {
        // A panic elsewhere leaves a switch as it was: that is no reason to stop mail.
        act(&mut self.states.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_switched_on(&self, name: &str, now: Duration) -> bool {
        self.with(|states| match states.get(name).and_then(|state| state.up) {
            None => false,
            Some(Up::On) => true,
            Some(Up::Until(moment)) => now < moment,
        })
    }

    /// Entries that were let go.
    fn let_go(&self, name: &Arc<str>, ids: &[QueueId]) {
        self.with(|states| {
            let under_way = &mut states.entry(name.clone()).or_default().under_way;
            let new = ids.iter().filter(|id| under_way.insert(**id)).count();
            self.under_way.fetch_add(new, Ordering::Relaxed);
        });
    }

    /// An entry was tried, or stays.
    pub(crate) fn tried(&self, id: QueueId) {
        if self.under_way.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.with(|states| {
            let gone: usize = states.values_mut().map(|state| usize::from(state.under_way.remove(&id))).sum();
            self.under_way.fetch_sub(gone, Ordering::Relaxed);
        });
    }
}

impl Context {
    /// For how long mail of this link is left alone; `None`: it is up.
    pub(crate) fn link_rests(&self, link: &Link) -> Option<Duration> {
        if self.links.is_switched_on(&link.name, self.parts.clock.monotonic()) {
            return None;
        }
        let minute = (self.parts.week_minute)(self.parts.clock.now());
        match link.hours.iter().filter_map(|hours| hours.until(minute)).min() {
            Some(0) => None,
            // The minute that has begun is not waited for twice.
            Some(minutes) => Some(Duration::from_secs(u64::from(minutes) * 60).saturating_sub(Duration::from_secs(30)).min(LOOK_AGAIN)),
            None => Some(LOOK_AGAIN),
        }
        .map(|rest| rest.max(Duration::from_secs(15)))
    }

    pub(crate) fn link_state(&self, link: &Link) -> LinkState {
        let is_up = self.link_rests(link).is_none();
        let under_way = self.links.with(|states| states.get(&link.name).map_or(0, |s| s.under_way.len() + s.looking));
        LinkState { is_up, under_way }
    }

    /// Switches a link on and lets its mail go; the number of messages.
    pub(crate) async fn link_up(&self, link: &Link, window: Option<Duration>) -> Result<u64, SettleError> {
        let until = window.map_or(Up::On, |window| Up::Until(self.parts.clock.monotonic().saturating_add(window)));
        self.links.with(|states| {
            let state = states.entry(link.name.clone()).or_default();
            // A window never shortens what an administrator has switched on.
            if !(matches!(state.up, Some(Up::On)) && window.is_some()) {
                state.up = Some(until);
            }
            state.looking += 1;
        });
        self.forget.notify_one();
        let found = self.let_go(link).await;
        self.links.with(|states| {
            if let Some(state) = states.get_mut(&link.name) {
                state.looking = state.looking.saturating_sub(1);
            }
        });
        // Those in flight when the link came up heard the old word about it.
        self.forget.notify_one();
        found
    }

    pub(crate) fn link_down(&self, link: &Link) {
        self.links.with(|states| {
            if let Some(state) = states.get_mut(&link.name) {
                state.up = None;
            }
        });
    }

    async fn let_go(&self, link: &Link) -> Result<u64, SettleError> {
        let queue = &self.parts.queue;
        let (mut after, mut count) = (QueueId(0), 0u64);
        loop {
            let page = queue.list(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after = last.id;
            let config = self.config();
            let ids: Vec<QueueId> =
                page.iter().filter(|entry| !entry.held && waits_for(&config.links, entry, &link.name)).map(|e| e.id).collect();
            if !ids.is_empty() {
                count += ids.len() as u64;
                self.links.let_go(&link.name, &ids);
                queue.admin(AdminAction::Retry, Selection::Ids(ids)).await?;
            }
        }
    }
}

/// The link that a recipient's mail goes over.
pub(crate) fn link_of<'a>(links: &'a LinkTable, recipient: &Recipient) -> Option<&'a Arc<Link>> {
    if links.is_empty() || recipient.routed.channel != Channel::Remote {
        return None;
    }
    links.of_host(recipient.routed.address.host().unwrap_or_default())
}

/// Has the entry a recipient left who is reached over this link?
#[must_use]
pub fn waits_for(links: &LinkTable, entry: &QueueEntry, name: &str) -> bool {
    let both = entry.envelope.recipients.iter().zip(&entry.states);
    both.filter(|(_, state)| state.is_pending()).any(|(recipient, _)| link_of(links, recipient).is_some_and(|link| &*link.name == name))
}
