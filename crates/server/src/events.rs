//! The operator's view: turns events into log lines (human, JSON, or qmail-send's) and counters.
//! Every daemon calls it through the `Events` port; it never blocks and never sees a body or a password.

use crate::log_writer::LogWriter;
use crate::metrics::Metrics;
use postino_control::resolved::Log;
use postino_ports::event::{Event, Events};
use postino_types::printable::{one_line, report};
use postino_types::{Channel, DeliveryOutcome, ReportText};
use std::io::Write as _;
use std::sync::Arc;

/// The sink.
pub(crate) struct EventSink {
    format: Log,
    writer: LogWriter,
    metrics: Arc<Metrics>,
}

impl EventSink {
    /// Installs the tracing subscriber for `format` and makes the sink.
    pub(crate) fn install(format: Log, metrics: Arc<Metrics>) -> Self {
        use std::io::IsTerminal as _;
        let writer = LogWriter::to_stderr();
        let terminal = std::io::stderr().is_terminal();
        use tracing_subscriber::filter::LevelFilter;
        // qmail-send's log has its own lines only.
        let level = if crate::qmail::engine().is_some() { LevelFilter::ERROR } else { LevelFilter::INFO };
        let base = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(writer.clone());
        // A second installation (tests) keeps the first subscriber.
        let _ = match format {
            Log::Json => tracing::subscriber::set_global_default(base.json().flatten_event(true).finish()),
            Log::Auto | Log::Qmail => tracing::subscriber::set_global_default(base.with_ansi(terminal).finish()),
        };
        Self { format, writer, metrics }
    }

    /// Writes what is still in memory.
    pub(crate) fn finish(&self) {
        self.writer.finish();
    }

    /// Writes one line as it is.
    pub(crate) fn line(&self, line: &str) {
        self.writer.append(line.as_bytes());
    }

    fn qmail_line(&self, event: &Event<'_>) {
        let mut line = Vec::with_capacity(160);
        // Writing into a Vec cannot fail.
        let _ = match event {
            Event::Queued { id, bytes, sender, pid, uid } => {
                write!(line, "new msg {id}\ninfo msg {id}: bytes {bytes} from <{sender}> qp {pid} uid {uid}\n")
            }
            Event::DeliveryStarted { number, id, channel, recipient } => {
                let channel = if *channel == Channel::Local { "local" } else { "remote" };
                writeln!(line, "starting delivery {number}: msg {id} to {channel} {recipient}")
            }
            Event::DeliveryEnded { number, outcome, .. } => {
                let (word, detail) = outcome_words(outcome);
                writeln!(line, "delivery {number}: {word}: {}", report(detail.as_bytes()))
            }
            Event::Status { local, local_max, remote, remote_max, exiting } => {
                let tail = if *exiting { " exitasap" } else { "" };
                writeln!(line, "status: local {local}/{local_max} remote {remote}/{remote_max}{tail}")
            }
            // In the engine the bounce's own `info` line names our pid, as its Received line does.
            Event::Bounced { id, .. } if crate::qmail::engine().is_some() => writeln!(line, "bounce msg {id} qp {}", std::process::id()),
            Event::Bounced { id, bounce } => writeln!(line, "bounce msg {id} qp {bounce}"),
            Event::TripleBounce { id } => writeln!(line, "triple bounce: discarding bounce/{id}"),
            Event::Ended { id } => writeln!(line, "end msg {id}"),
            Event::Warning { what, detail: "" } => writeln!(line, "warning: {what}"),
            Event::Warning { what, detail } => writeln!(line, "warning: {what}: {}", one_line(detail)),
            Event::Alert { what, detail: "" } => writeln!(line, "alert: {what}"),
            Event::Alert { what, detail } => writeln!(line, "alert: {what}: {}", one_line(detail)),
            Event::SessionEnded { .. } | Event::Refused { .. } | Event::Login { .. } | Event::Notice { .. } | Event::Listed { .. } => {
                Ok(())
            }
        };
        if crate::qmail::engine().is_some() {
            // qmail's log never shows one, whatever the line is about.
            line.iter_mut().filter(|b| **b == b'%').for_each(|b| *b = b'_');
        }
        if !line.is_empty() {
            self.writer.append(&line);
        }
    }
}

fn outcome_words(outcome: &DeliveryOutcome) -> (&'static str, &ReportText) {
    match outcome {
        DeliveryOutcome::Delivered { detail, .. } => ("success", detail),
        DeliveryOutcome::Deferred { detail, .. } => ("deferral", detail),
        DeliveryOutcome::Failed { detail, .. } => ("failure", detail),
    }
}

impl Events for EventSink {
    fn emit(&self, event: &Event<'_>) {
        self.metrics.count(event);
        if self.format == Log::Qmail {
            self.qmail_line(event);
            return;
        }
        trace(event);
    }
}

fn trace(event: &Event<'_>) {
    match event {
        Event::Queued { id, bytes, sender, uid, .. } => {
            tracing::info!(id = id.0, bytes, sender, uid, "message queued");
        }
        Event::DeliveryEnded { number, id, recipient, outcome, millis } => {
            trace_delivery(*number, id.0, recipient, outcome, *millis);
        }
        Event::Bounced { id, bounce } => tracing::info!(id = id.0, bounce = bounce.0, "bounce queued"),
        Event::TripleBounce { id } => tracing::warn!(id = id.0, "triple bounce discarded"),
        Event::SessionEnded { service, session, peer, login, tls, messages, bytes, reason, millis } => {
            tracing::info!(service, session, %peer, login, tls, messages, bytes, reason, millis, "session ended");
        }
        Event::Refused { service, session, peer, reply, subject } => {
            tracing::info!(service, session, %peer, reply, subject, "refused");
        }
        Event::Listed { session, peer, list, what, answer, score } => {
            tracing::info!(session, %peer, list, what, answer, score, "listed");
        }
        Event::Login { service, peer, login, granted } => {
            if *granted {
                tracing::info!(service, %peer, login, "login granted");
            } else {
                tracing::info!(service, %peer, login, "login denied");
            }
        }
        Event::Notice { what, detail } => tracing::info!(detail = one_line(detail), "{what}"),
        Event::Warning { what, detail } => tracing::warn!(detail = one_line(detail), "{what}"),
        Event::Alert { what, detail } => tracing::error!(detail = one_line(detail), "{what}"),
        Event::DeliveryStarted { .. } | Event::Status { .. } | Event::Ended { .. } => {}
    }
}

fn trace_delivery(number: u64, id: u64, recipient: &str, outcome: &DeliveryOutcome, millis: u64) {
    let (word, detail) = outcome_words(outcome);
    let detail = report(detail.cut(500).as_bytes());
    tracing::info!(id, delivery = number, recipient, result = word, detail, millis, "delivery ended");
}
