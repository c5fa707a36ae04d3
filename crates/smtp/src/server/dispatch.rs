//! What each command does in the session: order of commands (RFC 5321 4.1.4), limits, and the action for the shell. Called by the
//! session's loop with one line; it writes replies and changes state, nothing else.

use super::content::Framing;
use super::session::{Pipelined, Session, State, Wait};
use super::{Action, CloseReason, Dialect, Door, Tls, replies};
use crate::command::{self, Command, CommandError, MailCommand, RcptCommand};
use crate::reply::Reply;
use postino_sasl::{Channel, End, Exchange, Mechanism, Plus, Step};
use postino_types::printable::printable;

impl Session {
    /// One command line, without its line end.
    pub(super) fn command(&mut self, line: &[u8], pipelined: Pipelined) -> Option<Action> {
        self.commands += 1;
        if self.commands > self.settings.limits.commands_max {
            self.close(&replies::TOO_MANY_COMMANDS, CloseReason::Limit);
            return None;
        }
        match command::parse(line) {
            Ok(Command::Helo(name)) => self.hello(Dialect::Smtp, name),
            Ok(Command::Ehlo(name)) => self.hello(Dialect::Esmtp, name),
            Ok(Command::Mail(mail)) => self.mail(mail),
            Ok(Command::Rcpt(rcpt)) => self.rcpt(rcpt),
            Ok(Command::Data) => self.data(pipelined),
            Ok(Command::Bdat { bytes, last }) => self.bdat(bytes, last),
            Ok(Command::Rset) => {
                self.say(&replies::FLUSHED);
                self.forget()
            }
            Ok(Command::Noop) => self.just(&replies::OK),
            Ok(Command::Vrfy) => self.just(&replies::VRFY),
            Ok(Command::Expn) => self.refuse(&replies::command_error(CommandError::NotImplemented)),
            Ok(Command::Help) => self.just(&replies::HELP),
            Ok(Command::Quit) => {
                let bye = Reply::new(221, (2, 0, 0), "").with_text(&self.settings.greeting);
                self.close(&bye, CloseReason::Quit);
                None
            }
            Ok(Command::StartTls) => self.start_tls(),
            Ok(Command::Atrn(domains)) => self.atrn(domains),
            Ok(Command::Etrn(node)) => self.etrn(node),
            Ok(Command::Auth { mechanism, initial }) => self.auth(&mechanism, initial.as_deref()),
            Err(error) => self.bad_command(error),
        }
    }

    fn just(&mut self, reply: &Reply) -> Option<Action> {
        self.say(reply);
        None
    }

    fn refuse(&mut self, reply: &Reply) -> Option<Action> {
        self.fail(reply);
        None
    }

    /// Ends the transaction, if there is one.
    fn forget(&mut self) -> Option<Action> {
        self.transaction.take().map(|_| Action::Reset)
    }

    fn bad_command(&mut self, error: CommandError) -> Option<Action> {
        let reply = replies::command_error(error);
        match error {
            CommandError::Http | CommandError::BdatSize => self.close(&reply, CloseReason::Errors),
            CommandError::BdatSyntax { bytes } => self.state = State::Drain { left: bytes, reply },
            _ => self.fail(&reply),
        }
        None
    }

    fn hello(&mut self, dialect: Dialect, name: Vec<u8>) -> Option<Action> {
        self.hello = Some((dialect, name));
        let text = match dialect {
            Dialect::Smtp => self.settings.greeting.clone(),
            Dialect::Esmtp => self.extensions(),
        };
        self.say(&Reply::plain(250, "").with_text(&text));
        self.forget()
    }

    fn extensions(&self) -> String {
        let mut text = format!(
            "{}\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8\nCHUNKING\nENHANCEDSTATUSCODES\nDSN\nHELP",
            self.settings.greeting, self.settings.limits.message_bytes_max
        );
        if self.settings.door == Door::Odmr {
            text.push_str("\nATRN");
        }
        if self.settings.etrn {
            text.push_str("\nETRN");
        }
        match self.settings.tls {
            Tls::Offered => text.push_str("\nSTARTTLS"),
            Tls::Active => {
                let names = self.settings.mechanisms.names(Channel::Encrypted);
                if !names.is_empty() {
                    text.push_str("\nAUTH ");
                    text.push_str(&names);
                }
            }
            Tls::Unavailable => {}
        }
        text
    }

    fn mail(&mut self, mail: MailCommand) -> Option<Action> {
        if self.settings.door == Door::Odmr {
            return self.refuse(&replies::command_error(CommandError::NotImplemented));
        }
        if self.hello.is_none() {
            return self.refuse(&replies::HELO_FIRST);
        }
        if let Some(transaction) = &self.transaction {
            let reply = if transaction.content.is_some() { &replies::IN_BDAT } else { &replies::MAIL_NESTED };
            return self.refuse(reply);
        }
        if self.settings.door == Door::Submission && self.login.is_none() {
            let reply = if self.settings.tls == Tls::Active { &replies::AUTH_REQUIRED } else { &replies::TLS_REQUIRED };
            return self.refuse(reply);
        }
        if mail.params.size.is_some_and(|size| size > self.settings.limits.message_bytes_max) {
            return self.just(&replies::TOO_BIG);
        }
        self.state = State::Waiting(Wait::Mail { declared: mail.params.size, utf8: mail.params.utf8 });
        Some(Action::Mail(Box::new(mail)))
    }

    fn rcpt(&mut self, rcpt: RcptCommand) -> Option<Action> {
        let Some(transaction) = &self.transaction else { return self.refuse(&replies::MAIL_FIRST) };
        if transaction.content.is_some() {
            return self.refuse(&replies::IN_BDAT);
        }
        if rcpt.address.is_non_ascii() && !transaction.utf8 {
            return self.refuse(&replies::RECIPIENT_NEEDS_UTF8);
        }
        if transaction.accepted >= self.settings.limits.recipients_max {
            return self.just(&replies::TOO_MANY_RECIPIENTS);
        }
        self.state = State::Waiting(Wait::Rcpt);
        Some(Action::Rcpt(Box::new(rcpt)))
    }

    fn data(&mut self, pipelined: Pipelined) -> Option<Action> {
        let refusal = match &self.transaction {
            None => &replies::MAIL_FIRST,
            Some(t) if t.content.is_some() => &replies::IN_BDAT,
            Some(t) if t.accepted == 0 => &replies::NO_RECIPIENTS,
            Some(t) => {
                let declared = t.declared;
                self.state = State::Waiting(Wait::Data { pipelined });
                return Some(Action::Begin { declared });
            }
        };
        self.refuse_data(refusal, pipelined);
        None
    }

    fn bdat(&mut self, bytes: u64, last_chunk: bool) -> Option<Action> {
        let refusal = match &mut self.transaction {
            None => replies::MAIL_FIRST,
            Some(t) if t.accepted == 0 => replies::NO_RECIPIENTS,
            Some(t) => {
                let declared = t.declared;
                let Some(content) = &mut t.content else {
                    self.state = State::Waiting(Wait::Bdat { bytes, last: last_chunk });
                    return Some(Action::Begin { declared });
                };
                if let Framing::Chunks { left, chunk, last, .. } = &mut content.framing {
                    (*left, *chunk, *last) = (bytes, bytes, last_chunk);
                }
                self.body_starts();
                return None;
            }
        };
        // RFC 3030 2: the chunk follows whatever is said about it.
        self.state = State::Drain { left: bytes, reply: refusal };
        None
    }

    /// RFC 3207 4.2: after the handshake the session is new; nothing that was said in the clear counts.
    fn start_tls(&mut self) -> Option<Action> {
        match self.settings.tls {
            Tls::Active => self.refuse(&replies::TLS_ALREADY),
            Tls::Unavailable => self.refuse(&replies::TLS_NONE),
            Tls::Offered => {
                self.say(&replies::TLS_READY);
                self.hello = None;
                self.login = None;
                self.transaction = None;
                self.state = State::Waiting(Wait::Tls);
                Some(Action::StartTls)
            }
        }
    }

    fn atrn(&mut self, domains: Vec<u8>) -> Option<Action> {
        if self.settings.door != Door::Odmr {
            return self.refuse(&replies::command_error(CommandError::NotImplemented));
        }
        if self.hello.is_none() {
            return self.refuse(&replies::HELO_FIRST);
        }
        if self.login.is_none() {
            let reply = if self.settings.tls == Tls::Active { &replies::AUTH_REQUIRED } else { &replies::TLS_REQUIRED };
            return self.refuse(reply);
        }
        self.state = State::Waiting(Wait::Atrn);
        Some(Action::Atrn(domains))
    }

    fn etrn(&mut self, node: Vec<u8>) -> Option<Action> {
        if !self.settings.etrn {
            return self.refuse(&replies::command_error(CommandError::NotImplemented));
        }
        if self.hello.is_none() {
            return self.refuse(&replies::HELO_FIRST);
        }
        if self.transaction.is_some() {
            return self.refuse(&replies::ETRN_IN_TRANSACTION);
        }
        self.state = State::Waiting(Wait::Etrn { node: printable(&node) });
        Some(Action::Etrn(node))
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>) -> Option<Action> {
        if self.hello.is_none() {
            return self.refuse(&replies::HELO_FIRST);
        }
        if self.login.is_some() {
            return self.refuse(&replies::AUTH_ALREADY);
        }
        if self.transaction.is_some() {
            return self.refuse(&replies::AUTH_IN_TRANSACTION);
        }
        if self.settings.tls != Tls::Active {
            return self.refuse(&replies::AUTH_NEEDS_TLS);
        }
        match Mechanism::find(mechanism).filter(|&found| self.settings.mechanisms.contains(found)) {
            Some(found) => self.auth_step(Exchange::new(found, self.plus()).first(initial), None),
            None => self.refuse(&replies::AUTH_MECHANISM),
        }
    }

    /// Are the bound forms among the mechanisms?
    fn plus(&self) -> Plus {
        let mut all = self.settings.mechanisms.on(Channel::Encrypted);
        if all.any(|m| matches!(m, Mechanism::ScramPlus(_))) { Plus::Offered } else { Plus::NotOffered }
    }

    /// Goes on with an exchange; `login` is the one that was granted in it.
    pub(super) fn auth_step(&mut self, step: Step, login: Option<String>) -> Option<Action> {
        match step {
            Step::Challenge(challenge, exchange) => {
                self.state = State::Auth(Box::new((exchange, login)));
                return self.just(&Reply::plain(334, "").with_text(&challenge));
            }
            Step::Ask(question, exchange) => {
                self.state = State::Waiting(Wait::Auth(Box::new(exchange)));
                return Some(Action::Ask(Box::new(question)));
            }
            Step::Attempt(attempt, exchange) => {
                self.state = State::Waiting(Wait::Auth(Box::new(exchange)));
                return Some(Action::Authenticate(Box::new(attempt)));
            }
            Step::End(End::Granted) => match login {
                Some(login) => {
                    self.login = Some(login);
                    self.trusted = true;
                    self.say(&replies::AUTH_OK);
                }
                None => self.fail(&replies::AUTH_DENIED),
            },
            Step::End(End::Denied | End::OtherIdentity) => self.fail(&replies::AUTH_DENIED),
            Step::End(End::Cancelled) => self.fail(&replies::AUTH_CANCELLED),
            Step::End(End::Malformed) => self.fail(&replies::AUTH_SYNTAX),
        }
        None
    }

    /// The HELO name made safe for logs.
    #[must_use]
    pub fn hello_printable(&self) -> String {
        printable(self.hello_name())
    }
}
