//! Counts one session and tells its end once, whatever the end is: a word from `serve`, a panic, or the task being dropped. Never fails.

use crate::context::{Caller, Context};
use postino_ports::event::{Event, Events};
use postino_smtp::Reply;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The session as operators see it.
pub(crate) struct Watch {
    context: Context,
    service: &'static str,
    session: u64,
    peer: IpAddr,
    started: Duration,
    pub(crate) login: String,
    pub(crate) tls: Option<Arc<str>>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// Why it ended; stays empty when nobody could say.
    pub(crate) reason: &'static str,
}

impl Watch {
    pub(crate) fn new(context: &Context, caller: &Caller) -> Self {
        Self {
            context: context.clone(),
            service: caller.service(),
            session: caller.session,
            peer: caller.peer.ip(),
            started: context.clock.monotonic(),
            login: String::new(),
            tls: None,
            messages: 0,
            bytes: 0,
            reason: "",
        }
    }

    /// Tells a refusal.
    pub(crate) fn refused(&self, reply: &Reply, subject: &str) {
        self.events().emit(&Event::Refused {
            service: self.service,
            session: self.session,
            peer: self.peer,
            reply: &reply.to_string(),
            subject,
        });
    }

    /// Tells a login attempt.
    pub(crate) fn login_tried(&self, login: &str, granted: bool) {
        self.events().emit(&Event::Login { service: self.service, peer: self.peer, login, granted });
    }

    /// Tells trouble of our own.
    pub(crate) fn warn(&self, what: &str, detail: &str) {
        self.events().emit(&Event::Warning { what, detail });
    }

    fn events(&self) -> &dyn Events {
        self.context.events.as_ref()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let reason = match self.reason {
            "" if std::thread::panicking() => "panic",
            "" => "shutdown",
            reason => reason,
        };
        let millis = self.context.clock.monotonic().saturating_sub(self.started).as_millis();
        let version = self.tls.as_deref().and_then(|text| text.split(' ').next()).unwrap_or("");
        self.events().emit(&Event::SessionEnded {
            service: self.service,
            session: self.session,
            peer: self.peer,
            login: &self.login,
            tls: version,
            messages: self.messages,
            bytes: self.bytes,
            reason,
            millis: u64::try_from(millis).unwrap_or(u64::MAX),
        });
    }
}
