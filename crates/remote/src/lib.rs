//! Remote delivery: routes (smtproutes, address literals, MX), connections with TLS and reuse, SMTP transactions, and what became of each
//! recipient. `send` calls it through `ports::deliver::Deliver`; it never touches the queue, a mailbox or a control file.
#![forbid(unsafe_code)]

mod connection;
mod deliver;
mod message;
mod mx;
mod odmr;
mod open;
mod own;
mod pool;
mod remembered;
mod report;
mod route;
mod stream;
mod tls;
mod transact;
mod turned;
mod verp;

pub use deliver::{ConnectionCount, Remote, RemoteParts};
pub use odmr::Provided;
pub use tls::{RelayTrust, TrustError};
pub use turned::Adopted;
