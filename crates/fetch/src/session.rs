//! What POP3 and IMAP have in common: the events of a session and the reasons why it ends. A session is fed bytes and gives bytes and events; it knows
//! no socket, clock or file. Driven by `run`.

use crate::sasl::Credentials;
use postino_control::fetch::{FetchAuth, FetchTls};

/// Most messages of one mailbox that are looked at; the rest waits until these are gone.
pub(crate) const MESSAGES_MAX: usize = 100_000;
/// Longest unique id, bytes (RFC 1939 7 says 70; some servers know no measure).
pub(crate) const UID_BYTES_MAX: usize = 128;

/// How to open a session.
#[derive(Debug, Clone)]
pub struct Options {
    /// TLS.
    pub tls: FetchTls,
    /// Mechanism.
    pub auth: FetchAuth,
    /// Who.
    pub credentials: Credentials,
}

/// A message on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Message number (POP3) or UID (IMAP).
    pub number: u32,
    /// What names it for ever: UIDL, or `UIDVALIDITY.UID`.
    pub uid: Vec<u8>,
    /// Its size as the server says, bytes.
    pub size: Option<u64>,
    /// False when another message has the same unique id: then neither is deleted.
    pub deletable: bool,
}

/// What the server has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Messages in the server's order; each `uid` once.
    pub items: Vec<Item>,
    /// Messages left out because their unique id was no good or not unique.
    pub unusable: usize,
    /// There are more than are looked at, or some are left out: a message that is not listed may still be there.
    pub partial: bool,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Do the handshake, then call `tls_established`.
    StartTls,
    /// Logged in: list.
    Ready,
    /// The answer to `list`.
    Listed(Listing),
    /// A part of the message asked for, lines ended by LF.
    Body(Vec<u8>),
    /// The message is whole.
    Whole,
    /// The message cannot be had; the server's words, printable.
    Refused(String),
    /// The messages are deleted, as far as the protocol tells before the end, but for these numbers, which the server refused to delete.
    Deleted(Vec<u32>),
    /// The server took leave; with POP3 the deletions count now.
    Ended,
}

/// Why a session cannot go on. Always temporary: the next run tries again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line beyond all bounds.
    #[error("the server sent a line that is too long")]
    LongLine,
    /// An answer that makes no sense.
    #[error("the server sent what is not {0}")]
    Nonsense(&'static str),
    /// Bytes before the handshake that were not asked for (they could be an attacker's).
    #[error("the server sent something between STARTTLS and the handshake")]
    EarlyBytes,
    /// TLS was wanted.
    #[error("the server offers no {0}; with tls = \"none\" the password would go in clear")]
    NoTls(&'static str),
    /// No mechanism in common.
    #[error("no way to log in that both sides allow; the server offers: {0}")]
    NoMechanism(String),
    /// Wrong password, or something of the kind.
    #[error("login refused: {0}")]
    Login(String),
    /// A command was refused that must work.
    #[error("{0} refused: {1}")]
    Command(&'static str, String),
    /// The server wants to end.
    #[error("the server ended the session: {0}")]
    Bye(String),
}

/// The server's words for people: printable and short.
pub(crate) fn words(bytes: &[u8]) -> String {
    let text = postino_types::printable::printable(bytes);
    postino_types::printable::cut(text.trim(), 300).to_owned()
}

/// A session of either protocol.
pub trait Session: Send + Sync {
    /// Takes what was read.
    fn receive(&mut self, bytes: &[u8]);
    /// The next thing that happened; `None`: send the output, then read on.
    fn next_event(&mut self) -> Result<Option<Event>, Broken>;
    /// What is to be sent; empties it.
    fn output(&mut self) -> Vec<u8>;
    /// The handshake is done.
    fn tls_established(&mut self);
    /// Opens a mailbox (POP3 has one) and lists it.
    fn list(&mut self, folder: &str);
    /// Asks for a message of the last listing.
    fn fetch(&mut self, item: &Item);
    /// Deletes messages of the last listing.
    fn delete(&mut self, items: &[Item]);
    /// Takes leave.
    fn end(&mut self);
}

/// Keeps the first of several items with one uid: which of them an earlier run meant, nobody can tell, so it is fetched once and none is deleted.
pub(crate) fn without_doubles(items: Vec<Item>, listing: &mut Listing) {
    let mut first = std::collections::HashMap::<Vec<u8>, usize>::with_capacity(items.len());
    let mut kept: Vec<Item> = Vec::with_capacity(items.len());
    for item in items {
        match first.get(&item.uid).and_then(|at| kept.get_mut(*at)) {
            Some(double) => {
                double.deletable = false;
                listing.unusable = listing.unusable.saturating_add(1);
            }
            None => {
                first.insert(item.uid.clone(), kept.len());
                kept.push(item);
            }
        }
    }
    listing.items = kept;
}
