//! The session's engine: its state, the loop over the input, lines, content, time, and the shell's answers. What each command means is
//! in `dispatch`. It never blocks and never reads a clock: the shell says what time it is.

use super::content::{Content, Framing};
use super::{Action, AtrnAnswer, AuthAnswer, CloseReason, Dialect, EtrnAnswer, RcptAnswer, Settings, Step, Tls, replies};
use crate::data::{BdatDecoder, DataDecoder};
use crate::reply::Reply;
use memchr::memchr;
use postino_sasl::{Answer, Exchange, Verdict};
use std::time::Duration;

/// Longest line of an AUTH exchange, bytes (RFC 4954 4: 12288 at least).
const AUTH_LINE_BYTES_MAX: usize = 12288;
/// Output that is written before more commands are read: a group of EHLOs answers with twenty times its size.
const OUTPUT_BYTES_MAX: usize = 16384;
/// Content slower than this, over the time allowed for silence, is a client that holds a slot (slowloris). Bytes a second.
const BODY_RATE_MIN: u64 = 256;

/// One SMTP session.
pub struct Session {
    pub(super) settings: Settings,
    pub(super) output: Vec<u8>,
    pub(super) state: State,
    pub(super) hello: Option<(Dialect, Vec<u8>)>,
    pub(super) login: Option<String>,
    pub(super) transaction: Option<Transaction>,
    pub(super) commands: u32,
    errors: u32,
    unknown: u32,
    /// A MAIL or a login was accepted: the client is one.
    pub(super) trusted: bool,
    stopping: bool,
    clocks: Clocks,
}

/// Between MAIL and its end.
pub(super) struct Transaction {
    pub(super) declared: Option<u64>,
    pub(super) utf8: bool,
    pub(super) accepted: usize,
    pub(super) content: Option<Content>,
}

pub(super) enum State {
    /// Between commands.
    Command,
    /// Inside a line that was too long.
    SkipLine(Reply),
    /// The next line is an AUTH response. The login, if it is granted already and only a last word of the client is missing.
    Auth(Box<(Exchange, Option<String>)>),
    /// The shell owes an answer.
    Waiting(Wait),
    /// Content comes in.
    Body,
    /// Content, or a chunk of it, is whole.
    BodyEnd,
    /// A chunk that nobody wants is passed over.
    Drain {
        left: u64,
        reply: Reply,
    },
    Closing(CloseReason),
    /// The roles are changed: what comes now is not for this session.
    Turned,
}

pub(super) enum Wait {
    Mail { declared: Option<u64>, utf8: bool },
    Rcpt,
    Data { pipelined: Pipelined },
    Bdat { bytes: u64, last: bool },
    Message,
    Auth(Box<Exchange>),
    Etrn { node: String },
    Atrn,
    Tls,
}

/// Whether bytes came after DATA in the same group; RFC 2920 3.1 forbids it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pipelined {
    No,
    Yes,
}

struct Clocks {
    started: Duration,
    /// Last complete command or content byte.
    idle_from: Duration,
    now: Duration,
    /// The shell answered: its time is not the client's.
    answered: bool,
    body_from: Duration,
    body_bytes: u64,
}

/// One turn of the loop: bytes used and, if the shell must act, what.
type Turn = (usize, Option<Action>);

impl Session {
    /// A fresh session; the banner is in the output. `now` is any monotonic time.
    #[must_use]
    pub fn new(settings: Settings, now: Duration) -> Self {
        let mut session = Self {
            settings,
            output: Vec::with_capacity(256),
            state: State::Command,
            hello: None,
            login: None,
            transaction: None,
            commands: 0,
            errors: 0,
            unknown: 0,
            trusted: false,
            stopping: false,
            clocks: Clocks { started: now, idle_from: now, now, answered: false, body_from: now, body_bytes: 0 },
        };
        let banner = format!("{} ESMTP", session.settings.greeting);
        session.say(&Reply::plain(220, "").with_text(&banner));
        session
    }

    /// Goes on with `input` (content is decoded in place). Call again with what is left until the action is [`Action::Input`].
    pub fn step(&mut self, input: &mut [u8], now: Duration) -> Step {
        self.clocks.now = now;
        if std::mem::take(&mut self.clocks.answered) {
            self.clocks.idle_from = now;
        }
        let over = now >= self.clocks.started.saturating_add(self.settings.limits.session);
        if over && !matches!(self.state, State::Waiting(_) | State::BodyEnd | State::Closing(_)) {
            // A client that never pauses meets no timer.
            self.close(&replies::TIMEOUT, CloseReason::Timeout);
        }
        let mut used = 0;
        loop {
            if self.output.len() > OUTPUT_BYTES_MAX {
                return Step { consumed: used, action: Action::Flush };
            }
            let (n, action) = self.turn(input.get_mut(used..).unwrap_or_default());
            let start = used;
            used += n;
            match action {
                None => {}
                // RFC 3207 6: what was sent in the clear after STARTTLS is never looked at.
                Some(Action::StartTls) => return Step { consumed: input.len(), action: Action::StartTls },
                Some(Action::Body(range)) => {
                    let range = start + range.start..start + range.end;
                    return Step { consumed: used, action: Action::Body(range) };
                }
                Some(action) => return Step { consumed: used, action },
            }
        }
    }

    /// Replies to be written.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// Tells that [`Session::output`] was written.
    pub fn output_written(&mut self) {
        self.output.clear();
        self.output.shrink_to(1024);
    }

    /// When [`Session::expire`] is to be called if nothing came.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let limits = &self.settings.limits;
        let idle = if self.trusted { limits.idle } else { limits.idle.min(limits.idle_before_mail) };
        let mut deadline = self.clocks.idle_from.saturating_add(idle);
        if matches!(self.state, State::Body) {
            let earned = Duration::from_secs(self.clocks.body_bytes / BODY_RATE_MIN);
            deadline = deadline.min(self.clocks.body_from.saturating_add(idle).saturating_add(earned));
        }
        deadline.min(self.clocks.started.saturating_add(limits.session))
    }

    /// Time went by without input: past the deadline the session says 421 and closes at the next step.
    pub fn expire(&mut self, now: Duration) {
        if now >= self.deadline() {
            self.close(&replies::TIMEOUT, CloseReason::Timeout);
        }
    }

    /// The server stops: 421 at the next safe point, which is between two commands.
    pub fn shutdown(&mut self) {
        self.stopping = true;
    }

    /// The house is nearly full: idle time before the first MAIL or login is at most `idle` from now on.
    pub fn hurry(&mut self, idle: Duration) {
        let limit = &mut self.settings.limits.idle_before_mail;
        *limit = (*limit).min(idle);
    }

    /// The place is needed for somebody else: 421 and close at the next step, if the session is between two transactions.
    pub fn evict(&mut self) {
        if self.is_between() {
            self.close(&replies::MAKE_ROOM, CloseReason::Limit);
        }
    }

    /// True between two transactions, when nothing is lost by an end.
    #[must_use]
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Command) && self.transaction.is_none()
    }

    /// True while message content comes in (the shell gives it a large buffer then).
    #[must_use]
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Body | State::Drain { .. })
    }

    /// The HELO name, empty before.
    #[must_use]
    pub fn hello_name(&self) -> &[u8] {
        self.hello.as_ref().map_or(b"", |(_, name)| name)
    }

    /// The login, once authenticated.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// The keyword for `with` in Received (RFC 3848, RFC 6531 4.3).
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        let utf8 = self.transaction.as_ref().is_some_and(|t| t.utf8);
        let plain_helo = matches!(self.hello, Some((Dialect::Smtp, _)) | None);
        match (utf8, self.settings.tls == Tls::Active, self.login.is_some()) {
            (false, false, false) if plain_helo => "SMTP",
            (false, false, false) => "ESMTP",
            (false, true, false) => "ESMTPS",
            (false, false, true) => "ESMTPA",
            (false, true, true) => "ESMTPSA",
            (true, false, false) => "UTF8SMTP",
            (true, true, false) => "UTF8SMTPS",
            (true, false, true) => "UTF8SMTPA",
            (true, true, true) => "UTF8SMTPSA",
        }
    }

    /// Answers [`Action::Mail`].
    pub fn mail_answer(&mut self, answer: Result<(), Reply>) {
        let Some(Wait::Mail { declared, utf8 }) = self.answered() else { return };
        match answer {
            Ok(()) => {
                self.trusted = true;
                self.transaction = Some(Transaction { declared, utf8, accepted: 0, content: None });
                self.say(&replies::SENDER_OK);
            }
            Err(reply) => self.say(&reply),
        }
    }

    /// Answers [`Action::Rcpt`].
    pub fn rcpt_answer(&mut self, answer: RcptAnswer) {
        let Some(Wait::Rcpt) = self.answered() else { return };
        match answer {
            RcptAnswer::Accepted => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.accepted += 1;
                }
                self.say(&replies::RECIPIENT_OK);
            }
            RcptAnswer::Refused(reply) => self.say(&reply),
            RcptAnswer::Unknown(reply) => {
                self.unknown += 1;
                if self.unknown > self.settings.limits.unknown_recipients_max {
                    return self.close(&replies::TOO_MANY_UNKNOWN, CloseReason::Limit);
                }
                self.say(&reply);
            }
        }
    }

    /// Answers [`Action::Begin`]. After an error the transaction is over; the shell forgets it.
    pub fn begin_answer(&mut self, answer: Result<(), Reply>) {
        match (self.answered(), answer) {
            (Some(Wait::Data { .. }), Ok(())) => {
                self.say(&Reply::plain(354, "go ahead"));
                self.receive(Framing::Dot(DataDecoder::default()));
            }
            (Some(Wait::Data { pipelined }), Err(reply)) => {
                self.transaction = None;
                self.refuse_data(&reply, pipelined);
            }
            (Some(Wait::Bdat { bytes, last }), Ok(())) => {
                self.receive(Framing::Chunks { decoder: BdatDecoder::default(), left: bytes, chunk: bytes, last });
            }
            (Some(Wait::Bdat { bytes, .. }), Err(reply)) => {
                self.transaction = None;
                self.state = State::Drain { left: bytes, reply };
            }
            _ => {}
        }
    }

    /// The content cannot be kept (the queue said so): the rest is read and this reply given at the end.
    pub fn refuse_content(&mut self, reply: Reply) {
        if let Some(content) = self.transaction.as_mut().and_then(|t| t.content.as_mut()) {
            content.refuse_quietly(reply);
        }
    }

    /// Answers [`Action::MessageEnd`]; the transaction is over.
    pub fn message_answer(&mut self, reply: &Reply) {
        let Some(Wait::Message) = self.answered() else { return };
        self.transaction = None;
        self.say(reply);
    }

    /// Answers [`Action::Ask`]; `None`: it cannot be found out now.
    pub fn auth_facts(&mut self, facts: Option<Answer>) {
        let Some(Wait::Auth(exchange)) = self.answered() else { return };
        let Some(facts) = facts else { return self.say(&replies::AUTH_UNAVAILABLE) };
        // An answer leads to a reply, never to another question.
        let _ = self.auth_step(exchange.answer(facts), None);
    }

    /// Answers [`Action::Authenticate`].
    pub fn auth_answer(&mut self, answer: AuthAnswer) {
        let Some(Wait::Auth(exchange)) = self.answered() else { return };
        let (verdict, login) = match answer {
            AuthAnswer::Granted(login) => (Verdict::Granted, Some(login)),
            AuthAnswer::Denied => (Verdict::Denied, None),
            AuthAnswer::Unavailable => return self.say(&replies::AUTH_UNAVAILABLE),
        };
        // A verdict leads to a reply, never to another question.
        let _ = self.auth_step(exchange.verdict(verdict), login);
    }

    /// Answers [`Action::Etrn`]. A client that comes for its mail is one, whatever it waits for now.
    pub fn etrn_answer(&mut self, answer: EtrnAnswer) {
        let Some(Wait::Etrn { node }) = self.answered() else { return };
        let reply = |code, status, text: String| Reply::new(code, status, "").with_text(&text);
        match answer {
            EtrnAnswer::Started(0) => self.say(&reply(251, (2, 0, 0), format!("ok, no messages waiting for node {node}"))),
            EtrnAnswer::Started(n) => self.say(&reply(253, (2, 0, 0), format!("ok, {n} pending messages for node {node} started"))),
            EtrnAnswer::UnderWay => self.say(&reply(250, (2, 0, 0), format!("ok, queuing for node {node} started"))),
            EtrnAnswer::NotAllowed => return self.fail(&reply(459, (4, 7, 1), format!("node {node} not allowed"))),
            EtrnAnswer::Unavailable => return self.say(&reply(458, (4, 3, 0), format!("unable to queue messages for node {node}"))),
        }
        self.trusted = true;
    }

    /// Answers [`Action::Atrn`].
    pub fn atrn_answer(&mut self, answer: AtrnAnswer) {
        let Some(Wait::Atrn) = self.answered() else { return };
        match answer {
            AtrnAnswer::Granted => {
                self.say(&replies::TURNING);
                self.state = State::Turned;
            }
            AtrnAnswer::NoMail => self.say(&replies::NO_MAIL),
            AtrnAnswer::NotAllowed => self.fail(&replies::ATRN_REFUSED),
            AtrnAnswer::Unavailable => self.say(&replies::ATRN_UNAVAILABLE),
        }
    }

    /// Answers [`Action::StartTls`] after a good handshake.
    pub fn tls_started(&mut self) {
        let Some(Wait::Tls) = self.answered() else { return };
        self.settings.tls = Tls::Active;
    }

    /// Back to commands, if an answer was owed.
    fn answered(&mut self) -> Option<Wait> {
        self.clocks.answered = true;
        match std::mem::replace(&mut self.state, State::Command) {
            State::Waiting(wait) => Some(wait),
            other => {
                self.state = other;
                None
            }
        }
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        reply.write_to(&mut self.output);
    }

    /// Says a reply that counts as an error of the client.
    pub(super) fn fail(&mut self, reply: &Reply) {
        self.errors += 1;
        if self.errors > self.settings.limits.errors_max {
            return self.close(&replies::TOO_MANY_ERRORS, CloseReason::Errors);
        }
        self.say(reply);
    }

    pub(super) fn close(&mut self, reply: &Reply, reason: CloseReason) {
        self.say(reply);
        self.state = State::Closing(reason);
    }

    /// A DATA that is refused: content that came with it would be read as commands, so the session ends there (RFC 2920 3.1).
    pub(super) fn refuse_data(&mut self, reply: &Reply, pipelined: Pipelined) {
        self.fail(reply);
        if pipelined == Pipelined::Yes && !matches!(self.state, State::Closing(_)) {
            self.close(&replies::NOT_PIPELINED, CloseReason::Errors);
        }
    }

    fn receive(&mut self, framing: Framing) {
        if let Some(transaction) = &mut self.transaction {
            transaction.content = Some(Content::new(framing));
            self.body_starts();
        }
    }

    pub(super) fn body_starts(&mut self) {
        self.clocks.body_from = self.clocks.now;
        self.clocks.body_bytes = 0;
        self.state = State::Body;
    }

    fn turn(&mut self, input: &mut [u8]) -> Turn {
        match &mut self.state {
            State::Closing(reason) => (input.len(), Some(Action::Close(*reason))),
            State::Turned => (input.len(), Some(Action::Turn)),
            State::Waiting(_) => (0, Some(Action::Input)),
            State::Command | State::Auth(..) if self.stopping => {
                self.close(&replies::SHUTDOWN, CloseReason::Shutdown);
                (0, None)
            }
            State::Command | State::Auth(..) => self.line(input),
            State::SkipLine(_) => self.skip_line(input),
            State::Body => self.body(input),
            State::BodyEnd => (0, self.body_end()),
            State::Drain { left, .. } => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left = left.saturating_sub(n as u64);
                if *left > 0 {
                    return (n, Some(Action::Input));
                }
                if let State::Drain { reply, .. } = std::mem::replace(&mut self.state, State::Command) {
                    self.fail(&reply);
                }
                (n, None)
            }
        }
    }

    /// One line of commands or AUTH. A lone LF ends a line, too: harmless, since content never ends by it.
    fn line(&mut self, input: &[u8]) -> Turn {
        let in_auth = matches!(self.state, State::Auth(..));
        let is_auth = in_auth || input.get(..4).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH"));
        let limit = if is_auth { AUTH_LINE_BYTES_MAX } else { self.settings.limits.line_bytes_max };
        let Some(end) = memchr(b'\n', input) else {
            if input.len() < limit {
                return (0, Some(Action::Input));
            }
            let reply = if in_auth { replies::AUTH_LINE_LONG } else { replies::LINE_LONG };
            self.state = State::SkipLine(reply);
            return (input.len(), None);
        };
        let used = end + 1;
        self.clocks.idle_from = self.clocks.now;
        if used > limit {
            self.state = State::Command;
            let reply = if in_auth { replies::AUTH_LINE_LONG } else { replies::LINE_LONG };
            self.fail(&reply);
            return (used, None);
        }
        let line = input.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let pipelined = if input.len() > used { Pipelined::Yes } else { Pipelined::No };
        match std::mem::replace(&mut self.state, State::Command) {
            State::Auth(state) => {
                let (exchange, login) = *state;
                (used, self.auth_step(exchange.response(line), login))
            }
            _ => (used, self.command(line, pipelined)),
        }
    }

    fn skip_line(&mut self, input: &[u8]) -> Turn {
        let Some(end) = memchr(b'\n', input) else { return (input.len(), Some(Action::Input)) };
        self.clocks.idle_from = self.clocks.now;
        if let State::SkipLine(reply) = std::mem::replace(&mut self.state, State::Command) {
            self.fail(&reply);
        }
        (end + 1, None)
    }

    fn body(&mut self, input: &mut [u8]) -> Turn {
        let limits = &self.settings.limits;
        let Some(content) = self.transaction.as_mut().and_then(|t| t.content.as_mut()) else {
            // Cannot be: the body state is entered with content only. If it were, the connection could not be trusted any more.
            self.close(&replies::SYSTEM, CloseReason::Errors);
            return (0, None);
        };
        let taken = content.take(input, limits.message_bytes_max, limits.hops_max);
        if taken.consumed > 0 {
            self.clocks.idle_from = self.clocks.now;
            self.clocks.body_bytes = self.clocks.body_bytes.saturating_add(taken.consumed as u64);
        }
        let news = content.news();
        if taken.done {
            self.state = State::BodyEnd;
        }
        let action = match news {
            Some(reply) => Some(Action::ContentRefused(reply)),
            None if taken.keep > 0 => Some(Action::Body(0..taken.keep)),
            None if taken.done => None,
            None => Some(Action::Input),
        };
        (taken.consumed, action)
    }

    fn body_end(&mut self) -> Option<Action> {
        self.state = State::Command;
        let content = self.transaction.as_ref().and_then(|t| t.content.as_ref())?;
        let (last, chunk) = match content.framing {
            Framing::Dot(_) => (true, 0),
            Framing::Chunks { last, chunk, .. } => (last, chunk),
        };
        match (content.refusal().cloned(), last) {
            (None, true) => {
                self.state = State::Waiting(Wait::Message);
                return Some(Action::MessageEnd);
            }
            (None, false) => self.say(&Reply::new(250, (2, 0, 0), "").with_text(&format!("{chunk} octets received"))),
            (Some(reply), last) => {
                if last {
                    self.transaction = None;
                }
                self.say(&reply);
            }
        }
        None
    }
}
