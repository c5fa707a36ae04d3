//! Sockets: listeners, streams with TLS, limits, bounded lines, names. Daemons and the client side of SMTP build on it; it knows no
//! mail protocol, reads no mailbox and decides no policy.
#![forbid(unsafe_code)]

pub mod access;
pub mod answers;
pub mod dns;
mod handed;
pub mod limits;
pub mod line;
pub mod listener;
pub mod names;
pub mod stream;
pub mod tls;

pub use handed::{BoxedStream, Duplex};
pub use limits::{Admission, ConnectionLimits, ConnectionPermit, LoginThrottle};
pub use line::{Line, LineReader};
pub use listener::{Accepted, ListenerSettings, accept_loop, bind};
pub use stream::Stream;
pub use tls::{ServerTls, TlsError};
