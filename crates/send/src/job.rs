//! One running delivery, as a task: opens the body, hands the job to the channel, guards against panics and loops of forwards. Started by
//! the loop, which gets the report; settles nothing.

use crate::context::{Context, SharedBody};
use crate::flight::Seed;
use crate::forward;
use postino_ports::BoxFuture;
use postino_ports::deliver::Job;
use postino_ports::queue::QueueEntry;
use postino_types::{DeliveryOutcome, QueueId, TempStatus};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;

/// What a task brings back.
pub(crate) struct JobReport {
    pub(crate) id: QueueId,
    pub(crate) seed: Seed,
    /// Number of the first recipient's delivery; the others follow.
    pub(crate) first_number: u64,
    /// Recipients in report form.
    pub(crate) names: Vec<String>,
    /// One a recipient.
    pub(crate) outcomes: Vec<DeliveryOutcome>,
    pub(crate) millis: u64,
}

/// What a task takes along.
pub(crate) struct Order {
    pub(crate) entry: Arc<QueueEntry>,
    pub(crate) body: SharedBody,
    pub(crate) seed: Seed,
    pub(crate) first_number: u64,
    pub(crate) names: Vec<String>,
}

/// Makes one delivery.
pub(crate) async fn run(context: Arc<Context>, order: Order) -> JobReport {
    let started = context.parts.clock.monotonic();
    let mut outcomes = attempt(&context, &order).await;
    let wanted = order.seed.recipients.len();
    outcomes.truncate(wanted);
    outcomes.resize_with(wanted, || DeliveryOutcome::deferred(TempStatus::SYSTEM, "report mangled, will defer\n"));
    let millis = context.parts.clock.monotonic().saturating_sub(started).as_millis();
    JobReport {
        id: order.entry.id,
        seed: order.seed,
        first_number: order.first_number,
        names: order.names,
        outcomes,
        millis: u64::try_from(millis).unwrap_or(u64::MAX),
    }
}

async fn attempt(context: &Context, order: &Order) -> Vec<DeliveryOutcome> {
    let recipients = &order.seed.recipients;
    let body = match context.body(&order.body, &order.entry).await {
        Ok(body) => body,
        Err(_) => {
            let unread = || DeliveryOutcome::deferred(TempStatus::SYSTEM, "qmail-spawn unable to open message. (#4.3.0)\n");
            return recipients.iter().map(|_| unread()).collect();
        }
    };
    let job = Job { entry: order.entry.clone(), body: body.clone(), recipients: recipients.clone() };
    let Some(outcomes) = guarded(context.deliver(order.seed.channel).deliver(job)).await else {
        // A panic is our bug, and a bug must not bounce mail.
        let crashed = || DeliveryOutcome::deferred(TempStatus::SYSTEM, "delivery agent crashed. (#4.3.0)\n");
        return recipients.iter().map(|_| crashed()).collect();
    };
    forward::refuse_loops(context, &order.entry, body, outcomes).await
}

/// `None` when the delivery panicked.
async fn guarded(mut delivery: BoxFuture<'_, Vec<DeliveryOutcome>>) -> Option<Vec<DeliveryOutcome>> {
    std::future::poll_fn(|task| match std::panic::catch_unwind(AssertUnwindSafe(|| delivery.as_mut().poll(task))) {
        Ok(Poll::Ready(outcomes)) => Poll::Ready(Some(outcomes)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}
