//! One POP3 session as a pure state machine: bytes in, replies and wishes out. The shell ([`crate::serve`]) does what it wishes; it reads
//! no clock, opens no file and checks no password.

mod command;
mod replies;

use command::Command;
use postino_ports::directory::Secret;
use postino_ports::maildrop::DropMessage;
use postino_sasl::{Answer, Attempt, Channel, End, Exchange, Mechanism, Offered, Plus, Question, Step, Verdict};

/// A long response is handed over in pieces of about this size.
const PIECE_BYTES: usize = 32 * 1024;
/// Room that an idle session keeps for its next line.
const INPUT_BYTES_KEPT: usize = 512;
/// Commands before a login: a client needs four, and whoever asks for the capabilities without end takes time from others.
const COMMANDS_BEFORE_LOGIN_MAX: u32 = 100;
/// Longest line of an AUTH exchange, bytes (RFC 5034 4 allows what the mechanism needs; RFC 4954 4 says 12288).
const AUTH_LINE_BYTES_MAX: usize = 12288;

/// What the session may do; fixed for its life but for TLS.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The stamp of the greeting with its angle brackets (RFC 1939 7, APOP).
    pub stamp: Vec<u8>,
    /// Longest line, bytes with its end.
    pub line_bytes_max: usize,
    /// Bad commands and failed logins before the session is ended.
    pub errors_max: u32,
    /// TLS.
    pub tls: Tls,
    /// Mechanisms of AUTH, as far as the channel allows them.
    pub mechanisms: Offered,
    /// May passwords come in the clear while TLS is not active?
    pub clear_passwords: ClearPasswords,
}

/// Where TLS stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// Active.
    Active,
    /// STLS may start it.
    Offered,
    /// There is none.
    Unavailable,
}

/// Passwords without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClearPasswords {
    /// The client is on this machine and the configuration allows it.
    Allowed,
    /// Refused, and not offered.
    Refused,
}

/// What the shell has to do next. Replies made so far are in the output buffer and go out first, together.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Read from the client and [`Session::feed`].
    Read,
    /// Write what there is; the session has more to say.
    Write,
    /// Find this out for AUTH and call [`Session::told`].
    Ask(Question),
    /// Check these and call [`Session::granted`] or [`Session::refused`].
    Login(Login),
    /// Do the handshake and call [`Session::secured`].
    StartTls,
    /// Send a message: when it is open, `+OK` and the transmission; else [`Session::unavailable`].
    Send(Send),
    /// QUIT: remove these (from 0) for good and call [`Session::finished`].
    Finish(Vec<usize>),
    /// Write what there is and close.
    Close(Reason),
}

/// A login attempt.
#[derive(Debug)]
pub struct Login {
    /// Name as sent.
    pub name: Vec<u8>,
    /// Proof.
    pub secret: Secret,
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.secret == other.secret
    }
}

impl Eq for Login {}

/// A message to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// Which, from 0.
    pub index: usize,
    /// TOP: lines of the body; `None` for RETR.
    pub body_lines: Option<u64>,
}

/// Why the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// QUIT.
    Quit,
    /// Too many errors, or a client that speaks another protocol.
    Errors,
    /// Too many commands without a login.
    Commands,
}

/// Why a login failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong name or password.
    Denied,
    /// Too many attempts.
    Throttled,
    /// The directory or the mailbox cannot be read now.
    Temporary,
    /// The account has no mailbox; an administrator must act.
    NoMailbox,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Authorization,
    /// PASS is expected to follow.
    Named(Vec<u8>),
    /// A line of the client is expected, or an answer of the shell.
    Sasl,
    Transaction,
    /// The shell has been told to finish or to close.
    Ended,
}

#[derive(Debug)]
struct Sasl {
    exchange: Exchange,
    granted: Option<(usize, u64)>,
}

/// A multi-line list that is being written.
#[derive(Debug, Clone, Copy)]
struct Listing {
    kind: ListKind,
    next: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListKind {
    Octets,
    Uidl,
}

/// The session.
#[derive(Debug)]
pub struct Session {
    settings: Settings,
    phase: Phase,
    /// The exchange of AUTH, and whether its attempt was granted already, so that only a last word is missing.
    sasl: Option<Sasl>,
    input: Vec<u8>,
    /// Bytes of `input` that are known to hold no line end.
    searched: usize,
    /// The rest of a line beyond the limit is thrown away.
    skipping: bool,
    errors: u32,
    /// Lines before the login.
    commands: u32,
    deleted: Vec<bool>,
    listing: Option<Listing>,
}

impl Session {
    /// A session that has greeted ([`Self::greeting`]).
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Authorization,
            sasl: None,
            input: Vec::new(),
            searched: 0,
            skipping: false,
            errors: 0,
            commands: 0,
            deleted: Vec::new(),
            listing: None,
        }
    }

    /// The first line.
    pub fn greeting(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"+OK ");
        out.extend_from_slice(&self.settings.stamp);
        out.extend_from_slice(b"\r\n");
    }

    /// True once a login was granted.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        self.phase == Phase::Transaction
    }

    /// Takes bytes from the client. Call it only after [`Action::Read`], so that input stays bounded.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// Works until the shell is needed. `messages` is the maildrop's list, empty before login. Replies are appended to `out`.
    pub fn next(&mut self, messages: &[DropMessage], out: &mut Vec<u8>) -> Action {
        loop {
            if let Some(listing) = self.listing.take() {
                self.continue_listing(listing, messages, out);
            }
            if out.len() >= PIECE_BYTES || self.listing.is_some() {
                return Action::Write;
            }
            if self.errors >= self.settings.errors_max && self.phase != Phase::Ended {
                self.phase = Phase::Ended;
                replies::line(out, "-ERR too many errors");
                return Action::Close(Reason::Errors);
            }
            let Some(line) = self.take_line() else { return Action::Read };
            if !matches!(self.phase, Phase::Transaction | Phase::Ended) {
                self.commands = self.commands.saturating_add(1);
                if self.commands > COMMANDS_BEFORE_LOGIN_MAX {
                    self.phase = Phase::Ended;
                    replies::line(out, "-ERR too many commands without a login");
                    return Action::Close(Reason::Commands);
                }
            }
            if let Some(action) = self.obey(line, messages, out) {
                return action;
            }
        }
    }

    /// Answers [`Action::Ask`]; `None`: it cannot be found out now.
    pub fn told(&mut self, answer: Option<Answer>, out: &mut Vec<u8>) {
        let Some(sasl) = self.sasl.take() else { return };
        match answer {
            Some(answer) => drop(self.step(sasl.exchange.answer(answer), None, out)),
            None => self.refused(Refusal::Temporary, out),
        }
    }

    /// The login is good; the maildrop is open.
    pub fn granted(&mut self, messages: &[DropMessage], out: &mut Vec<u8>) {
        self.deleted = vec![false; messages.len()];
        let total = self.total(messages);
        match self.sasl.take() {
            Some(sasl) => drop(self.step(sasl.exchange.verdict(Verdict::Granted), Some(total), out)),
            None => self.welcome(total, out),
        }
    }

    fn welcome(&mut self, (count, octets): (usize, u64), out: &mut Vec<u8>) {
        self.phase = Phase::Transaction;
        replies::line(out, &format!("+OK {count} messages ({octets} octets)"));
    }

    /// The login failed. The text never tells an unknown user from a wrong password.
    pub fn refused(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        self.phase = Phase::Authorization;
        match self.sasl.take() {
            Some(sasl) if refusal == Refusal::Denied => drop(self.step(sasl.exchange.verdict(Verdict::Denied), None, out)),
            _ => self.refuse(refusal, out),
        }
    }

    fn refuse(&mut self, refusal: Refusal, out: &mut Vec<u8>) {
        if refusal != Refusal::Temporary {
            self.error();
        }
        replies::line(
            out,
            match refusal {
                Refusal::Denied => "-ERR [AUTH] authentication failed",
                Refusal::Throttled => "-ERR [LOGIN-DELAY] too many failed logins, try again later",
                Refusal::Temporary => "-ERR [SYS/TEMP] temporary failure, try again later",
                Refusal::NoMailbox => "-ERR [SYS/PERM] this account has no mailbox",
            },
        );
    }

    /// TLS is active. What the client said before is forgotten (RFC 2595 4).
    pub fn secured(&mut self) {
        self.settings.tls = Tls::Active;
        self.phase = Phase::Authorization;
        self.sasl = None;
        self.skipping = false;
        self.forget_input();
    }

    /// The first line of RETR and TOP.
    pub fn sending(&self, send: Send, messages: &[DropMessage], out: &mut Vec<u8>) {
        match (send.body_lines, messages.get(send.index)) {
            (None, Some(message)) => replies::line(out, &format!("+OK {} octets", message.octets)),
            _ => replies::line(out, "+OK"),
        }
    }

    /// The message cannot be opened.
    pub fn unavailable(&self, out: &mut Vec<u8>) {
        replies::line(out, "-ERR [SYS/TEMP] unable to open that message");
    }

    /// QUIT's work is done; so many messages could not be removed.
    pub fn finished(&mut self, not_removed: usize, out: &mut Vec<u8>) -> Action {
        self.phase = Phase::Ended;
        let text = if not_removed == 0 { "+OK bye" } else { "-ERR [SYS/TEMP] some deleted messages are not removed" };
        replies::line(out, text);
        Action::Close(Reason::Quit)
    }

    /// The next line of the client without its end; counts and answers what is none.
    fn take_line(&mut self) -> Option<Input> {
        let fresh = self.input.get(self.searched..).unwrap_or_default();
        let Some(at) = memchr::memchr(b'\n', fresh) else {
            self.searched = self.input.len();
            if self.skipping || self.searched >= self.line_bytes_max() {
                self.skipping = true;
                self.forget_input();
            }
            return None;
        };
        let end = self.searched.saturating_add(at).saturating_add(1);
        let too_long = std::mem::take(&mut self.skipping) || end > self.line_bytes_max();
        let mut line: Vec<u8> = self.input.get(..end).unwrap_or_default().to_vec();
        // The line may hold a password: no copy of it stays behind in the buffer.
        self.input.get_mut(..end).unwrap_or_default().fill(0);
        self.input.drain(..end);
        self.searched = 0;
        if self.input.is_empty() && self.input.capacity() > INPUT_BYTES_KEPT {
            self.input = Vec::new();
        }
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(if too_long {
            Input::TooLong
        } else if line.contains(&0) {
            Input::Nul
        } else if line.contains(&b'\r') {
            Input::BareCr
        } else {
            Input::Line(line)
        })
    }

    /// Tokens are longer than commands.
    fn line_bytes_max(&self) -> usize {
        let begins = self.input.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "));
        let is_auth = self.phase == Phase::Sasl || (begins && self.phase != Phase::Transaction);
        if is_auth { AUTH_LINE_BYTES_MAX } else { self.settings.line_bytes_max }
    }

    fn forget_input(&mut self) {
        self.input.fill(0);
        self.input.clear();
        self.searched = 0;
    }

    fn obey(&mut self, input: Input, messages: &[DropMessage], out: &mut Vec<u8>) -> Option<Action> {
        let line = match input {
            Input::Line(line) => line,
            Input::TooLong => return self.bad(out, "-ERR line too long"),
            Input::Nul => return self.bad(out, "-ERR NUL in line"),
            Input::BareCr => return self.bad(out, "-ERR bare CR in line"),
        };
        match std::mem::replace(&mut self.phase, Phase::Authorization) {
            Phase::Sasl => {
                let Sasl { exchange, granted } = self.sasl.take()?;
                self.step(exchange.response(&line), granted, out)
            }
            Phase::Transaction => {
                self.phase = Phase::Transaction;
                self.in_transaction(Command::parse(&line), messages, out)
            }
            Phase::Authorization => self.in_authorization(Command::parse(&line), None, out),
            Phase::Named(name) => self.in_authorization(Command::parse(&line), Some(name), out),
            Phase::Ended => {
                self.phase = Phase::Ended;
                Some(Action::Close(Reason::Quit))
            }
        }
    }

    fn in_authorization(&mut self, command: Command<'_>, name: Option<Vec<u8>>, out: &mut Vec<u8>) -> Option<Action> {
        match command {
            Command::User(user) if self.may_send_password() => {
                self.phase = Phase::Named(user.to_vec());
                replies::ok(out)
            }
            Command::Pass(password) if self.may_send_password() => match name {
                Some(name) => Some(Action::Login(Login { name, secret: Secret::Plain(password.to_vec()) })),
                None => self.bad(out, "-ERR USER first"),
            },
            Command::User(_) | Command::Pass(_) => self.needs_tls(out),
            Command::Apop { name, digest } => {
                let secret = Secret::Apop { stamp: self.settings.stamp.clone(), digest: digest.to_ascii_lowercase() };
                Some(Action::Login(Login { name: name.to_vec(), secret }))
            }
            Command::AuthList => self.mechanisms(out),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial, out),
            Command::Stls => match self.settings.tls {
                Tls::Offered => {
                    replies::line(out, "+OK begin TLS");
                    self.forget_input();
                    Some(Action::StartTls)
                }
                Tls::Active => self.bad(out, "-ERR TLS is active"),
                Tls::Unavailable => self.bad(out, "-ERR TLS is not available"),
            },
            // RFC 6856 2.2: before login only. Messages are sent as they are stored, which UTF8 allows.
            Command::Utf8 => replies::ok(out),
            Command::Capa => self.capabilities(out),
            Command::Noop => {
                self.phase = name.map_or(Phase::Authorization, Phase::Named);
                replies::ok(out)
            }
            Command::Quit => self.bye(out),
            Command::OtherProtocol => self.other_protocol(out),
            Command::Malformed => self.bad(out, "-ERR syntax error"),
            Command::Unknown => self.bad(out, "-ERR unknown command"),
            Command::Stat
            | Command::List(_)
            | Command::Uidl(_)
            | Command::Retr(_)
            | Command::Top { .. }
            | Command::Dele(_)
            | Command::Rset => self.bad(out, "-ERR authorization first"),
        }
    }

    fn in_transaction(&mut self, command: Command<'_>, messages: &[DropMessage], out: &mut Vec<u8>) -> Option<Action> {
        match command {
            Command::Stat => {
                let (count, octets) = self.total(messages);
                replies::line(out, &format!("+OK {count} {octets}"));
            }
            Command::List(None) => {
                let (count, octets) = self.total(messages);
                replies::line(out, &format!("+OK {count} messages ({octets} octets)"));
                self.listing = Some(Listing { kind: ListKind::Octets, next: 0 });
            }
            Command::Uidl(None) => {
                replies::line(out, "+OK");
                self.listing = Some(Listing { kind: ListKind::Uidl, next: 0 });
            }
            Command::List(Some(number)) => match self.find(number, messages) {
                Some((_, message)) => replies::line(out, &format!("+OK {number} {}", message.octets)),
                None => replies::no_message(out),
            },
            Command::Uidl(Some(number)) => match self.find(number, messages) {
                Some((_, message)) => replies::line(out, &format!("+OK {number} {}", message.uidl)),
                None => replies::no_message(out),
            },
            Command::Retr(number) => match self.find(number, messages) {
                Some((index, _)) => return Some(Action::Send(Send { index, body_lines: None })),
                None => replies::no_message(out),
            },
            Command::Top { number, lines } => match self.find(number, messages) {
                Some((index, _)) => return Some(Action::Send(Send { index, body_lines: Some(lines) })),
                None => replies::no_message(out),
            },
            Command::Dele(number) => match self.find(number, messages) {
                Some((index, _)) => {
                    if let Some(mark) = self.deleted.get_mut(index) {
                        *mark = true;
                    }
                    return replies::ok(out);
                }
                None => replies::no_message(out),
            },
            Command::Rset => {
                self.deleted.fill(false);
                return replies::ok(out);
            }
            Command::Noop => return replies::ok(out),
            Command::Capa => return self.capabilities(out),
            Command::Quit => {
                let deleted = self.deleted.iter().enumerate().filter(|(_, gone)| **gone).map(|(i, _)| i);
                return Some(Action::Finish(deleted.collect()));
            }
            Command::OtherProtocol => return self.other_protocol(out),
            Command::Malformed => return self.bad(out, "-ERR syntax error"),
            Command::Unknown => return self.bad(out, "-ERR unknown command"),
            Command::User(_)
            | Command::Pass(_)
            | Command::Apop { .. }
            | Command::Auth { .. }
            | Command::AuthList
            | Command::Stls
            | Command::Utf8 => return self.bad(out, "-ERR already logged in"),
        }
        None
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>, out: &mut Vec<u8>) -> Option<Action> {
        let channel = self.channel();
        let offered = self.settings.mechanisms;
        match Mechanism::find(mechanism).filter(|&found| offered.contains(found)) {
            None => self.bad(out, "-ERR no such mechanism"),
            Some(found) if !found.fits(channel) => self.needs_tls(out),
            Some(found) => {
                let plus = offered.on(channel).any(|m| matches!(m, Mechanism::ScramPlus(_)));
                let exchange = Exchange::new(found, if plus { Plus::Offered } else { Plus::NotOffered });
                self.step(exchange.first(initial), None, out)
            }
        }
    }

    /// Goes on with an exchange; `granted` is what the maildrop holds once its attempt was found good.
    fn step(&mut self, step: Step, granted: Option<(usize, u64)>, out: &mut Vec<u8>) -> Option<Action> {
        let (exchange, action) = match step {
            Step::Challenge(challenge, exchange) => {
                replies::line(out, &format!("+ {challenge}"));
                (exchange, None)
            }
            Step::Ask(question, exchange) => (exchange, Some(Action::Ask(question))),
            Step::Attempt(Attempt { login, secret }, exchange) => (exchange, Some(Action::Login(Login { name: login, secret }))),
            Step::End(End::Granted) => {
                match granted {
                    Some(total) => self.welcome(total, out),
                    None => self.refuse(Refusal::Denied, out),
                }
                return None;
            }
            Step::End(End::Denied | End::OtherIdentity) => {
                self.refuse(Refusal::Denied, out);
                return None;
            }
            Step::End(End::Cancelled) => return self.bad(out, "-ERR authentication cancelled"),
            Step::End(End::Malformed) => return self.bad(out, "-ERR malformed authentication data"),
        };
        self.phase = Phase::Sasl;
        self.sasl = Some(Sasl { exchange, granted });
        action
    }

    /// The message of a number (from 1) that is not marked as deleted.
    fn find<'a>(&self, number: u64, messages: &'a [DropMessage]) -> Option<(usize, &'a DropMessage)> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        if *self.deleted.get(index)? { None } else { Some((index, messages.get(index)?)) }
    }

    /// Number and octets of what is not deleted.
    fn total(&self, messages: &[DropMessage]) -> (usize, u64) {
        let left = messages.iter().zip(&self.deleted).filter(|(_, gone)| !**gone);
        left.fold((0usize, 0u64), |(n, octets), (m, _)| (n.saturating_add(1), octets.saturating_add(m.octets)))
    }

    fn continue_listing(&mut self, mut listing: Listing, messages: &[DropMessage], out: &mut Vec<u8>) {
        let rows = messages.iter().zip(&self.deleted).enumerate().skip(listing.next);
        for (index, (message, gone)) in rows {
            if out.len() >= PIECE_BYTES {
                listing.next = index;
                self.listing = Some(listing);
                return;
            }
            if !gone {
                let number = index.saturating_add(1);
                match listing.kind {
                    ListKind::Octets => replies::line(out, &format!("{number} {}", message.octets)),
                    ListKind::Uidl => replies::line(out, &format!("{number} {}", message.uidl)),
                }
            }
        }
        replies::line(out, ".");
    }

    fn may_send_password(&self) -> bool {
        self.settings.tls == Tls::Active || self.settings.clear_passwords == ClearPasswords::Allowed
    }

    fn channel(&self) -> Channel {
        match (self.settings.tls, self.settings.clear_passwords) {
            (Tls::Active, _) => Channel::Encrypted,
            (_, ClearPasswords::Allowed) => Channel::Loopback,
            (_, ClearPasswords::Refused) => Channel::Clear,
        }
    }

    /// RFC 2449 5. What is not possible now is not named.
    fn capabilities(&self, out: &mut Vec<u8>) -> Option<Action> {
        out.extend_from_slice(b"+OK capability list follows\r\nTOP\r\nUIDL\r\n");
        if self.may_send_password() {
            out.extend_from_slice(b"USER\r\n");
        }
        let names = self.settings.mechanisms.names(self.channel());
        if !names.is_empty() {
            replies::line(out, &format!("SASL {names}"));
        }
        if self.settings.tls == Tls::Offered && self.phase != Phase::Transaction {
            out.extend_from_slice(b"STLS\r\n");
        }
        out.extend_from_slice(
            b"PIPELINING\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nEXPIRE NEVER\r\nUTF8 USER\r\nIMPLEMENTATION Postino\r\n.\r\n",
        );
        None
    }

    /// AUTH alone, as old clients send it (and RFC 1734's successors answer it).
    fn mechanisms(&self, out: &mut Vec<u8>) -> Option<Action> {
        out.extend_from_slice(b"+OK\r\n");
        for mechanism in self.settings.mechanisms.on(self.channel()) {
            replies::line(out, mechanism.name());
        }
        out.extend_from_slice(b".\r\n");
        None
    }

    fn bye(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        self.phase = Phase::Ended;
        replies::line(out, "+OK bye");
        Some(Action::Close(Reason::Quit))
    }

    /// A browser that was lured here: hear nothing more of it.
    fn other_protocol(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        self.phase = Phase::Ended;
        replies::line(out, "-ERR this is POP3");
        Some(Action::Close(Reason::Errors))
    }

    fn needs_tls(&mut self, out: &mut Vec<u8>) -> Option<Action> {
        self.bad(out, "-ERR [AUTH] passwords are taken under TLS only")
    }

    fn bad(&mut self, out: &mut Vec<u8>, reply: &str) -> Option<Action> {
        self.error();
        replies::line(out, reply);
        None
    }

    fn error(&mut self) {
        self.errors = self.errors.saturating_add(1);
    }
}

/// A line as it came.
enum Input {
    Line(Vec<u8>),
    TooLong,
    Nul,
    /// Another reader might see the end of a line there.
    BareCr,
}

#[cfg(test)]
mod tests;
