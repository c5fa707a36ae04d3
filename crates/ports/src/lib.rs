//! The ports: traits through which daemons see queue, directory, mailboxes, DNS, clock and spawner, and their errors. Nothing else lives here.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod body;
pub mod clock;
pub mod deliver;
pub mod directory;
pub mod disk;
pub mod dns;
pub mod event;
pub mod links;
pub mod maildrop;
pub mod queue;
pub mod roaming;
pub mod spawn;

/// A boxed future: one allocation beside an fsync or a round trip costs nothing, and keeps monomorphisation away.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
