//! The rules of the house, pure: where an address goes, who may relay, when to try again, what a dot-qmail file asks for.
//! Called by smtpd, send, local, remote and the tools with a configuration and values; never opens a file, a socket or a clock.
#![forbid(unsafe_code)]

pub mod dotqmail;
pub mod rbl;
pub mod relay;
pub mod retry;
pub mod route;
pub mod verp;

pub use relay::{Client, RcptDecision};
pub use route::{make_recipient, route, strip_virtual_prefix};
