//! One session from accept to close: reads, writes, timers, and the session's actions carried to desk and login. The accept loop calls
//! it; it decides nothing about mail.

use crate::buffer::{ReadBuffer, Room};
use crate::context::{Caller, Context, Turned};
use crate::desk::{Client, Desk};
use crate::lists::Inquiry;
use crate::settings::settings;
use crate::transport::Transport;
use crate::watch::Watch;
use crate::{login, texts};
use postino_control::access::Service;
use postino_control::resolved::ListenerKind;
use postino_control::tcprules::Verdict;
use postino_net::listener::Handler;
use postino_net::{Accepted, BoxedStream, ConnectionPermit, access, names};
use postino_policy::rbl;
use postino_ports::BoxFuture;
use postino_ports::links::{Asked, Asker, Turn};
use postino_smtp::server::{Action, AtrnAnswer, Attempt, AuthAnswer, EtrnAnswer, Question, RcptAnswer, Session, Tls};
use postino_smtp::{MailCommand, RcptCommand, Reply};
use postino_types::ReversePath;
use postino_types::printable::printable;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Idle time of a session that has sent no mail while nearly all places are taken.
const IDLE_UNDER_STRESS: Duration = Duration::from_secs(10);
/// vpopmail's flag: the account may not relay.
const FLAG_NO_RELAY: u32 = 0x20;

/// For [`postino_net::accept_loop`]: serves each connection of a listener of this kind.
#[must_use]
pub fn handler(kind: ListenerKind, context: Context) -> Handler {
    Arc::new(move |accepted: Accepted| {
        let context = context.clone();
        Box::pin(async move {
            let Accepted { stream, peer, permit } = accepted;
            let Ok(local) = stream.local_addr() else { return };
            let caller = Caller { peer, local: local.ip(), kind, session: permit.session().0, permit: Some(permit) };
            serve(stream, caller, context).await;
        })
    })
}

/// Serves one connection to its end. Dropping the future ends the session without a word; a message whose 250 was not sent may be
/// queued all the same.
pub async fn serve<T: Transport>(transport: T, caller: Caller, context: Context) {
    let mut watch = Watch::new(&context, &caller);
    // Boxed: its room is not carried through the whole session.
    let mut judged =
        Box::pin(access::judge(&context.config, Service::Smtp, caller.peer.ip(), context.dns.as_deref(), context.events.as_ref())).await;
    if !judged.may_enter() {
        watch.reason = "denied";
        return;
    }
    if context.roaming.as_ref().is_some_and(|roaming| roaming.is_open(caller.peer.ip())) {
        judged = judged.opened();
    }
    if let Some(held) = &context.held {
        held.links.connected(caller.peer.ip());
    }
    // Asked from now on, waited for at the first RCPT.
    let inquiry = inquiry(&context, &caller, judged.verdict.as_ref());
    let (transport, tls) = match (&context.tls, caller.kind) {
        (Some(tls), ListenerKind::Submissions) => match transport.start_tls(tls).await {
            Ok(transport) => (transport, Tls::Active),
            Err(_) => {
                watch.reason = "tls";
                return;
            }
        },
        (None, ListenerKind::Submissions) => {
            watch.reason = "tls";
            return;
        }
        (Some(_), _) => (transport, Tls::Offered),
        (None, _) => (transport, Tls::Unavailable),
    };
    watch.tls = transport.tls_text().map(Arc::from);
    let settings = settings(&context.config.get(), &caller, judged.verdict.as_ref(), tls);
    let session = Session::new(settings, context.clock.monotonic());
    let mut own_addresses = context.own_addresses.to_vec();
    own_addresses.push(caller.local);
    let client = Client { rules: judged.verdict, name: judged.name, own_addresses, ..Client::default() };
    let conversation = Conversation {
        session,
        buffer: ReadBuffer::default(),
        desk: Desk::default(),
        client,
        inquiry,
        caller,
        context,
        stopping: false,
        turned_for: None,
    };
    conversation.run(transport, watch).await;
}

/// As [`serve`], for a connection that somebody else opened and turned round.
#[must_use]
pub fn serve_turned(stream: BoxedStream, caller: Caller, context: Context) -> BoxFuture<'static, ()> {
    Box::pin(serve(stream, caller, context))
}

/// Strangers on port 25 are asked about, unless a rule lets them relay or says by RBLSMTPD what is to be done.
fn inquiry(context: &Context, caller: &Caller, rules: Option<&Verdict>) -> Option<Box<Inquiry>> {
    let is_known = rules.is_some_and(|rules| rules.variable("RELAYCLIENT").is_some() || rules.variable("RBLSMTPD").is_some());
    let lists = context.lists.as_ref().filter(|_| caller.kind == ListenerKind::Smtp && !is_known)?;
    Inquiry::begin(lists, &context.config.get(), caller.peer.ip()).map(Box::new)
}

struct Conversation {
    session: Session,
    buffer: ReadBuffer,
    desk: Desk,
    client: Client,
    /// What block lists know of the client.
    inquiry: Option<Box<Inquiry>>,
    caller: Caller,
    context: Context,
    /// The shutdown signal was passed on.
    stopping: bool,
    /// Links that ATRN was granted for.
    turned_for: Option<Box<[String]>>,
}

/// What woke a waiting session.
enum Woken {
    Bytes(std::io::Result<usize>),
    Deadline,
    Shutdown,
    Evicted,
}

impl Conversation {
    async fn run<T: Transport>(mut self, mut transport: T, mut watch: Watch) {
        loop {
            let now = self.context.clock.monotonic();
            let unread = self.buffer.unread();
            let step = self.session.step(unread, now);
            match step.action {
                Action::Body(range) => {
                    let chunk = unread.get(range).unwrap_or_default();
                    if let Err(reply) = self.desk.body(&watch, chunk) {
                        self.session.refuse_content(reply);
                    }
                    self.buffer.consume(step.consumed);
                }
                Action::Input => {
                    self.buffer.consume(step.consumed);
                    if let Err(reason) = self.input(&mut transport).await {
                        watch.reason = reason;
                        return;
                    }
                }
                Action::Close(reason) => {
                    watch.reason = reason.word();
                    if self.write(&mut transport).await.is_ok() {
                        transport.close().await;
                    }
                    return;
                }
                Action::StartTls => {
                    if self.write(&mut transport).await.is_err() {
                        watch.reason = "closed";
                        return;
                    }
                    match self.start_tls(transport).await {
                        Some(encrypted) => transport = encrypted,
                        None => {
                            watch.reason = "tls";
                            return;
                        }
                    }
                    watch.tls = transport.tls_text().map(Arc::from);
                }
                Action::Turn => {
                    watch.reason = "turned";
                    return Box::pin(self.hand_over(transport)).await;
                }
                Action::Flush => {
                    self.buffer.consume(step.consumed);
                    if let Err(reason) = self.write(&mut transport).await {
                        watch.reason = reason;
                        return;
                    }
                }
                Action::Ask(question) => {
                    self.buffer.consume(step.consumed);
                    // Boxed as everything that is rare.
                    Box::pin(self.find_out(*question, &transport, &watch)).await;
                }
                action => {
                    self.buffer.consume(step.consumed);
                    self.act(action, &mut watch).await;
                }
            }
        }
    }

    /// The last reply, then the connection is somebody else's.
    async fn hand_over<T: Transport>(mut self, mut transport: T) {
        if self.write(&mut transport).await.is_ok()
            && let Some(turned) = self.context.held.as_ref().and_then(|held| held.turned.as_ref())
        {
            turned(Turned { stream: Box::new(transport), peer: self.caller.peer, links: self.turned_for.unwrap_or_default().into_vec() })
                .await;
        }
    }

    /// Actions that need desk or directory, not the connection.
    async fn act(&mut self, action: Action, watch: &mut Watch) {
        match action {
            Action::Mail(mail) => self.mail(*mail).await,
            Action::Rcpt(rcpt) => {
                let answer = match self.listed(&rcpt, watch).await {
                    Some(refusal) => RcptAnswer::Refused(refusal),
                    // Boxed: its room is not carried through the whole session.
                    None => Box::pin(self.desk.rcpt(&self.context, &self.client, watch, *rcpt)).await,
                };
                self.session.rcpt_answer(answer);
            }
            Action::Begin { declared } => {
                let answer = self.desk.begin(&self.context, watch, declared);
                self.session.begin_answer(answer);
            }
            Action::ContentRefused(reply) => self.desk.content_refused(watch, &reply),
            Action::MessageEnd => {
                let entry = self.desk.entry(&self.context, &self.caller, &self.client, &self.session, watch);
                let reply: Reply = self.desk.commit(watch, entry).await;
                self.session.message_answer(&reply);
            }
            Action::Reset => self.desk.reset(),
            // Boxed: they are rare, and every session would carry their room.
            Action::Etrn(node) => Box::pin(self.etrn(&node)).await,
            Action::Atrn(domains) => Box::pin(self.atrn(&domains)).await,
            Action::Authenticate(attempt) => Box::pin(self.login(*attempt, watch)).await,
            // The connection's own actions are done by `run`.
            Action::Input | Action::Flush | Action::Body(_) | Action::StartTls | Action::Turn | Action::Ask(_) | Action::Close(_) => {}
        }
    }

    async fn mail(&mut self, mail: MailCommand) {
        if self.client.name.is_none() {
            self.client.name = Some(names::confirmed(self.context.dns.as_deref(), self.caller.peer.ip()).await);
        }
        // A client may give an exchange up after its proof was found good.
        self.client.may_relay &= self.session.login().is_some();
        if let Some(inquiry) = self.inquiry.as_mut().filter(|_| !self.client.may_relay) {
            let helo = String::from_utf8(self.session.hello_name().to_vec()).ok();
            inquiry.transaction(sender_domain(&mail), helo);
        }
        self.desk.mail(&self.context, mail);
        self.session.mail_answer(Ok(()));
    }

    async fn etrn(&mut self, node: &[u8]) {
        let asker = Asker { ip: self.caller.peer.ip(), login: self.session.login() };
        let asked = match &self.context.held {
            Some(held) => held.links.ask(asker, node).await,
            None => Asked::NotAllowed,
        };
        self.session.etrn_answer(match asked {
            Asked::Started(messages) => EtrnAnswer::Started(messages),
            Asked::UnderWay => EtrnAnswer::UnderWay,
            Asked::NotAllowed => EtrnAnswer::NotAllowed,
            Asked::Unavailable => EtrnAnswer::Unavailable,
        });
    }

    /// The refusal for a client whom block lists name. Those who have logged in, and recipients that listed clients may write to, are exempt.
    async fn listed(&mut self, rcpt: &RcptCommand, watch: &Watch) -> Option<Reply> {
        if self.session.login().is_some() {
            self.inquiry = None;
        }
        let inquiry = self.inquiry.as_mut()?;
        let config = self.context.config.get();
        let (how, text) = Box::pin(inquiry.decide(&config, self.caller.session)).await?;
        if rbl::is_excepted(&config.server.rbl.except, &rcpt.address) {
            return None;
        }
        let reply = texts::listed(how, &text);
        watch.refused(&reply, &printable(rcpt.address.as_bytes()));
        Some(reply)
    }

    async fn atrn(&mut self, domains: &[u8]) {
        let answer = match (&self.context.held, self.session.login()) {
            (Some(held), Some(login)) => held.links.turn(login, domains).await,
            _ => Turn::NotAllowed,
        };
        self.session.atrn_answer(match answer {
            Turn::Granted(links) => {
                self.turned_for = Some(links.into());
                AtrnAnswer::Granted
            }
            Turn::NoMail => AtrnAnswer::NoMail,
            Turn::NotAllowed => AtrnAnswer::NotAllowed,
            Turn::Unavailable => AtrnAnswer::Unavailable,
        });
    }

    /// What a mechanism asks before its attempt.
    async fn find_out<T: Transport>(&mut self, question: Question, transport: &T, watch: &Watch) {
        let me = self.context.config.get();
        let binding = |binding| transport.channel_binding(binding);
        let facts =
            postino_net::answers::answer(self.context.directory.as_ref(), question, (&me.me, self.context.clock.now()), binding).await;
        if let Err(error) = &facts {
            watch.warn("login could not be checked", &error.what);
        }
        self.session.auth_facts(facts.ok());
    }

    async fn login(&mut self, attempt: Attempt, watch: &mut Watch) {
        let ip = self.caller.peer.ip();
        let answer = match login::check(&self.context, watch, ip, attempt).await {
            login::Outcome::Granted(mailbox) => {
                self.client.may_relay = mailbox.flags & FLAG_NO_RELAY == 0;
                let name = printable(mailbox.address.as_bytes());
                watch.login.clone_from(&name);
                AuthAnswer::Granted(name)
            }
            login::Outcome::Denied => AuthAnswer::Denied,
            login::Outcome::Unavailable => AuthAnswer::Unavailable,
        };
        self.session.auth_answer(answer);
    }

    /// RFC 3207 4.2: what was read in the clear is dropped, and what the client was is forgotten.
    async fn start_tls<T: Transport>(&mut self, transport: T) -> Option<T> {
        self.buffer.clear();
        self.desk.reset();
        self.client.may_relay = false;
        let tls = self.context.tls.clone()?;
        let encrypted = transport.start_tls(&tls).await.ok()?;
        self.session.tls_started();
        Some(encrypted)
    }

    /// Writes what is to be written, then waits for bytes, the deadline, or the end of the server.
    async fn input<T: Transport>(&mut self, transport: &mut T) -> Result<(), &'static str> {
        self.write(transport).await?;
        self.buffer.prepare(if self.session.is_receiving() { Room::Content } else { Room::Commands });
        let permit = self.caller.permit.as_ref();
        if permit.is_some_and(ConnectionPermit::under_stress) {
            self.session.hurry(IDLE_UNDER_STRESS);
        }
        let wait = self.session.deadline().saturating_sub(self.context.clock.monotonic());
        let (stopping, between) = (self.stopping, self.session.is_between());
        let woken = tokio::select! {
            biased;
            // First, or a client that never pauses would not hear of it.
            _ = self.context.shutdown.wait_for(|&stop| stop), if !stopping => Woken::Shutdown,
            read = self.buffer.fill(transport) => Woken::Bytes(read),
            () = evicted(permit), if between => Woken::Evicted,
            () = tokio::time::sleep(wait) => Woken::Deadline,
        };
        match woken {
            Woken::Bytes(Ok(0) | Err(_)) => return Err("closed"),
            Woken::Bytes(Ok(_)) => {}
            Woken::Deadline => self.session.expire(self.context.clock.monotonic()),
            Woken::Shutdown => {
                self.stopping = true;
                self.session.shutdown();
            }
            Woken::Evicted => self.session.evict(),
        }
        Ok(())
    }

    /// Writes all replies in one go.
    async fn write<T: Transport>(&mut self, transport: &mut T) -> Result<(), &'static str> {
        if self.session.output().is_empty() {
            return Ok(());
        }
        let limit = self.context.config.get().timeout_smtpd;
        let write = async {
            transport.write_all(self.session.output()).await?;
            transport.flush().await
        };
        match tokio::time::timeout(limit, write).await {
            Ok(Ok(())) => {
                self.session.output_written();
                Ok(())
            }
            Ok(Err(_)) => Err("closed"),
            Err(_) => Err("timeout"),
        }
    }
}

fn sender_domain(mail: &MailCommand) -> Option<String> {
    let ReversePath::Address(address) = &mail.sender else { return None };
    String::from_utf8(address.host().map(|_| address.host_lower())?).ok()
}

async fn evicted(permit: Option<&ConnectionPermit>) {
    match permit {
        Some(permit) => permit.evicted().await,
        None => std::future::pending().await,
    }
}
