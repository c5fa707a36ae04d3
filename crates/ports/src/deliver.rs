//! Delivery as `send` sees it: local and remote implement it. A total function: an internal fault *is* `Deferred` 4.3.0.

use crate::BoxFuture;
use crate::body::Body;
use crate::queue::QueueEntry;
use postino_types::{DeliveryOutcome, Recipient};
use std::sync::Arc;

/// One attempt: one message, one or more recipients of one destination.
#[derive(Debug, Clone)]
pub struct Job {
    /// The entry (its prepend lines stand before the body).
    pub entry: Arc<QueueEntry>,
    /// The body.
    pub body: Body,
    /// Indexes into `entry.envelope.recipients`; all of one destination. Never empty.
    pub recipients: Vec<usize>,
}

/// A way to deliver.
pub trait Deliver: Send + Sync {
    /// The key under which deliveries share limits and one transaction: for remote mail the relay or the domain, in lower case;
    /// for local mail the account. Pure and quick.
    fn destination(&self, recipient: &Recipient) -> String;
    /// One outcome for each of `job.recipients`, in that order.
    fn deliver(&self, job: Job) -> BoxFuture<'_, Vec<DeliveryOutcome>>;
}
