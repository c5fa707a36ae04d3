//! vpopmail's own files behind the ports of `postino_ports::accounts`, one file a keeper. Called by vpopmail's programs, the administration and the
//! server, all on threads that may block.

mod relays;

pub use relays::OpenSmtp;
pub(crate) use relays::rule as relay_rule;
