//! The scheduler (qmail-send's part): takes due entries, starts deliveries within their limits, settles what they came to, makes bounces
//! and notices. Composed by the server; never knows how a delivery is made, never touches a file of the queue.
#![forbid(unsafe_code)]

mod context;
mod destination;
mod flight;
mod forward;
mod job;
mod lane;
mod notice;
mod remembered;
mod schedule;
mod settle;
mod trusted;

pub use context::{Parts, Profile};

use context::Context;
use std::sync::Arc;
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

    /// Works until `shutdown` turns true (or its sender is gone): then nothing new is started, running deliveries are waited for and
    /// settled, and the call returns. The caller sets the time limit for that; dropping the future stops at once, and what was not
    /// settled is delivered again after the next start.
    pub async fn run(&self, shutdown: watch::Receiver<bool>) {
        schedule::Run::new(self.context.clone(), shutdown).work().await;
    }
}

#[cfg(test)]
mod tests;
