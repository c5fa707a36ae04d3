//! What is told of a session: one event at its end, whatever ended it. The shell fills it in.

use super::{Context, TlsMode};
use postino_ports::event::Event;
use postino_types::SessionId;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// How a session ended, in the words of [`Event::SessionEnded`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Quit,
    Closed,
    Timeout,
    Errors,
    /// It had to make room for others.
    Limit,
    Shutdown,
    /// The handshake failed.
    Tls,
    /// The rules by address say so.
    Denied,
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut { Self::Timeout } else { Self::Closed }
    }
}

impl End {
    fn word(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Errors => "errors",
            Self::Limit => "limit",
            Self::Shutdown => "shutdown",
            Self::Tls => "tls",
            Self::Denied => "denied",
        }
    }
}

/// The facts; emitted when dropped.
pub(super) struct Record {
    pub(super) service: &'static str,
    pub(super) login: String,
    pub(super) tls: &'static str,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) end: Option<End>,
    session: SessionId,
    peer: IpAddr,
    started: Duration,
    context: Arc<Context>,
}

impl Record {
    pub(super) fn new(context: &Arc<Context>, mode: TlsMode, session: SessionId, peer: IpAddr) -> Self {
        Self {
            service: if mode == TlsMode::Implicit { "pop3s" } else { "pop3" },
            login: String::new(),
            tls: "",
            messages: 0,
            bytes: 0,
            end: None,
            session,
            peer,
            started: context.clock.monotonic(),
            context: Arc::clone(context),
        }
    }

    /// A login attempt and its result.
    pub(super) fn login(&self, login: &str, granted: bool) {
        self.context.events.emit(&Event::Login { service: self.service, peer: self.peer, login, granted });
    }

    /// Something that an operator should look at.
    pub(super) fn warn(&self, what: &str, detail: &str) {
        self.context.events.emit(&Event::Warning { what, detail });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let reason = match self.end {
            Some(end) => end.word(),
            None if std::thread::panicking() => "panic",
            // The task was dropped whole: a stop that did not wait.
            None => "shutdown",
        };
        let millis = self.context.clock.monotonic().saturating_sub(self.started).as_millis();
        self.context.events.emit(&Event::SessionEnded {
            service: self.service,
            session: self.session.0,
            peer: self.peer,
            login: &self.login,
            tls: self.tls,
            messages: self.messages,
            bytes: self.bytes,
            reason,
            millis: u64::try_from(millis).unwrap_or(u64::MAX),
        });
    }
}
