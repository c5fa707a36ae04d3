//! Forwards that a delivery asked for: the loop guard before they count as delivered, and the new messages for the settlement. Used by jobs
//! and settlements; routes nothing (the delivery did).

use crate::context::{Context, Profile};
use bytes::Bytes;
use postino_message::{HeaderScanner, InvokedBy, Progress, qmail_received};
use postino_ports::body::Body;
use postino_ports::queue::{NewBody, NewEntry, NewMessage, QueueEntry};
use postino_types::outcome::Forward;
use postino_types::{DeliveryOutcome, DsnWish, Envelope, Origin, PermStatus, Time};

/// Longest header that is read for counting hops, bytes; a longer one is no loop but nonsense, and passes.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// A delivery whose forward would be the hops_max-th hop of its message fails with 5.4.6 instead: the last guard against loops that
/// Delivered-To cannot see (RFC 5321 6.3).
pub(crate) async fn refuse_loops(
    context: &Context,
    entry: &QueueEntry,
    body: Body,
    mut outcomes: Vec<DeliveryOutcome>,
) -> Vec<DeliveryOutcome> {
    let forwards = |outcome: &DeliveryOutcome| matches!(outcome, DeliveryOutcome::Delivered { forwards, .. } if !forwards.is_empty());
    if !outcomes.iter().any(forwards) {
        return outcomes;
    }
    let mut scanner = HeaderScanner::new();
    scanner.feed(&entry.prepend);
    let hops = count(scanner, body).await;
    let hops_max = context.config().server.limits.hops_max;
    for outcome in &mut outcomes {
        let DeliveryOutcome::Delivered { forwards, .. } = outcome else { continue };
        let longest = forwards.iter().map(|f| hops.saturating_add(1).saturating_add(own_hops(f))).max();
        if longest.is_some_and(|hops| hops >= hops_max) {
            *outcome = DeliveryOutcome::failed(PermStatus::LOOP, "too many hops, this message is looping (#5.4.6)\n");
        }
    }
    outcomes
}

/// Hops of the whole message; an unreadable body counts as none (the delivery itself has just read it).
async fn count(scanner: HeaderScanner, body: Body) -> usize {
    match body {
        Body::Memory(_) => count_now(scanner, &body),
        Body::File { .. } => tokio::task::spawn_blocking(move || count_now(scanner, &body)).await.unwrap_or(0),
    }
}

fn count_now(mut scanner: HeaderScanner, body: &Body) -> usize {
    if let Body::Memory(bytes) = body {
        scanner.feed(bytes);
        return scanner.hops();
    }
    let mut buffer = vec![0u8; 16_384];
    let mut offset = 0;
    while offset < HEADER_BYTES_MAX {
        let Ok(n) = body.read_at(offset, &mut buffer) else { break };
        if n == 0 || scanner.feed(buffer.get(..n).unwrap_or_default()) == Progress::Done {
            break;
        }
        offset += n as u64;
    }
    scanner.hops()
}

fn own_hops(forward: &Forward) -> usize {
    let mut scanner = HeaderScanner::new();
    scanner.feed(&forward.prepend);
    scanner.hops()
}

fn invoked_by(context: &Context, uid: u32) -> InvokedBy {
    match context.parts.profile {
        Profile::Qmail { alias: Some(alias) } if alias == uid => InvokedBy::Alias,
        _ => InvokedBy::Uid(uid),
    }
}

/// The new message of a forward: qmail-queue's line, the delivery's lines, the old message. `now` is its birth.
pub(crate) fn message(context: &Context, entry: &QueueEntry, forward: &Forward, now: Time) -> NewMessage {
    let received = qmail_received(context.pid, invoked_by(context, forward.uid), now);
    let prepend = [received.as_slice(), &forward.prepend, &entry.prepend].concat();
    let old = &entry.envelope;
    // Another sender did not make the wishes of the old one (RFC 3461 5.2.7).
    let dsn = if forward.sender == old.sender { old.dsn.clone() } else { DsnWish::default() };
    let envelope = Envelope {
        sender: forward.sender.clone(),
        recipients: forward.recipients.clone(),
        body: old.body,
        utf8: old.utf8,
        dsn,
        require_tls: old.require_tls,
    };
    let expires = postino_policy::retry::expires(&context.config(), now);
    let origin = Origin::Forward { of: entry.id, uid: forward.uid };
    NewMessage { entry: NewEntry { envelope, origin, prepend: Bytes::from(prepend), arrived: now, expires }, body: NewBody::Parent }
}
