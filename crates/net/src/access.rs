//! The door: what the rules by client address (`control/tcp.smtp`, `control/tcp.pop3`) say about a client who has just connected. SMTP and
//! POP3 ask before they say a word; what a rule's variables mean is theirs to know.

use crate::names;
use postino_control::Live;
use postino_control::access::{Change, Service};
use postino_control::tcprules::Verdict;
use postino_ports::dns::Dns;
use postino_ports::event::{Event, Events};
use std::net::IpAddr;

/// What the door knows of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judged {
    /// The rules' word; `None`: no rule, which means allow.
    pub verdict: Option<Verdict>,
    /// The client's confirmed name, when a rule wanted it: `Some(None)` has none.
    pub name: Option<Option<String>>,
    /// A rule names this very address: what is known of it otherwise does not count.
    pub is_named: bool,
}

impl Judged {
    /// The same client with the right to relay that a login from its address has opened, as the row in tcpserver's rules would give it. Whom the
    /// administrator has named, or turned away, stays what he is; other variables stay too.
    #[must_use]
    pub fn opened(mut self) -> Self {
        if self.is_named || !self.may_enter() {
            return self;
        }
        let verdict = self.verdict.get_or_insert(Verdict { allow: true, env: Vec::new() });
        for name in ["RELAYCLIENT", "RBLSMTPD"] {
            if verdict.variable(name).is_none() {
                verdict.env.push((name.to_owned(), String::new()));
            }
        }
        self
    }

    /// False: close without a word.
    #[must_use]
    pub fn may_enter(&self) -> bool {
        self.verdict.as_ref().is_none_or(|verdict| verdict.allow)
    }
}

/// Judges by the rules as their file has them now. The name is asked for only when it may decide, and then waited for.
pub async fn judge(live: &Live, service: Service, ip: IpAddr, dns: Option<&dyn Dns>, events: &dyn Events) -> Judged {
    let gate = live.gate(service);
    if let Some(change) = gate.look() {
        tell(service, &change, events);
    }
    let rules = gate.rules();
    let name = if rules.needs_host(ip) { Some(names::confirmed(dns, ip).await) } else { None };
    let verdict = rules.lookup(ip, name.as_ref().and_then(Option::as_deref), None);
    Judged { verdict, name, is_named: rules.names(ip) }
}

fn tell(service: Service, change: &Change, events: &dyn Events) {
    match change {
        Change::Reread(Some(file)) => events.emit(&Event::Notice { what: "access rules reread", detail: &file.display().to_string() }),
        Change::Reread(None) => {
            let detail = format!("control/{} is gone; every client may connect", service.file());
            events.emit(&Event::Notice { what: "access rules reread", detail: &detail });
        }
        Change::Kept(problem) => {
            events.emit(&Event::Warning { what: "access rules not reread; the old ones stay in force", detail: &problem.to_string() });
        }
    }
}
