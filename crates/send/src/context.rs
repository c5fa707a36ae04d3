//! What the scheduler is given, and what all of its tasks share. Made by the server through `Scheduler::new`; holds no state of deliveries.

use crate::links::{Links, WeekMinute};
use postino_control::{Config, Live};
use postino_ports::body::Body;
use postino_ports::clock::Clock;
use postino_ports::deliver::Deliver;
use postino_ports::event::{Event, Events};
use postino_ports::queue::{Queue, QueueEntry};
use postino_types::Channel;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{Notify, OnceCell};

/// Whose habits the scheduler has where they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Postino's: a failure is told when its pass is over.
    #[default]
    Native,
    /// qmail-send's: failures are told in one bounce when the message is finished, and the log shows qmail-queue's pid.
    Qmail {
        /// The account `alias`: its forwards are labelled so in their first line.
        alias: Option<u32>,
    },
}

/// The ports and facts the scheduler works with.
pub struct Parts {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// Delivers to this machine.
    pub local: Arc<dyn Deliver>,
    /// Delivers to other hosts.
    pub remote: Arc<dyn Deliver>,
    /// The configuration in force.
    pub config: Live,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Who hears.
    pub events: Arc<dyn Events>,
    /// Our uid, for `uid` in the log where no other is known.
    pub uid: u32,
    /// Whose habits.
    pub profile: Profile,
    /// Local time, for the hours of links.
    pub week_minute: WeekMinute,
}

/// Shared by the loop and its tasks.
pub(crate) struct Context {
    pub(crate) parts: Parts,
    pub(crate) pid: u32,
    /// Raised by `forget_backoff`.
    pub(crate) forget: Notify,
    pub(crate) links: Links,
    /// Keys of the standard library's hash come from the system's random source; nobody outside sees them.
    secret: RandomState,
    counter: AtomicU64,
}

/// A body that the deliveries of one pass share; opened by the first that needs it.
pub(crate) type SharedBody = Arc<OnceCell<Body>>;

impl Context {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            pid: std::process::id(),
            forget: Notify::new(),
            links: Links::default(),
            secret: RandomState::new(),
            counter: AtomicU64::new(0),
        }
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        self.parts.config.get()
    }

    pub(crate) fn emit(&self, event: &Event<'_>) {
        self.parts.events.emit(event);
    }

    pub(crate) fn deliver(&self, channel: Channel) -> &Arc<dyn Deliver> {
        match channel {
            Channel::Local => &self.parts.local,
            Channel::Remote => &self.parts.remote,
        }
    }

    /// The entry's body. An entry that was removed meanwhile has none: an error like any other, its settlement comes to nothing.
    pub(crate) async fn body(&self, shared: &SharedBody, entry: &QueueEntry) -> Result<Body, String> {
        let open = || async {
            match self.parts.queue.open(entry.id).await {
                Ok(Some(body)) => Ok(body),
                Ok(None) => Err("the message is gone".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        shared.get_or_try_init(open).await.cloned()
    }

    /// 32 hex digits that nobody outside can guess: a MIME boundary.
    pub(crate) fn unguessable(&self) -> String {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{:016x}", self.secret.hash_one((n, 0u8)), self.secret.hash_one((n, 1u8)))
    }
}
