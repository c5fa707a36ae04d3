//! The control directory: one table of settings, classic files with classic syntax, `server.toml` for the rest; raw → resolved → live.
//! Called by everybody; never opens a socket.
#![forbid(unsafe_code)]

pub mod cdb;
pub mod classic;
pub mod live;
pub mod resolved;
pub mod tcprules;

pub use live::Live;
pub use resolved::Config;
