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
    /// Lines before the body.
    pub prepend: Bytes,
    /// The body.
    pub body: Body,
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
