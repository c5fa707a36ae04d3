//! One client session (RFC 5321 3): greeting, EHLO or HELO, STARTTLS, AUTH, then any number of transactions, with PIPELINING where offered.
//! `remote` feeds it what the server says and sends what it has to say; it never sees a body, a socket or a clock.

use crate::client::capabilities::Capabilities;
use crate::client::command::{self, Transaction};
use crate::client::event::{Credentials, Event, Login, Options, Phase, Progress, ProtocolError, Refusal, Stage, TlsWish};
use crate::client::reply::{Reply, ReplyReader};
use base64::Engine;
use std::collections::VecDeque;

/// Bytes of pipelined commands sent ahead of their replies: more could fill both sides' socket buffers and lock the two peers up
/// (RFC 2920 3.1 leaves that care to the client).
const PIPELINE_BYTES_MAX: usize = 32 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    Handshake,
    AuthPlain,
    AuthLoginUser,
    AuthLoginPassword,
    AuthEnd,
    Ready,
    Envelope,
    Body,
    DataEnd,
    /// A 354 came although nobody is to get the message: a lone dot was sent, its reply is thrown away.
    EmptyDataEnd,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Reset,
    Mail,
    Recipient(usize),
    Data,
}

/// The session. Loop: send [`Session::output`], take [`Session::next_event`]; when there is none, read and [`Session::receive`].
#[derive(Debug)]
pub struct Session {
    options: Options,
    state: State,
    reader: ReplyReader,
    input: Vec<u8>,
    input_used: usize,
    output: Vec<u8>,
    events: VecDeque<Event>,
    capabilities: Capabilities,
    under_tls: bool,
    closing: bool,
    needs_reset: bool,
    replies: u64,
    // --- the running transaction
    kinds: Vec<(Kind, usize)>, // the command and the end of its bytes in `wire`
    wire: Vec<u8>,
    sent: usize,
    answered: usize,
    progress: Progress,
}

impl Session {
    /// A session on a fresh connection.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let under_tls = options.tls == TlsWish::Active;
        Self {
            options,
            state: State::Greeting,
            reader: ReplyReader::default(),
            input: Vec::new(),
            input_used: 0,
            output: Vec::new(),
            events: VecDeque::new(),
            capabilities: Capabilities::default(),
            under_tls,
            closing: false,
            needs_reset: false,
            replies: 0,
            kinds: Vec::new(),
            wire: Vec::new(),
            sent: 0,
            answered: 0,
            progress: Progress::default(),
        }
    }

    /// Bytes from the server.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.drain(..self.input_used.min(self.input.len()));
        self.input_used = 0;
        self.input.extend_from_slice(bytes);
    }

    /// Bytes for the server. Send all of them, then call [`Session::output_sent`].
    #[must_use]
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// All of [`Session::output`] was sent.
    pub fn output_sent(&mut self) {
        self.output.clear();
    }

    /// The next event; `None` when more bytes must be sent or read first.
    pub fn next_event(&mut self) -> Result<Option<Event>, ProtocolError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.awaits_reply() {
                return Ok(None);
            }
            let (used, reply) = self.reader.feed(self.input.get(self.input_used..).unwrap_or_default())?;
            self.input_used += used;
            match reply {
                None => return Ok(None),
                Some(reply) => {
                    self.replies += 1;
                    self.take_reply(reply)?;
                }
            }
        }
    }

    /// Which time-out applies now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Greeting => Phase::Greeting,
            State::Ehlo | State::Helo | State::AuthPlain | State::AuthLoginUser | State::AuthLoginPassword | State::AuthEnd => Phase::Hello,
            State::StartTls | State::Handshake => Phase::StartTls,
            State::Ready | State::Closed => Phase::Ready,
            State::Envelope => match self.kinds.get(self.answered).map(|(kind, _)| *kind) {
                Some(Kind::Recipient(_)) => Phase::Recipient,
                Some(Kind::Data) => Phase::DataStart,
                _ => Phase::Mail,
            },
            State::Body => Phase::Body,
            State::DataEnd | State::EmptyDataEnd => Phase::DataEnd,
        }
    }

    /// Replies taken so far: each one starts the next time-out, a byte does not.
    #[must_use]
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// What the server offers (empty after HELO).
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// True when the connection is under TLS.
    #[must_use]
    pub fn is_under_tls(&self) -> bool {
        self.under_tls
    }

    /// The TLS handshake is done: everything learned in clear is forgotten (RFC 3207 4.2) and EHLO goes out again.
    pub fn tls_established(&mut self) {
        self.under_tls = true;
        self.capabilities = Capabilities::default();
        self.say_hello("EHLO", State::Ehlo);
    }

    /// Starts a transaction. Only after `Ready` or `Done`, with checked addresses ([`command::check_sender`], [`command::check_recipient`]).
    /// Fails when the server has said something since, which answers nothing.
    pub fn begin(&mut self, transaction: &Transaction) -> Result<(), ProtocolError> {
        if self.state != State::Ready || self.has_unread_input() {
            return Err(ProtocolError::Unexpected);
        }
        self.kinds.clear();
        self.wire.clear();
        self.sent = 0;
        self.answered = 0;
        self.progress = Progress { recipients: vec![None; transaction.recipients.len()], ..Progress::default() };
        if self.needs_reset {
            self.wire.extend_from_slice(b"RSET\r\n");
            self.kinds.push((Kind::Reset, self.wire.len()));
        }
        command::write_mail(transaction, &self.capabilities, &mut self.wire);
        self.kinds.push((Kind::Mail, self.wire.len()));
        for (index, recipient) in transaction.recipients.iter().enumerate() {
            command::write_rcpt(recipient, transaction.utf8, &self.capabilities, &mut self.wire);
            self.kinds.push((Kind::Recipient(index), self.wire.len()));
        }
        self.wire.extend_from_slice(b"DATA\r\n");
        self.kinds.push((Kind::Data, self.wire.len()));
        self.state = State::Envelope;
        self.send_commands();
        Ok(())
    }

    /// The shell begins to write the last bytes of the body: from now on the server may hold the message.
    pub fn body_ending(&mut self) {
        self.progress.dot_sent = true;
    }

    /// The body and its final dot were sent.
    pub fn body_sent(&mut self) {
        self.progress.dot_sent = true;
        if self.state == State::Body {
            self.state = State::DataEnd;
        }
    }

    /// The body could not be sent whole: a refusal that the server sent meanwhile may still be read, but an acceptance no longer counts.
    pub fn body_broken(&mut self) {
        if self.state == State::Body {
            self.state = State::DataEnd;
        }
    }

    /// How far the transaction came. Also after an error, to keep the refusals that did arrive.
    pub fn take_progress(&mut self) -> Progress {
        std::mem::take(&mut self.progress)
    }

    /// True when another transaction may run on this connection.
    #[must_use]
    pub fn is_reusable(&self) -> bool {
        self.state == State::Ready && !self.closing && !self.has_unread_input()
    }

    fn has_unread_input(&self) -> bool {
        self.input_used < self.input.len() || self.reader.is_within_reply()
    }

    fn awaits_reply(&self) -> bool {
        !matches!(self.state, State::Handshake | State::Ready | State::Body | State::Closed)
    }

    fn take_reply(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        self.closing |= reply.code == 421; // RFC 5321 3.8: the server closes
        match self.state {
            State::Greeting => self.after_greeting(reply),
            State::Ehlo => self.after_ehlo(reply),
            State::Helo if reply.code == 250 => self.after_hello(reply),
            State::Helo => self.refuse(Stage::Hello, reply),
            State::StartTls => self.after_starttls(reply),
            State::AuthPlain | State::AuthLoginUser | State::AuthLoginPassword | State::AuthEnd => self.after_auth(reply),
            State::Envelope => self.after_envelope_command(reply),
            State::DataEnd => {
                self.progress.end = Some(reply);
                self.end_transaction(false);
                Ok(())
            }
            State::EmptyDataEnd => {
                self.end_transaction(true);
                Ok(())
            }
            State::Handshake | State::Ready | State::Body | State::Closed => Err(ProtocolError::Unexpected),
        }
    }

    fn after_greeting(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        if reply.code != 220 {
            return self.refuse(Stage::Greeting, reply);
        }
        self.expect_silence()?;
        self.say_hello("EHLO", State::Ehlo);
        Ok(())
    }

    fn after_ehlo(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        if reply.code == 250 {
            self.capabilities = Capabilities::from_reply(&reply);
            return self.after_hello(reply);
        }
        // RFC 5321 3.2: a server that does not know EHLO is asked with HELO.
        if reply.is_permanent() {
            self.expect_silence()?;
            self.say_hello("HELO", State::Helo);
            return Ok(());
        }
        self.refuse(Stage::Hello, reply)
    }

    fn after_hello(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        self.expect_silence()?;
        if !self.under_tls && self.options.tls != TlsWish::Never && self.capabilities.starttls {
            self.output.extend_from_slice(b"STARTTLS\r\n");
            self.state = State::StartTls;
            return Ok(());
        }
        let must = self.options.tls == TlsWish::Required || self.options.login != Login::No;
        if !self.under_tls && must {
            return self.refuse(Stage::TlsNotOffered, reply);
        }
        self.start_login(reply)
    }

    fn after_starttls(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        if reply.code == 220 {
            if self.has_unread_input() {
                return Err(ProtocolError::StartTlsInjection);
            }
            self.state = State::Handshake;
            self.events.push_back(Event::StartTls);
            return Ok(());
        }
        if self.options.tls == TlsWish::Required || self.options.login != Login::No {
            return self.refuse(Stage::StartTls, reply);
        }
        self.expect_silence()?;
        self.become_ready();
        Ok(())
    }

    fn start_login(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        let Login::With(credentials) = &self.options.login else {
            self.become_ready();
            return Ok(());
        };
        if self.capabilities.auth_plain {
            let word = plain_response(credentials);
            self.output.extend_from_slice(format!("AUTH PLAIN {word}\r\n").as_bytes());
            self.state = State::AuthPlain;
        } else if self.capabilities.auth_login {
            self.output.extend_from_slice(b"AUTH LOGIN\r\n");
            self.state = State::AuthLoginUser;
        } else {
            return self.refuse(Stage::AuthNotOffered, reply);
        }
        Ok(())
    }

    fn after_auth(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        if reply.code == 235 {
            self.expect_silence()?;
            self.become_ready();
            return Ok(());
        }
        let Login::With(credentials) = &self.options.login else { return Err(ProtocolError::Unexpected) };
        let (word, next) = match (reply.code, self.state) {
            // Some servers ask for the response although the command held it.
            (334, State::AuthPlain) => (plain_response(credentials), State::AuthEnd),
            (334, State::AuthLoginUser) => (encode_base64(credentials.user.as_bytes()), State::AuthLoginPassword),
            (334, State::AuthLoginPassword) => (encode_base64(credentials.password.as_bytes()), State::AuthEnd),
            _ => return self.refuse(Stage::Auth, reply),
        };
        self.expect_silence()?;
        self.output.extend_from_slice(word.as_bytes());
        self.output.extend_from_slice(b"\r\n");
        self.state = next;
        Ok(())
    }

    fn after_envelope_command(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        let Some((kind, _)) = self.kinds.get(self.answered).copied().filter(|_| self.answered < self.sent) else {
            return Err(ProtocolError::Unexpected);
        };
        self.answered += 1;
        match kind {
            Kind::Reset if reply.is_positive() => self.needs_reset = false,
            Kind::Reset => return Err(ProtocolError::Reset),
            Kind::Mail => self.progress.mail = Some(reply),
            Kind::Recipient(index) => {
                if let Some(slot) = self.progress.recipients.get_mut(index) {
                    *slot = Some(reply);
                }
            }
            Kind::Data => return self.after_data(reply),
        }
        if self.answered == self.sent {
            self.expect_silence()?;
        }
        self.send_commands();
        Ok(())
    }

    fn after_data(&mut self, reply: Reply) -> Result<(), ProtocolError> {
        let go_on = reply.is_intermediate();
        self.progress.data = Some(reply);
        if !go_on {
            self.end_transaction(true);
            return Ok(());
        }
        self.expect_silence()?;
        if self.progress.any_recipient_accepted() {
            self.state = State::Body;
            self.events.push_back(Event::SendBody);
        } else {
            self.output.extend_from_slice(b".\r\n");
            self.state = State::EmptyDataEnd;
        }
        Ok(())
    }

    /// Sends as many commands as may go out now, or ends a transaction that has become pointless.
    fn send_commands(&mut self) {
        let sent_before = self.sent;
        let start = self.end_of(sent_before);
        loop {
            let outstanding = self.sent - self.answered;
            let ahead_bytes = self.end_of(self.sent) - self.end_of(self.answered);
            if outstanding > 0 && (!self.capabilities.pipelining || ahead_bytes >= PIPELINE_BYTES_MAX) {
                break;
            }
            let Some((kind, _)) = self.kinds.get(self.sent).copied() else { break };
            if outstanding == 0 && self.is_pointless(kind) {
                self.end_transaction(true);
                return;
            }
            self.sent += 1;
        }
        let end = self.end_of(self.sent);
        if let Some(commands) = self.wire.get(start..end) {
            self.output.extend_from_slice(commands);
        }
    }

    fn is_pointless(&self, next: Kind) -> bool {
        match next {
            Kind::Reset | Kind::Mail => false,
            Kind::Recipient(_) => self.progress.mail.as_ref().is_some_and(|r| !r.is_positive()) || self.closing,
            Kind::Data => !self.progress.any_recipient_accepted(),
        }
    }

    fn end_of(&self, commands: usize) -> usize {
        commands.checked_sub(1).and_then(|last| self.kinds.get(last)).map_or(0, |(_, end)| *end)
    }

    fn end_transaction(&mut self, aborted: bool) {
        self.needs_reset = aborted;
        self.state = State::Ready;
        self.events.push_back(Event::Done);
    }

    fn become_ready(&mut self) {
        self.state = State::Ready;
        self.events.push_back(Event::Ready);
    }

    fn refuse(&mut self, stage: Stage, reply: Reply) -> Result<(), ProtocolError> {
        self.state = State::Closed;
        self.events.push_back(Event::Refused(Refusal { stage, reply }));
        Ok(())
    }

    /// Before a command goes out nothing may be left unread: it would be taken for the answer.
    fn expect_silence(&self) -> Result<(), ProtocolError> {
        if self.has_unread_input() { Err(ProtocolError::Unexpected) } else { Ok(()) }
    }

    fn say_hello(&mut self, verb: &str, state: State) {
        let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(b);
        self.output.extend_from_slice(verb.as_bytes());
        self.output.push(b' ');
        let before = self.output.len();
        self.output.extend(self.options.helo.bytes().filter(fits));
        if self.output.len() == before {
            self.output.extend_from_slice(b"localhost");
        }
        self.output.extend_from_slice(b"\r\n");
        self.state = state;
    }
}

fn plain_response(credentials: &Credentials) -> String {
    encode_base64(format!("\0{}\0{}", credentials.user, credentials.password).as_bytes())
}

fn encode_base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
