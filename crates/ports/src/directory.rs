//! Who lives here: domains, accounts, aliases, passwords. "Not there" and "cannot tell" are different results; the second is always temporary.

use crate::BoxFuture;
use postino_types::Address;
pub use postino_types::secret::{ScramHash, Secret};
use std::net::IpAddr;
use std::path::PathBuf;

/// The directory could not answer. Always temporary: 451, -ERR [SYS/TEMP], never "no such user".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("directory: {what}")]
pub struct LookupError {
    /// What failed, for the log (may name files).
    pub what: String,
}

/// A virtual account's mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// `user@domain`, lower case: the login name and the Delivered-To.
    pub address: String,
    /// The account's directory (holds `Maildir/`, `lastauth`, `.qmail`).
    pub home: PathBuf,
    /// The Maildir.
    pub maildir: PathBuf,
    /// Owner of the files.
    pub uid: u32,
    /// Group of the files.
    pub gid: u32,
    /// vpopmail quota text (`NOQUOTA`, `5000000S,1000C`).
    pub quota: String,
    /// vpopmail flag bits (QMAIL names: 0x02 no POP, 0x08 no IMAP, 0x10 bounce mail, 0x20 no relay, 0x800 no SMTP AUTH …).
    pub flags: u32,
}

/// A delivery governed by a dot-qmail file, done by the spawner as that user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DotQmail {
    /// Account name.
    pub user: String,
    /// Its uid (informative: the spawner looks it up itself).
    pub uid: u32,
    /// Its gid (same).
    pub gid: u32,
    /// Home directory.
    pub home: PathBuf,
    /// `-` or empty.
    pub dash: Vec<u8>,
    /// Extension, case kept.
    pub ext: Vec<u8>,
}

/// What a local (routed) address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// A virtual mailbox, delivered in process.
    Mailbox(Mailbox),
    /// A dot-qmail delivery (system user, alias, or a domain's own `.qmail-NAME`), done through the spawner.
    DotQmail(DotQmail),
    /// Forward to these (a domain's catch-all address, or a simple forward file of a virtual domain).
    Forward {
        /// Raw addresses, not routed yet.
        to: Vec<Address>,
        /// Delivered-To of this step.
        delivered_to: Address,
        /// The uid that forwards.
        uid: u32,
    },
    /// A Maildir that is no account (catch-all directory).
    Directory {
        /// The Maildir.
        maildir: PathBuf,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Delivered-To.
        delivered_to: Address,
    },
    /// Accepted and thrown away (`vdelivermail '' delete`, or an empty local part).
    Discard,
    /// No such mailbox: 550 5.1.1 at RCPT; the text is for a bounce (`Sorry, no mailbox here by that name. (#5.1.1)`).
    NoMailbox {
        /// Text for people.
        text: String,
    },
    /// The account exists but takes no mail (vpopmail's bounce flag).
    Locked {
        /// Text for people.
        text: String,
    },
}

/// The protocol that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// SMTP AUTH.
    Smtp,
    /// POP3.
    Pop3,
    /// IMAP.
    Imap,
}

/// A login attempt.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Login name as sent.
    pub login: Vec<u8>,
    /// Proof.
    pub secret: Secret,
    /// Which protocol.
    pub service: Service,
    /// Client address.
    pub peer: IpAddr,
}

/// The answer to a login attempt. Unknown user and wrong password look alike and take equal time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Welcome.
    Granted(Mailbox),
    /// Wrong name or password, or the service is closed to this account.
    Denied,
}

/// What a SCRAM exchange needs of an account before the client's proof comes (RFC 5802 5.1). Of a name that nobody has it looks the same.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramParameters {
    /// The salt.
    pub salt: Vec<u8>,
    /// Iterations of the password's derivation.
    pub iterations: u32,
    /// Proves to the client that we know its password. It opens no account.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for ScramParameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScramParameters({} iterations, ..)", self.iterations)
    }
}

/// What is known at once about the room in a mailbox.
pub trait MailboxRoom: Send + Sync {
    /// True when it is known that a message of so many bytes (0: not said) will not be taken. Reads one small file at most.
    fn is_full(&self, mailbox: &Mailbox, bytes: u64) -> bool;
}

/// The directory.
pub trait Directory: Send + Sync {
    /// What is this routed local address? Used at RCPT and at delivery.
    fn resolve<'a>(&'a self, routed: &'a Address) -> BoxFuture<'a, Result<Resolution, LookupError>>;
    /// Checks a login. Runs the password hash off the runtime's workers.
    fn authenticate(&self, credentials: Credentials) -> BoxFuture<'_, Result<Login, LookupError>>;
    /// Salt and iterations for a login; always some, so that nobody learns which names exist. The proof comes with [`Self::authenticate`].
    fn scram(&self, login: Vec<u8>, hash: ScramHash) -> BoxFuture<'_, Result<ScramParameters, LookupError>> {
        let _ = (login, hash);
        Box::pin(async { Err(LookupError { what: "no SCRAM here".into() }) })
    }
}
