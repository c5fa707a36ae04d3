//! The control directory: one table of settings, classic files with classic syntax, `server.toml` for the rest; raw → resolved → live.
//! Called by everybody; never opens a socket.
#![forbid(unsafe_code)]

pub mod access;
pub mod assign;
pub mod cdb;
pub mod classic;
pub mod directory;
pub mod edit;
pub mod fetch;
pub mod home;
pub mod links;
pub mod live;
pub mod load;
pub mod masquerade;
pub mod problem;
pub mod raw;
pub mod rbl;
pub mod resolved;
mod server_toml;
pub mod show;
pub mod table;
pub mod tcprules;
pub mod vpopmail;

pub use live::Live;
pub use load::{Loaded, load, load_as_qmail, load_for_accounts};
pub use problem::Problem;
pub use resolved::Config;
pub use server_toml::message_bytes_max;
pub use show::reference_markdown;
