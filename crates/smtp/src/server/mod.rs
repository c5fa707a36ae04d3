//! The server side of SMTP, sans I/O: bytes in, [`Action`]s out, the shell's answers back in, replies collected in one buffer. `smtpd`
//! drives it; it never decides who may relay, who lives here or what is kept.

mod content;
mod dispatch;
pub mod replies;
mod session;

pub use session::Session;

pub use postino_sasl::{Answer as SaslAnswer, Attempt, Binding, Question, ScramFacts};

use crate::command::{MailCommand, RcptCommand};
use crate::reply::Reply;
use std::ops::Range;
use std::time::Duration;

/// What kind of door this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Port 25: strangers bring mail for us.
    Exchange,
    /// Ports 587 and 465: our own users bring mail (RFC 6409); MAIL needs a login.
    Submission,
    /// Port 366: customers take the mail that is held for them (RFC 2645); nobody brings any.
    Odmr,
}

/// How TLS stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// No certificate: STARTTLS is not offered.
    Unavailable,
    /// STARTTLS is offered.
    Offered,
    /// The connection is encrypted.
    Active,
}

/// Limits of one session, all fixed when it starts.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message after decoding, bytes.
    pub message_bytes_max: u64,
    /// Longest command line, bytes, with its line end.
    pub line_bytes_max: usize,
    /// Recipients of one message.
    pub recipients_max: usize,
    /// Commands of one session.
    pub commands_max: u32,
    /// Bad commands before 421.
    pub errors_max: u32,
    /// Unknown recipients before 421.
    pub unknown_recipients_max: u32,
    /// Hops before 554.
    pub hops_max: usize,
    /// Idle time before the first MAIL or login.
    pub idle_before_mail: Duration,
    /// Idle time afterwards (RFC 5321 4.5.3.2.7: five minutes at least).
    pub idle: Duration,
    /// Time of the whole session.
    pub session: Duration,
}

/// What a session is told when it starts.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Text after the code of 220, 250 and 221: the host's name first (RFC 5321 4.2).
    pub greeting: String,
    /// Which door.
    pub door: Door,
    /// TLS at the start.
    pub tls: Tls,
    /// Mechanisms of AUTH, offered under TLS.
    pub mechanisms: postino_sasl::Offered,
    /// ETRN is offered: somebody may ask for held mail (RFC 1985).
    pub etrn: bool,
    /// Limits.
    pub limits: Limits,
}

/// How HELO was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
}

/// What the shell is to do next. Those marked *answer* leave the session waiting for the named call; the others go on with `step`.
#[derive(Debug)]
pub enum Action {
    /// Write [`Session::output`], read more bytes, at the latest until [`Session::deadline`].
    Input,
    /// Write the output before going on: it has grown large.
    Flush,
    /// A sender. *Answer* with [`Session::mail_answer`].
    Mail(Box<MailCommand>),
    /// A recipient. *Answer* with [`Session::rcpt_answer`].
    Rcpt(Box<RcptCommand>),
    /// Content is about to come: open the queue's door. *Answer* with [`Session::begin_answer`].
    Begin {
        /// SIZE= of MAIL.
        declared: Option<u64>,
    },
    /// Content, decoded, lies in this range of the input handed to `step`. Trouble: [`Session::refuse_content`].
    Body(Range<usize>),
    /// The content will be refused with this reply when its end has come: drop what was kept of it.
    ContentRefused(Reply),
    /// The whole message is there: make it durable. *Answer* with [`Session::message_answer`].
    MessageEnd,
    /// The transaction is over without a message: forget sender, recipients and content.
    Reset,
    /// A mechanism must know something. *Answer* with [`Session::auth_facts`].
    Ask(Box<Question>),
    /// A login. *Answer* with [`Session::auth_answer`].
    Authenticate(Box<Attempt>),
    /// ETRN for this node. *Answer* with [`Session::etrn_answer`].
    Etrn(Vec<u8>),
    /// ATRN for these domains, parted by commas. *Answer* with [`Session::atrn_answer`].
    Atrn(Vec<u8>),
    /// Write the output and hand the connection over: the client is the server from now on. The session is over.
    Turn,
    /// Write the output, drop every byte read so far, do the TLS handshake. *Answer* with [`Session::tls_started`].
    StartTls,
    /// Write the output and close.
    Close(CloseReason),
}

/// One call of `step`.
#[derive(Debug)]
pub struct Step {
    /// Bytes of the input that are used up; hand the rest in again.
    pub consumed: usize,
    /// What to do.
    pub action: Action,
}

/// The shell's word about a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcptAnswer {
    /// Taken.
    Accepted,
    /// Refused for now or for good.
    Refused(Reply),
    /// Nobody by that name: counted, since a harvester asks for many.
    Unknown(Reply),
}

/// The shell's word about a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthAnswer {
    /// Welcome; the login as it is to be shown.
    Granted(String),
    /// Wrong name or password.
    Denied,
    /// Cannot tell now.
    Unavailable,
}

/// The shell's word about ETRN (RFC 1985 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtrnAnswer {
    /// So many messages are on their way.
    Started(u64),
    /// Asked a moment ago: still on it.
    UnderWay,
    /// Not for this client, or nothing that it could mean.
    NotAllowed,
    /// The queue cannot tell now.
    Unavailable,
}

/// The shell's word about ATRN (RFC 2645 5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtrnAnswer {
    /// There is mail: the connection is turned round.
    Granted,
    /// Nothing waits.
    NoMail,
    /// Not for this login.
    NotAllowed,
    /// The queue cannot tell now.
    Unavailable,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// QUIT.
    Quit,
    /// Nothing came in time.
    Timeout,
    /// Too many bad commands, or a client that is none.
    Errors,
    /// Too many commands or unknown recipients.
    Limit,
    /// The server stops.
    Shutdown,
}

impl CloseReason {
    /// One word for the log.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Timeout => "timeout",
            Self::Errors => "errors",
            Self::Limit => "limit",
            Self::Shutdown => "shutdown",
        }
    }
}

#[cfg(test)]
mod tests;
