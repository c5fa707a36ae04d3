//! The words between a client session and its shell: what it is to do, what it tells, how far a transaction came. Made and read by
//! `session` and `remote`; holds no logic beyond reading itself.

use crate::client::reply::{Reply, ReplyError};

/// Use of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsWish {
    /// Do not ask.
    Never,
    /// STARTTLS where offered (RFC 3207), else in clear.
    Opportunistic,
    /// STARTTLS, or no mail.
    Required,
    /// The connection is under TLS from its first byte (RFC 8314).
    Active,
}

/// A login. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Login name.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({}, ..)", self.user)
    }
}

/// Whether to log in (RFC 4954). A login goes over TLS only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// No.
    No,
    /// Yes, with these.
    With(Credentials),
}

/// What a session is to do before its first transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Our name for EHLO; bytes that no host name has are left out.
    pub helo: String,
    /// TLS.
    pub tls: TlsWish,
    /// AUTH.
    pub login: Login,
}

/// The server broke the protocol; the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Not a reply.
    #[error(transparent)]
    Reply(#[from] ReplyError),
    /// Bytes that answer no command: what follows could not be told from a true reply.
    #[error("reply to no command")]
    Unexpected,
    /// Bytes behind the 220 to STARTTLS: somebody may have slipped them in before TLS (RFC 3207 4.2, CVE-2021-38371).
    #[error("bytes after the reply to STARTTLS")]
    StartTlsInjection,
    /// RSET was refused.
    #[error("RSET refused")]
    Reset,
}

/// Where the session stands; tells the shell which time-out applies (RFC 5321 4.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for 220.
    Greeting,
    /// Waiting for the reply to EHLO, HELO, AUTH.
    Hello,
    /// Waiting for the reply to STARTTLS, or for the shell's handshake.
    StartTls,
    /// Nothing to do.
    Ready,
    /// Waiting for the reply to RSET or MAIL.
    Mail,
    /// Waiting for the reply to RCPT.
    Recipient,
    /// Waiting for the reply to DATA.
    DataStart,
    /// The shell sends the body.
    Body,
    /// Waiting for the reply to the final dot.
    DataEnd,
}

/// Which step the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Not 220.
    Greeting,
    /// EHLO and HELO.
    Hello,
    /// TLS was required and is not offered.
    TlsNotOffered,
    /// TLS was required; STARTTLS was refused.
    StartTls,
    /// No login mechanism that we speak.
    AuthNotOffered,
    /// The login.
    Auth,
}

/// A refusal before the first transaction; the session is over. Always temporary, as qmail-remote sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where.
    pub stage: Stage,
    /// The server's words (to EHLO, where something was not offered).
    pub reply: Reply,
}

/// What the shell is to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Do the TLS handshake, then call [`super::Session::tls_established`].
    StartTls,
    /// A transaction may [`super::Session::begin`].
    Ready,
    /// The session is over.
    Refused(Refusal),
    /// Send the body and its final dot, then call [`super::Session::body_sent`].
    SendBody,
    /// The transaction ended; fetch it with [`super::Session::take_progress`].
    Done,
}

/// How far a transaction came: what is `None` was not answered (or not asked).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Reply to MAIL.
    pub mail: Option<Reply>,
    /// Reply to each RCPT, in order.
    pub recipients: Vec<Option<Reply>>,
    /// Reply to DATA.
    pub data: Option<Reply>,
    /// The final dot may have reached the server.
    pub dot_sent: bool,
    /// Reply to the final dot.
    pub end: Option<Reply>,
}

impl Progress {
    /// True when MAIL was accepted.
    #[must_use]
    pub fn mail_accepted(&self) -> bool {
        self.mail.as_ref().is_some_and(Reply::is_positive)
    }

    /// True when MAIL and at least one RCPT were accepted.
    #[must_use]
    pub fn any_recipient_accepted(&self) -> bool {
        self.mail_accepted() && self.recipients.iter().flatten().any(Reply::is_positive)
    }
}
