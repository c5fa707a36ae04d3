//! A mailbox as POP3 sees it: a list frozen at login, messages read by number, removals made at QUIT only.

use crate::BoxFuture;
use crate::body::Body;
use crate::directory::Mailbox;

/// One message of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropMessage {
    /// Bytes on the wire: every line end counted as CRLF (RFC 1939 11).
    pub octets: u64,
    /// UIDL: the file's name up to `:`, as qmail-pop3d gives it.
    pub uidl: String,
}

/// The mailbox could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MaildropError {
    /// There is no Maildir.
    #[error("no maildir at {0}")]
    Missing(String),
    /// Another trouble; temporary.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// One POP3 session's view.
pub trait Drop: Send + Sync {
    /// The frozen list, oldest first.
    fn messages(&self) -> &[DropMessage];
    /// Opens message `index` (from 0). An error when another session removed it.
    fn open(&self, index: usize) -> BoxFuture<'_, Result<Body, MaildropError>>;
    /// QUIT: removes `deleted` for good (directory synced) and marks the rest as no longer new. Returns how many could not be removed.
    fn finish(self: Box<Self>, deleted: Vec<usize>) -> BoxFuture<'static, Result<usize, MaildropError>>;
}

/// Opens maildrops.
pub trait Maildrops: Send + Sync {
    /// Scans the mailbox (leftovers in tmp older than 36 h are removed).
    fn open<'a>(&'a self, mailbox: &'a Mailbox) -> BoxFuture<'a, Result<Box<dyn Drop>, MaildropError>>;
}
