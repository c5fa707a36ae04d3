//! The session's constant replies, each once. Texts are lower case as qmail's; codes by RFC 5321 4.2.3, RFC 3463 and RFC 4954 6.

use crate::command::CommandError;
use crate::path::PathError;
use crate::reply::Reply;

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:expr, $text:literal;)*) => {
        $($(#[$doc])* pub const $name: Reply = Reply::new($code, $status, $text);)*
    };
}

replies! {
    /// MAIL.
    SENDER_OK = 250, (2, 1, 0), "ok";
    /// RCPT.
    RECIPIENT_OK = 250, (2, 1, 5), "ok";
    /// NOOP and the like.
    OK = 250, (2, 0, 0), "ok";
    /// RSET.
    FLUSHED = 250, (2, 0, 0), "flushed";
    /// VRFY: neither yes nor no (RFC 5321 7.3).
    VRFY = 252, (2, 1, 5), "send some mail, i'll try my best";
    /// HELP.
    HELP = 214, (2, 0, 0), "this is postino; see RFC 5321";
    /// STARTTLS.
    TLS_READY = 220, (2, 0, 0), "ready to start TLS";
    /// STARTTLS inside TLS.
    TLS_ALREADY = 503, (5, 5, 1), "TLS is active already";
    /// STARTTLS without certificate.
    TLS_NONE = 502, (5, 5, 1), "TLS is not available";
    /// AUTH went well.
    AUTH_OK = 235, (2, 7, 0), "welcome";
    /// Wrong name or password.
    AUTH_DENIED = 535, (5, 7, 8), "authentication failed";
    /// The directory is away.
    AUTH_UNAVAILABLE = 454, (4, 7, 0), "temporary authentication failure";
    /// AUTH in the clear.
    AUTH_NEEDS_TLS = 538, (5, 7, 11), "encryption required: use STARTTLS first";
    /// AUTH twice (RFC 4954 4).
    AUTH_ALREADY = 503, (5, 5, 1), "already authenticated";
    /// AUTH inside a transaction.
    AUTH_IN_TRANSACTION = 503, (5, 5, 1), "no AUTH inside a mail transaction";
    /// ATRN: the last word as a server (RFC 2645 5.2.1).
    TURNING = 250, (2, 0, 0), "ok, now reversing the connection";
    /// ATRN without mail.
    NO_MAIL = 453, (4, 2, 0), "you have no mail";
    /// ATRN for what is not the login's.
    ATRN_REFUSED = 450, (4, 7, 1), "ATRN request refused";
    /// ATRN while the queue cannot tell.
    ATRN_UNAVAILABLE = 451, (4, 3, 0), "unable to process ATRN request now";
    /// ETRN inside a transaction (RFC 1985 5).
    ETRN_IN_TRANSACTION = 503, (5, 5, 1), "no ETRN inside a mail transaction";
    /// A mechanism that is not offered.
    AUTH_MECHANISM = 504, (5, 5, 4), "authentication mechanism not offered";
    /// `*`.
    AUTH_CANCELLED = 501, (5, 7, 0), "authentication cancelled";
    /// Bad base64 or a bad message in it.
    AUTH_SYNTAX = 501, (5, 5, 2), "malformed authentication response";
    /// RFC 4954 4.
    AUTH_LINE_LONG = 500, (5, 5, 6), "authentication exchange line is too long";
    /// Submission without login.
    AUTH_REQUIRED = 530, (5, 7, 0), "authentication required";
    /// Submission before TLS.
    TLS_REQUIRED = 530, (5, 7, 0), "must issue a STARTTLS command first";
    /// MAIL before HELO.
    HELO_FIRST = 503, (5, 5, 1), "HELO or EHLO first";
    /// RCPT or DATA before MAIL.
    MAIL_FIRST = 503, (5, 5, 1), "MAIL first";
    /// A second MAIL.
    MAIL_NESTED = 503, (5, 5, 1), "sender already specified";
    /// DATA with no recipient accepted (RFC 5321 3.3).
    NO_RECIPIENTS = 554, (5, 5, 1), "no valid recipients";
    /// MAIL, RCPT or DATA after BDAT (RFC 3030 2).
    IN_BDAT = 503, (5, 5, 1), "BDAT in progress: send BDAT or RSET";
    /// RFC 5321 4.5.3.1.10.
    TOO_MANY_RECIPIENTS = 452, (4, 5, 3), "too many recipients";
    /// Non-ASCII recipient without SMTPUTF8 at MAIL (RFC 6531 3.5).
    RECIPIENT_NEEDS_UTF8 = 553, (5, 6, 7), "address needs SMTPUTF8";
    /// RFC 1870 6.
    TOO_BIG = 552, (5, 3, 4), "message exceeds my size limit";
    /// Row after row of Received.
    LOOP = 554, (5, 4, 6), "too many hops, this message is looping";
    /// A bare LF in the content.
    BARE_LF = 550, (5, 6, 0), "bare LF in message: lines must end with CRLF (RFC 5321 2.3.8)";
    /// A bare CR in the content.
    BARE_CR = 550, (5, 6, 0), "bare CR in message: lines must end with CRLF (RFC 5321 2.3.8)";
    /// Too long a command line.
    LINE_LONG = 500, (5, 5, 2), "line too long";
    /// Idle too long (RFC 5321 4.5.3.2).
    TIMEOUT = 421, (4, 4, 2), "timeout";
    /// Too many errors.
    TOO_MANY_ERRORS = 421, (4, 7, 0), "too many errors";
    /// Too many commands.
    TOO_MANY_COMMANDS = 421, (4, 7, 0), "too many commands in one session";
    /// Too many unknown recipients.
    TOO_MANY_UNKNOWN = 421, (4, 7, 0), "too many unknown recipients";
    /// We stop (RFC 5321 3.8).
    SHUTDOWN = 421, (4, 3, 2), "service shutting down";
    /// Idle while others wait for a place.
    MAKE_ROOM = 421, (4, 3, 2), "too many connections, come back later";
    /// Bytes sent after a DATA that was refused.
    NOT_PIPELINED = 421, (4, 5, 0), "content sent without waiting for 354";
    /// A browser.
    NO_WEB = 421, (4, 7, 0), "this is no web server";
    /// BDAT whose size cannot be read.
    BDAT_SIZE = 501, (5, 5, 4), "BDAT needs a size; closing, since chunk and commands cannot be told apart";
    /// Internal trouble, and every fault of our own.
    SYSTEM = 451, (4, 3, 0), "internal trouble, try again later";
}

/// The reply to a line that is no command.
#[must_use]
pub fn command_error(error: CommandError) -> Reply {
    match error {
        CommandError::Control => Reply::new(500, (5, 5, 2), "control byte in command"),
        CommandError::Unknown => Reply::new(500, (5, 5, 1), "unknown command"),
        CommandError::NotImplemented => Reply::new(502, (5, 5, 1), "unimplemented"),
        CommandError::Http => NO_WEB,
        CommandError::Argument => Reply::new(501, (5, 5, 4), "syntax error in argument"),
        CommandError::Sender(why) => path_error(why, 7),
        CommandError::Recipient(why) => path_error(why, 3),
        CommandError::NeedsUtf8 => RECIPIENT_NEEDS_UTF8,
        CommandError::UnknownParameter => Reply::new(555, (5, 5, 4), "parameter not recognized"),
        CommandError::BadParameter => Reply::new(501, (5, 5, 4), "bad parameter"),
        CommandError::DuplicateParameter => Reply::new(501, (5, 5, 4), "parameter given twice"),
        CommandError::BdatSize => BDAT_SIZE,
        CommandError::BdatSyntax { .. } => Reply::new(501, (5, 5, 4), "syntax error in BDAT"),
    }
}

/// RFC 3463 3.2: 5.1.7 for senders, 5.1.3 for recipients.
fn path_error(why: PathError, detail: u16) -> Reply {
    let text = match why {
        PathError::Syntax => "address syntax error",
        PathError::NoHost => "address has no host",
        PathError::Host => "host name syntax error",
        PathError::TooLong => "address too long",
        PathError::Utf8 => "address is not valid UTF-8",
    };
    Reply::new(501, (5, 1, detail), text)
}
