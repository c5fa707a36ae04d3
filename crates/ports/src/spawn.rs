//! Deliveries that run as another user. The caller can name a local part, never a uid, a home or a command: the spawner looks the user up itself.

use crate::BoxFuture;
use crate::body::Body;
use bytes::Bytes;

/// One delivery for one local recipient.
#[derive(Debug, Clone)]
pub struct LocalDelivery {
    /// Local part of the routed address (the spawner finds user, dash and extension from it).
    pub local: Vec<u8>,
    /// Host of the routed address.
    pub host: Vec<u8>,
    /// Envelope sender (VERP expanded), internal bytes.
    pub sender: Vec<u8>,
    /// Default delivery instructions (qmail-start's argument).
    pub default_delivery: Vec<u8>,
    /// A Maildir file's name without its host, the same for every attempt (M-ONCE); [`Once::None`]: the child makes one up.
    pub once: Once,
    /// Lines before the body.
    pub prepend: Bytes,
    /// The body.
    pub body: Body,
}

/// What a delivery to a Maildir calls its file, so that a repeated attempt makes no second one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Once {
    /// A name of its own for each attempt.
    #[default]
    None,
    /// This one; there was no attempt before.
    First(String),
    /// This one; an earlier attempt may have made it.
    Repeated(String),
}

impl Once {
    /// One word for the spawner and its child: `f` or `r`, then the name; empty for none.
    #[must_use]
    pub fn to_word(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::First(name) => format!("f{name}"),
            Self::Repeated(name) => format!("r{name}"),
        }
    }

    /// The inverse; what is none of its words is [`Once::None`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        match word.split_at_checked(1) {
            Some(("f", name)) => Self::First(name.to_owned()),
            Some(("r", name)) => Self::Repeated(name.to_owned()),
            _ => Self::None,
        }
    }
}

/// What the child said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildReport {
    /// Exit code of the child; 111 for a crash or a time-out.
    pub exit: i32,
    /// Its output, capped at 10 kB, NULs cut.
    pub text: Vec<u8>,
    /// Forwards that it asks for: sender, raw addresses, DTLINE.
    pub forwards: Vec<ChildForward>,
    /// The uid it ran as.
    pub uid: u32,
}

/// A forward asked for by a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildForward {
    /// New sender, internal bytes.
    pub sender: Vec<u8>,
    /// Raw addresses.
    pub to: Vec<Vec<u8>>,
    /// `Delivered-To: …\n`.
    pub delivered_to: Vec<u8>,
}

/// The link to the spawner.
pub trait Spawn: Send + Sync {
    /// Runs one delivery; total: trouble with the spawner is exit 111 with a text.
    fn run_local(&self, delivery: LocalDelivery) -> BoxFuture<'_, ChildReport>;
}
