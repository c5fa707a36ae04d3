//! The client's half of SMTP (RFC 5321) without I/O: reply parser, capabilities, envelope commands, body encoder and the session that ties
//! them together. The shell in `remote` moves the bytes and keeps the time-outs; nothing here opens a socket or reads a clock.

pub mod capabilities;
pub mod command;
pub mod encode;
pub mod event;
pub mod reply;
pub mod session;
#[cfg(test)]
mod tests;

pub use capabilities::Capabilities;
pub use command::{AddressFault, Transaction, TransactionRecipient, check_recipient, check_sender};
pub use encode::BodyEncoder;
pub use event::{Credentials, Event, Login, Options, Phase, Progress, ProtocolError, Refusal, Stage, TlsWish};
pub use reply::{Reply, ReplyError, ReplyReader};
pub use session::Session;
