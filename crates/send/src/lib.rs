//! The scheduler (qmail-send's part): takes due entries, starts deliveries within their limits, settles what they came to, makes bounces
//! and notices. Composed by the server; never knows how a delivery is made, never touches a file of the queue.
#![forbid(unsafe_code)]

mod context;
mod destination;
mod flight;
mod forward;
mod job;
mod lane;
mod links;
mod notice;
mod remembered;
mod schedule;
mod settle;
mod trusted;

pub use context::{Parts, Profile};
pub use links::{LinkState, WeekMinute, waits_for};

use context::Context;
use postino_control::links::Link;
use postino_ports::queue::SettleError;
use postino_types::Recipient;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The scheduler. One a queue.
pub struct Scheduler {
    context: Arc<Context>,
}

impl Scheduler {
    /// Puts it together; nothing runs yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self { context: Arc::new(Context::new(parts)) }
    }

    /// Forgets which destinations failed lately and which recipients wait longer than their entry: all of them are tried at the next
    /// chance. For "retry now" (SIGALRM), together with the queue's own `Retry`.
    pub fn forget_backoff(&self) {
        self.context.forget.notify_one();
    }

    /// How a link of control/links stands.
    #[must_use]
    pub fn link_state(&self, link: &Link) -> LinkState {
        self.context.link_state(link)
    }

    /// The link that holds a recipient's mail now, if one does.
    #[must_use]
    pub fn held_by(&self, recipient: &Recipient) -> Option<Arc<Link>> {
        let config = self.context.config();
        let link = links::link_of(&config.links, recipient)?;
        self.context.link_rests(link).map(|_| link.clone())
    }

    /// Switches a link on, for `window` or until [`Scheduler::link_down`], and lets its mail go; returns how many messages when all of the
    /// queue was looked through, while they are being sent.
    pub async fn link_up(&self, link: &Link, window: Option<Duration>) -> Result<u64, SettleError> {
        self.context.link_up(link, window).await
    }

    /// Switches a link off: deliveries that run go on to their end, no other begins.
    pub fn link_down(&self, link: &Link) {
        self.context.link_down(link);
    }

    /// Works until `shutdown` turns true (or its sender is gone): then nothing new is started, running deliveries are waited for and
    /// settled, and the call returns. The caller sets the time limit for that; dropping the future stops at once, and what was not
    /// settled is delivered again after the next start.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        schedule::Run::new(self.context.clone(), shutdown).work().await;
    }
}

#[cfg(test)]
mod tests;
