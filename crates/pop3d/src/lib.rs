//! POP3 (RFC 1939, 2449, 2595, 5034, 6856): a pure session and the shell that gives it a socket, a directory and a maildrop. The server
//! starts it; it removes no message unless QUIT completes, knows no queue and sends no mail.
#![forbid(unsafe_code)]

pub mod serve;
pub mod session;
pub mod transmission;

pub use serve::{Context, TlsMode, serve};
