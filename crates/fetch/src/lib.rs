//! Mail of other servers, brought here: POP3 and IMAP accounts of `[[fetch]]` in server.toml. `postino serve` runs them on their timers, `postino fetch`
//! by command. Puts every message through the queue's one door, and deletes nothing on the other side that is not on stable storage here.
#![forbid(unsafe_code)]

mod body;
mod connect;
mod feed;
mod fetcher;
mod header;
mod imap;
mod imap_folder;
mod imap_response;
mod pop3;
mod run;
mod sasl;
#[cfg(test)]
mod script;
mod secret;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub use fetcher::{Fetcher, Stage, Standing};
pub use imap::Imap;
pub use pop3::Pop3;
pub use run::{Mode, Outcome, Ports, Trouble};
pub use sasl::{Credentials, SecretKind};
pub use secret::{OpenFile, RunAs, SECRET_BYTES_MAX, Secrets, read_secret};
pub use session::{Broken, Event, Item, Listing, Options, Session};
