//! What operators hear: one enum, one value an event. The server turns it into log lines (human, JSON, qmail-send's) and counters.

use postino_types::{Channel, DeliveryOutcome, QueueId};

/// An event. Texts are already printable.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A message was queued (`new msg`, `info msg`).
    Queued {
        /// Its id.
        id: QueueId,
        /// Size with added header lines, bytes.
        bytes: u64,
        /// Sender, report form.
        sender: &'a str,
        /// The pid for `qp` (the injector's, or ours).
        pid: u32,
        /// The uid for `uid`.
        uid: u32,
    },
    /// `starting delivery`.
    DeliveryStarted {
        /// Number of the attempt since start.
        number: u64,
        /// Message.
        id: QueueId,
        /// Channel.
        channel: Channel,
        /// Routed recipient, report form.
        recipient: &'a str,
    },
    /// `delivery N: success/deferral/failure`.
    DeliveryEnded {
        /// Number of the attempt.
        number: u64,
        /// Message.
        id: QueueId,
        /// Routed recipient, report form.
        recipient: &'a str,
        /// How it ended.
        outcome: &'a DeliveryOutcome,
        /// Milliseconds it took.
        millis: u64,
    },
    /// `status: local 1/10 remote 0/20`.
    Status {
        /// Running local deliveries.
        local: usize,
        /// Limit.
        local_max: usize,
        /// Running remote deliveries.
        remote: usize,
        /// Limit.
        remote_max: usize,
        /// A stop was asked for.
        exiting: bool,
    },
    /// `bounce msg`.
    Bounced {
        /// The message that bounced.
        id: QueueId,
        /// The bounce.
        bounce: QueueId,
    },
    /// `triple bounce: discarding`.
    TripleBounce {
        /// The message.
        id: QueueId,
    },
    /// `end msg`.
    Ended {
        /// The message.
        id: QueueId,
    },
    /// One line at the end of each SMTP or POP3 session.
    SessionEnded {
        /// `smtp`, `submission`, `pop3` …
        service: &'a str,
        /// Session number.
        session: u64,
        /// Client address.
        peer: std::net::IpAddr,
        /// Login, printable, empty without.
        login: &'a str,
        /// TLS version, empty without.
        tls: &'a str,
        /// Messages accepted (SMTP) or retrieved (POP3).
        messages: u64,
        /// Bytes received or sent.
        bytes: u64,
        /// Why it ended: `quit`, `closed`, `timeout`, `errors`, `limit`, `shutdown`, `panic`, `tls`, `denied`.
        reason: &'a str,
        /// Milliseconds.
        millis: u64,
    },
    /// A refused recipient or message.
    Refused {
        /// Service.
        service: &'a str,
        /// Session.
        session: u64,
        /// Client.
        peer: std::net::IpAddr,
        /// The reply, one line.
        reply: &'a str,
        /// What was refused, printable.
        subject: &'a str,
    },
    /// A list in the DNS names a client, and its answer counts.
    Listed {
        /// Session.
        session: u64,
        /// Client.
        peer: std::net::IpAddr,
        /// The list.
        list: &'a str,
        /// What it names: the address, the sender's domain, the name in HELO.
        what: &'a str,
        /// Its answers, parted by blanks.
        answer: &'a str,
        /// What it added to the score; 0 from lists that do not score.
        score: i32,
    },
    /// A login attempt.
    Login {
        /// Service.
        service: &'a str,
        /// Client.
        peer: std::net::IpAddr,
        /// Login name, printable.
        login: &'a str,
        /// Granted?
        granted: bool,
    },
    /// Worth a line, nothing to do.
    Notice {
        /// Lower-case constant text.
        what: &'a str,
        /// Facts.
        detail: &'a str,
    },
    /// Look this week.
    Warning {
        /// Lower-case constant text.
        what: &'a str,
        /// Facts.
        detail: &'a str,
    },
    /// A person must act now.
    Alert {
        /// Lower-case constant text.
        what: &'a str,
        /// Facts.
        detail: &'a str,
    },
}

/// Takes events; never blocks, never fails.
pub trait Events: Send + Sync {
    /// Tells one event.
    fn emit(&self, event: &Event<'_>);
}

/// Drops every event (tests, tools).
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Events for Silent {
    fn emit(&self, _event: &Event<'_>) {}
}
