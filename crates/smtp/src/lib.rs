//! SMTP and ESMTP as pure protocol code: grammar, replies, the server's session and the client's. The shells in `smtpd` and `remote`
//! feed it bytes; it never opens a socket, touches a file or reads a clock.
#![forbid(unsafe_code)]

pub mod client;
pub mod command;
pub mod data;
pub mod params;
pub mod path;
pub mod reply;
pub mod server;
pub mod xtext;

pub use command::{Command, CommandError, MailCommand, RcptCommand};
pub use path::PathError;
pub use reply::Reply;
