//! Counters and gauges in Prometheus' text form, fed by events, shown by the http port. Never touches mail.

use postino_ports::event::Event;
use postino_ports::queue::Queue;
use postino_types::DeliveryOutcome;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::Mutex;

/// All metrics of one server.
#[derive(Default)]
pub(crate) struct Metrics {
    queued: Counter,
    queued_bytes: Counter,
    delivered: Counter,
    deferred: Counter,
    failed: Counter,
    bounced: Counter,
    sessions: Counter,
    refused: Counter,
    /// By list; there are no more than the configuration names.
    listed: Family<Vec<(&'static str, String)>, Counter>,
    logins_granted: Counter,
    logins_denied: Counter,
    warnings: Counter,
    alerts: Counter,
    gauges: Gauges,
    registry: Mutex<Registry>,
}

#[derive(Default)]
struct Gauges {
    entries: Gauge,
    in_flight: Gauge,
    deferred: Gauge,
    held: Gauge,
    oldest_seconds: Gauge,
    commits: Gauge,
    operations: Gauge,
    body_memory_bytes: Gauge,
}

impl Metrics {
    /// Registers every metric under `postino_…`.
    pub(crate) fn new() -> Self {
        let metrics = Self::default();
        let mut registry = Registry::with_prefix("postino");
        registry.register("messages_queued", "Messages accepted into the queue", metrics.queued.clone());
        registry.register("messages_queued_bytes", "Bytes accepted into the queue", metrics.queued_bytes.clone());
        registry.register("deliveries_succeeded", "Deliveries that ended well", metrics.delivered.clone());
        registry.register("deliveries_deferred", "Deliveries put off", metrics.deferred.clone());
        registry.register("deliveries_failed", "Deliveries given up", metrics.failed.clone());
        registry.register("bounces", "Bounces queued", metrics.bounced.clone());
        registry.register("sessions", "SMTP and POP3 sessions ended", metrics.sessions.clone());
        registry.register("refusals", "Recipients and messages refused", metrics.refused.clone());
        registry.register("listings", "Clients that a list in the DNS named", metrics.listed.clone());
        registry.register("logins_granted", "Logins that succeeded", metrics.logins_granted.clone());
        registry.register("logins_denied", "Logins that failed", metrics.logins_denied.clone());
        registry.register("warnings", "Warnings logged", metrics.warnings.clone());
        registry.register("alerts", "Alerts logged", metrics.alerts.clone());
        let gauges = &metrics.gauges;
        registry.register("queue_entries", "Messages in the queue", gauges.entries.clone());
        registry.register("queue_in_flight", "Messages being delivered now", gauges.in_flight.clone());
        registry.register("queue_deferred", "Messages waiting for a retry", gauges.deferred.clone());
        registry.register("queue_held", "Messages held", gauges.held.clone());
        registry.register("queue_oldest_seconds", "Age of the oldest message", gauges.oldest_seconds.clone());
        registry.register("queue_commits", "Commits of the queue since start", gauges.commits.clone());
        registry.register("queue_operations", "Operations in these commits", gauges.operations.clone());
        registry.register("queue_body_memory_bytes", "Memory held for bodies being received", gauges.body_memory_bytes.clone());
        *metrics.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = registry;
        metrics
    }

    /// Counts one event.
    pub(crate) fn count(&self, event: &Event<'_>) {
        match event {
            Event::Queued { bytes, .. } => {
                self.queued.inc();
                self.queued_bytes.inc_by(*bytes);
            }
            Event::DeliveryEnded { outcome, .. } => match outcome {
                DeliveryOutcome::Delivered { .. } => _ = self.delivered.inc(),
                DeliveryOutcome::Deferred { .. } => _ = self.deferred.inc(),
                DeliveryOutcome::Failed { .. } => _ = self.failed.inc(),
            },
            Event::Bounced { .. } => _ = self.bounced.inc(),
            Event::Listed { list, .. } => _ = self.listed.get_or_create(&vec![("list", (*list).to_owned())]).inc(),
            Event::SessionEnded { .. } => _ = self.sessions.inc(),
            Event::Refused { .. } => _ = self.refused.inc(),
            Event::Login { granted: true, .. } => _ = self.logins_granted.inc(),
            Event::Login { granted: false, .. } => _ = self.logins_denied.inc(),
            Event::Warning { .. } => _ = self.warnings.inc(),
            Event::Alert { .. } => _ = self.alerts.inc(),
            Event::DeliveryStarted { .. }
            | Event::Status { .. }
            | Event::TripleBounce { .. }
            | Event::Ended { .. }
            | Event::Notice { .. } => {}
        }
    }

    /// The page, with the queue's numbers as they are now.
    pub(crate) fn render(&self, queue: &dyn Queue, now_millis: i64) -> String {
        let stat = queue.stat();
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.gauges.entries.set(number(stat.entries));
        self.gauges.in_flight.set(number(stat.in_flight));
        self.gauges.deferred.set(number(stat.deferred));
        self.gauges.held.set(number(stat.held));
        let age = if stat.entries == 0 || stat.oldest == 0 { 0 } else { now_millis.saturating_sub(stat.oldest).max(0) / 1000 };
        self.gauges.oldest_seconds.set(age);
        self.gauges.commits.set(number(stat.commits));
        self.gauges.operations.set(number(stat.operations));
        self.gauges.body_memory_bytes.set(number(stat.body_memory_bytes));
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Encoding into a String cannot fail.
        let _ = encode(&mut page, &registry);
        page
    }
}
