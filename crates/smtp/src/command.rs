//! One SMTP command line to one [`Command`], by the strict grammar of RFC 5321 4.1. Called by the session with a line without its line
//! end, and by the fuzzer; it knows no state: whether a command may come now is the session's business.

use crate::params::{self, MailParams, RcptParams, decimal};
use crate::path::{self, PathError};
use postino_types::{Address, ReversePath};
use std::fmt;

/// Longest HELO name, bytes.
const HELO_BYTES_MAX: usize = 255;

/// MAIL FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailCommand {
    /// The sender.
    pub sender: ReversePath,
    /// Parameters.
    pub params: MailParams,
}

/// RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcptCommand {
    /// The recipient as given; only `postmaster` lacks a host.
    pub address: Address,
    /// Parameters.
    pub params: RcptParams,
}

/// A command line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// HELO, with the name as given (printable, not checked further).
    Helo(Vec<u8>),
    /// EHLO.
    Ehlo(Vec<u8>),
    /// MAIL.
    Mail(MailCommand),
    /// RCPT.
    Rcpt(RcptCommand),
    /// DATA.
    Data,
    /// BDAT (RFC 3030 2).
    Bdat {
        /// Bytes of this chunk; they follow the line at once.
        bytes: u64,
        /// `LAST`.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP, whatever it carried.
    Noop,
    /// VRFY; what it asked about is not kept.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP.
    Help,
    /// QUIT.
    Quit,
    /// STARTTLS.
    StartTls,
    /// ETRN, with the node as given: a domain, `@domain` or `#queue` (RFC 1985 5).
    Etrn(Vec<u8>),
    /// ATRN, with the list of domains as given, perhaps empty (RFC 2645 5.2.1).
    Atrn(Vec<u8>),
    /// AUTH.
    Auth {
        /// Mechanism, in capitals.
        mechanism: Vec<u8>,
        /// The initial response, still base64 (`=` stands for an empty one).
        initial: Option<Vec<u8>>,
    },
}

/// Why a line is no command. One variant a rule, each with its reply in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A control byte in the line (RFC 5321 4.1.2): CR, NUL, escape …
    #[error("control byte in command")]
    Control,
    /// A verb that nobody knows, or an empty line.
    #[error("unknown command")]
    Unknown,
    /// A verb that is known and not done here: TURN, SEND …
    #[error("command not implemented")]
    NotImplemented,
    /// A web browser, or somebody who drives one (ALPACA).
    #[error("this is no web server")]
    Http,
    /// An argument where none may stand, or none where one must.
    #[error("wrong argument")]
    Argument,
    /// MAIL's path.
    #[error("sender: {0}")]
    Sender(PathError),
    /// RCPT's path.
    #[error("recipient: {0}")]
    Recipient(PathError),
    /// A sender outside ASCII without SMTPUTF8 (RFC 6531 3.5).
    #[error("non-ASCII sender without SMTPUTF8")]
    NeedsUtf8,
    /// A parameter that is not offered (RFC 5321 4.1.1.11).
    #[error("unknown parameter")]
    UnknownParameter,
    /// A parameter with a bad value.
    #[error("bad parameter")]
    BadParameter,
    /// A parameter twice.
    #[error("parameter given twice")]
    DuplicateParameter,
    /// BDAT whose size cannot be read: where the next command begins is unknown.
    #[error("BDAT without a readable size")]
    BdatSize,
    /// BDAT with a size and a wrong rest: so many bytes follow and are dropped.
    #[error("BDAT syntax")]
    BdatSyntax {
        /// Bytes that follow.
        bytes: u64,
    },
}

/// Reads one line (without CRLF).
///
/// # Errors
/// A [`CommandError`], the client's fault in every case.
pub fn parse(line: &[u8]) -> Result<Command, CommandError> {
    // Blanks only: a CR before the CRLF is no part of a line end, and refused below (RFC 5321 2.3.8).
    let kept = line.iter().rposition(|&b| b != b' ' && b != b'\t').map_or(0, |last| last.saturating_add(1));
    let line = line.get(..kept).unwrap_or_default();
    let end = line.iter().position(|&b| b == b' ' || b == b'\t').unwrap_or(line.len());
    let (verb, rest) = line.split_at_checked(end).unwrap_or((line, b""));
    let verb = verb.get(..16).unwrap_or(verb).to_ascii_uppercase();
    if is_http(&verb) {
        return Err(CommandError::Http);
    }
    if line.iter().any(|&b| (b < 32 && b != b'\t') || b == 127) {
        return Err(CommandError::Control);
    }
    let argument = rest.trim_ascii();
    match verb.as_slice() {
        b"HELO" => helo(argument).map(Command::Helo),
        b"EHLO" => helo(argument).map(Command::Ehlo),
        b"MAIL" => mail(argument),
        b"RCPT" => rcpt(argument),
        b"DATA" => bare(argument, Command::Data),
        b"BDAT" => bdat(argument),
        b"RSET" => bare(argument, Command::Rset),
        b"NOOP" => Ok(Command::Noop),
        b"VRFY" => needed(argument, Command::Vrfy),
        b"EXPN" => needed(argument, Command::Expn),
        b"HELP" => Ok(Command::Help),
        b"QUIT" => bare(argument, Command::Quit),
        b"STARTTLS" => bare(argument, Command::StartTls),
        b"AUTH" => auth(argument),
        b"ETRN" => etrn(argument),
        b"ATRN" => atrn(argument),
        b"TURN" | b"SEND" | b"SOML" | b"SAML" | b"BURL" | b"XCLIENT" | b"XFORWARD" | b"LHLO" => Err(CommandError::NotImplemented),
        _ => Err(CommandError::Unknown),
    }
}

/// The canonical line, without CRLF; [`parse`] reads it back.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::Helo(name) => write!(f, "HELO {}", text(name)),
            Self::Ehlo(name) => write!(f, "EHLO {}", text(name)),
            Self::Mail(mail) => {
                write!(f, "MAIL FROM:<{}>{}", text(&mail.sender.to_quoted(mail.params.utf8)), mail.params)
            }
            Self::Rcpt(rcpt) => write!(f, "RCPT TO:<{}>{}", text(&rcpt.address.to_quoted(true)), rcpt.params),
            Self::Data => f.write_str("DATA"),
            Self::Bdat { bytes, last } => write!(f, "BDAT {bytes}{}", if *last { " LAST" } else { "" }),
            Self::Rset => f.write_str("RSET"),
            Self::Noop => f.write_str("NOOP"),
            Self::Vrfy => f.write_str("VRFY x"),
            Self::Expn => f.write_str("EXPN x"),
            Self::Help => f.write_str("HELP"),
            Self::Quit => f.write_str("QUIT"),
            Self::StartTls => f.write_str("STARTTLS"),
            Self::Atrn(domains) if domains.is_empty() => f.write_str("ATRN"),
            Self::Atrn(domains) => write!(f, "ATRN {}", text(domains)),
            Self::Etrn(node) => write!(f, "ETRN {}", text(node)),
            Self::Auth { mechanism, initial: None } => write!(f, "AUTH {}", text(mechanism)),
            Self::Auth { mechanism, initial: Some(initial) } => write!(f, "AUTH {} {}", text(mechanism), text(initial)),
        }
    }
}

/// Verbs of HTTP and its relatives (RFC 9110 9, WebDAV), and `Name:` header lines that follow them.
fn is_http(verb: &[u8]) -> bool {
    const VERBS: [&[u8]; 15] = [
        b"GET",
        b"POST",
        b"PUT",
        b"HEAD",
        b"OPTIONS",
        b"CONNECT",
        b"DELETE",
        b"TRACE",
        b"PATCH",
        b"PROPFIND",
        b"PRI",
        b"HOST:",
        b"USER-AGENT:",
        b"CONTENT-TYPE:",
        b"ACCEPT:",
    ];
    VERBS.contains(&verb)
}

fn bare(argument: &[u8], command: Command) -> Result<Command, CommandError> {
    if argument.is_empty() { Ok(command) } else { Err(CommandError::Argument) }
}

fn needed(argument: &[u8], command: Command) -> Result<Command, CommandError> {
    if argument.is_empty() { Err(CommandError::Argument) } else { Ok(command) }
}

/// RFC 5321 4.1.1.1 wants a domain or literal; real clients say their host's nick name, so any one printable word is taken.
fn helo(argument: &[u8]) -> Result<Vec<u8>, CommandError> {
    let printable = argument.iter().all(|&b| b > 32 && b != 127) && std::str::from_utf8(argument).is_ok();
    if argument.is_empty() || argument.len() > HELO_BYTES_MAX || !printable {
        return Err(CommandError::Argument);
    }
    Ok(argument.to_vec())
}

fn after_keyword<'a>(argument: &'a [u8], keyword: &[u8]) -> Result<&'a [u8], CommandError> {
    let (head, rest) = argument.split_at_checked(keyword.len()).ok_or(CommandError::Argument)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(CommandError::Argument);
    }
    // A blank after the colon is against RFC 5321 3.3 and common; it cannot be read in two ways.
    Ok(rest.trim_ascii_start())
}

fn mail(argument: &[u8]) -> Result<Command, CommandError> {
    let rest = after_keyword(argument, b"FROM:")?;
    let (sender, rest) = path::reverse_path(rest).map_err(CommandError::Sender)?;
    let params = params::mail(rest)?;
    if !params.utf8 && !sender.as_bytes().is_ascii() {
        return Err(CommandError::NeedsUtf8);
    }
    Ok(Command::Mail(MailCommand { sender, params }))
}

fn rcpt(argument: &[u8]) -> Result<Command, CommandError> {
    let rest = after_keyword(argument, b"TO:")?;
    let (address, rest) = path::forward_path(rest).map_err(CommandError::Recipient)?;
    let params = params::rcpt(rest)?;
    Ok(Command::Rcpt(RcptCommand { address, params }))
}

fn bdat(argument: &[u8]) -> Result<Command, CommandError> {
    let mut words = argument.split(|&b| b == b' ').filter(|w| !w.is_empty());
    let bytes = words.next().and_then(decimal).ok_or(CommandError::BdatSize)?;
    let last = match words.next() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case(b"LAST") => true,
        Some(_) => return Err(CommandError::BdatSyntax { bytes }),
    };
    if words.next().is_some() { Err(CommandError::BdatSyntax { bytes }) } else { Ok(Command::Bdat { bytes, last }) }
}

fn auth(argument: &[u8]) -> Result<Command, CommandError> {
    let mut words = argument.split(|&b| b == b' ').filter(|w| !w.is_empty());
    let mechanism = words.next().ok_or(CommandError::Argument)?;
    let initial = words.next().map(<[u8]>::to_vec);
    let good = mechanism.len() <= 20 && mechanism.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !good || words.next().is_some() {
        return Err(CommandError::Argument);
    }
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// RFC 1985 5.1: a domain, perhaps behind `@` (it and its subdomains) or `#` (a name that client and server agreed on).
fn etrn(argument: &[u8]) -> Result<Command, CommandError> {
    let name = argument.strip_prefix(b"@").or_else(|| argument.strip_prefix(b"#")).unwrap_or(argument);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'[' | b']' | b':');
    let good = !name.is_empty() && name.len() <= HELO_BYTES_MAX && name.iter().all(plain);
    if good { Ok(Command::Etrn(argument.to_vec())) } else { Err(CommandError::Argument) }
}

/// Domains parted by commas, or none.
fn atrn(argument: &[u8]) -> Result<Command, CommandError> {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let good =
        argument.split(|&b| b == b',').all(|domain| !domain.is_empty() && domain.len() <= HELO_BYTES_MAX && domain.iter().all(plain));
    if argument.is_empty() || good { Ok(Command::Atrn(argument.to_vec())) } else { Err(CommandError::Argument) }
}

#[cfg(test)]
mod tests;
