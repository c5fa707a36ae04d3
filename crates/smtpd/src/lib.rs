//! The SMTP server's shell: sockets, timers and ports around the pure session of crate `smtp`. The listeners start it, one task a
//! connection; it knows the queue and the directory by their ports only and parses no byte of the protocol itself.
#![forbid(unsafe_code)]

mod buffer;
pub mod context;
mod desk;
pub mod lists;
mod login;
mod received;
pub mod serve;
pub mod settings;
pub mod texts;
pub mod transport;
mod watch;

pub use context::{Caller, Context, HeldMail, Turned, TurnedDoor};
pub use serve::{handler, serve, serve_turned};
pub use transport::Transport;
