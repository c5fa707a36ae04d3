//! One transaction between the session and the ports: whether a recipient is taken, where the content goes, and the commit behind the
//! 250. Called by `serve`; it says yes to a message only after the queue did.

use crate::context::{Caller, Context};
use crate::received::WayIn;
use crate::texts;
use crate::watch::Watch;
use bytes::Bytes;
use postino_control::tcprules::Verdict;
use postino_control::vpopmail::OverQuota;
use postino_policy::rbl::{self, Ordered};
use postino_policy::relay::{self, Accepted, RcptDecision};
use postino_ports::directory::{Mailbox, Resolution};
use postino_ports::queue::{AcceptError, BodyWriter, NewEntry};
use postino_smtp::server::{RcptAnswer, Session};
use postino_smtp::{MailCommand, RcptCommand, Reply};
use postino_types::printable::printable;
use postino_types::{Envelope, Origin, PeerInfo, Recipient, ReversePath};
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of the client beside the protocol.
#[derive(Default)]
pub(crate) struct Client {
    /// Verified name, once looked up; `Some(None)`: there is none.
    pub(crate) name: Option<Option<String>>,
    /// The address rules' word.
    pub(crate) rules: Option<Verdict>,
    /// Logged in and allowed to relay.
    pub(crate) may_relay: bool,
    /// Our end of the connection and our other addresses.
    pub(crate) own_addresses: Vec<IpAddr>,
}

/// The open transaction.
#[derive(Default)]
pub(crate) struct Desk {
    mail: Option<MailCommand>,
    bad_sender: bool,
    recipients: Vec<Recipient>,
    writer: Option<Box<dyn BodyWriter>>,
}

impl Desk {
    /// MAIL: every sender is taken here; a bad one is told at each RCPT, as qmail-smtpd does, so that postmaster can be asked why.
    pub(crate) fn mail(&mut self, context: &Context, mail: MailCommand) {
        self.reset();
        self.bad_sender = relay::sender_is_bad(&context.config.get(), &mail.sender);
        self.mail = Some(mail);
    }

    /// Forgets everything; content received so far is gone.
    pub(crate) fn reset(&mut self) {
        self.mail = None;
        self.bad_sender = false;
        self.recipients = Vec::new();
        self.writer = None;
    }

    /// RCPT.
    pub(crate) async fn rcpt(&mut self, context: &Context, client: &Client, watch: &Watch, rcpt: RcptCommand) -> RcptAnswer {
        let subject = printable(rcpt.address.as_bytes());
        let answer = self.judge(context, client, watch, rcpt).await;
        if let RcptAnswer::Refused(reply) | RcptAnswer::Unknown(reply) = &answer {
            watch.refused(reply, &subject);
        }
        answer
    }

    async fn judge(&mut self, context: &Context, client: &Client, watch: &Watch, rcpt: RcptCommand) -> RcptAnswer {
        if let Some(ordered) = ordered(client) {
            return RcptAnswer::Refused(ordered);
        }
        if self.bad_sender {
            return RcptAnswer::Refused(texts::BAD_SENDER);
        }
        let config = context.config.get();
        let asked = relay::Client {
            rules: client.rules.as_ref(),
            authenticated: client.may_relay,
            own_addresses: &client.own_addresses,
            ..relay::Client::stranger(&config)
        };
        let accepted = match relay::decide(&asked, &rcpt.address) {
            RcptDecision::Local(accepted) => match resolve(context, watch, &accepted, self.declared_bytes()).await {
                None => accepted,
                Some(refusal) => return refusal,
            },
            RcptDecision::Relay(accepted) => {
                // As a relay for others we pass no address on that the next host could read as a route of its own.
                if !asked.may_relay() && accepted.routed.address.local().iter().any(|b| b"@%!".contains(b)) {
                    return RcptAnswer::Refused(texts::ROUTE_DENIED);
                }
                accepted
            }
            RcptDecision::Denied => return RcptAnswer::Refused(texts::RELAY_DENIED),
            RcptDecision::Trouble(what) => {
                watch.warn("recipient could not be judged", &what);
                return RcptAnswer::Refused(texts::LOOKUP_FAILED);
            }
        };
        let Accepted { address, routed } = accepted;
        self.recipients.push(Recipient { address, routed, notify: rcpt.params.notify, original: rcpt.params.original });
        RcptAnswer::Accepted
    }

    /// DATA or the first BDAT: opens the queue's door before a byte is asked for.
    pub(crate) fn begin(&mut self, context: &Context, watch: &Watch, declared: Option<u64>) -> Result<(), Reply> {
        match context.queue.begin(declared) {
            Ok(writer) => {
                self.writer = Some(writer);
                Ok(())
            }
            Err(error) => {
                let reply = trouble(watch, &error, &self.sender_text());
                self.reset();
                Err(reply)
            }
        }
    }

    /// Keeps a stretch of content.
    pub(crate) fn body(&mut self, watch: &Watch, chunk: &[u8]) -> Result<(), Reply> {
        let Some(writer) = &mut self.writer else { return Err(texts::QUEUE_FAILED) };
        writer.write(chunk).map_err(|error| {
            self.writer = None;
            trouble(watch, &error, &self.sender_text())
        })
    }

    /// The session refuses the content: memory and disk are given back at once.
    pub(crate) fn content_refused(&mut self, watch: &Watch, reply: &Reply) {
        watch.refused(reply, &self.sender_text());
        self.reset();
    }

    /// The message is whole: commit, and only then the 250.
    pub(crate) async fn commit(&mut self, watch: &mut Watch, entry: NewEntry) -> Reply {
        let Some(writer) = self.writer.take() else {
            self.reset();
            return texts::QUEUE_FAILED;
        };
        let bytes = writer.len();
        let arrived = entry.arrived;
        let sender = entry.envelope.sender.to_string();
        let result = writer.commit(entry).await;
        let reply = match result {
            Ok(id) => {
                watch.messages += 1;
                watch.bytes = watch.bytes.saturating_add(bytes);
                Reply::new(250, (2, 0, 0), "").with_text(&format!("ok {} qp {id}", arrived.secs()))
            }
            Err(error) => trouble(watch, &error, &sender),
        };
        self.reset();
        reply
    }

    /// Envelope, trace line and dates of the message at hand.
    pub(crate) fn entry(&mut self, context: &Context, caller: &Caller, client: &Client, session: &Session, watch: &Watch) -> NewEntry {
        let config = context.config.get();
        let now = context.clock.now();
        let ip = caller.peer.ip().to_string();
        let single = match self.recipients.as_slice() {
            [only] => Some(&only.address),
            _ => None,
        };
        let prepend = WayIn {
            remote_host: client.name.as_ref().and_then(Option::as_deref),
            helo: session.hello_name(),
            remote_ip: &ip,
            local: &config.me,
            with: session.protocol(),
            tls: watch.tls.as_deref(),
            number: (caller.session, watch.messages),
            recipient: single,
            time: now,
        }
        .lines();
        let program = client.rules.as_ref().and_then(|rules| rules.variable("QMAILQUEUE")).filter(|program| !program.is_empty());
        if let (Some(writer), Some(program)) = (&mut self.writer, program) {
            writer.through(program);
        }
        let mail = self.mail.take();
        let (sender, params) = mail.map_or((ReversePath::Null, Default::default()), |m| (m.sender, m.params));
        NewEntry {
            envelope: Envelope {
                sender,
                recipients: std::mem::take(&mut self.recipients),
                body: params.body,
                utf8: params.utf8,
                dsn: params.dsn,
                require_tls: false,
            },
            origin: Origin::Smtp(PeerInfo { ip, helo: session.hello_printable(), login: session.login().map(str::to_owned) }),
            prepend: Bytes::from(prepend),
            arrived: now,
            expires: now.plus_secs(config.queue_lifetime_s),
        }
    }

    /// SIZE of the transaction; 0: not said.
    fn declared_bytes(&self) -> u64 {
        self.mail.as_ref().and_then(|mail| mail.params.size).unwrap_or_default()
    }

    fn sender_text(&self) -> String {
        self.mail.as_ref().map(|m| m.sender.to_string()).unwrap_or_default()
    }
}

/// The refusal that the rules by address order (RBLSMTPD). Who has logged in is known better by that than by an address.
fn ordered(client: &Client) -> Option<Reply> {
    let given = client.rules.as_ref().and_then(|rules| rules.variable("RBLSMTPD")).filter(|_| !client.may_relay)?;
    match rbl::ordered(given) {
        Ordered::Refuse { how, text } => Some(texts::listed(how, text)),
        Ordered::AskNobody => None,
    }
}

/// Tells that the queue did not take a message of `sender`; the reply for the client.
fn trouble(watch: &Watch, error: &AcceptError, sender: &str) -> Reply {
    let reply = texts::accept_error(error);
    if matches!(error, AcceptError::Io(_)) {
        watch.warn("message could not be queued", &error.to_string());
    }
    watch.refused(&reply, sender);
    reply
}

/// Does the mailbox exist, and has it room for so many bytes? `None`: yes.
async fn resolve(context: &Context, watch: &Watch, accepted: &Accepted, bytes: u64) -> Option<RcptAnswer> {
    let mailbox = match context.directory.resolve(&accepted.routed.address).await {
        Ok(Resolution::NoMailbox { .. }) => return Some(RcptAnswer::Unknown(texts::NO_MAILBOX)),
        Ok(Resolution::Locked { .. }) => return Some(RcptAnswer::Refused(texts::LOCKED)),
        Ok(Resolution::Mailbox(mailbox)) => mailbox,
        Ok(_) => return None,
        Err(error) => {
            watch.warn("recipient could not be looked up", &error.what);
            return Some(RcptAnswer::Refused(texts::LOOKUP_FAILED));
        }
    };
    // In a box: few mailboxes have a quota, and each idle session would hold the place for this.
    Box::pin(full(context, mailbox, bytes)).await.map(RcptAnswer::Refused)
}

/// The refusal of a mailbox that is known to be full.
async fn full(context: &Context, mailbox: Mailbox, bytes: u64) -> Option<Reply> {
    let reply = match context.config.get().vpopmail.over_quota {
        OverQuota::Reject => texts::OVER_QUOTA,
        OverQuota::Defer => texts::OVER_QUOTA_NOW,
        OverQuota::Bounce => return None,
    };
    if mailbox.quota.is_empty() || mailbox.quota == "NOQUOTA" {
        return None;
    }
    let room = Arc::clone(context.room.as_ref()?);
    let is_full = tokio::task::spawn_blocking(move || room.is_full(&mailbox, bytes)).await;
    is_full.unwrap_or_default().then_some(reply)
}
