//! The spawner: the one process that may become another user. It reads requests from the worker over one socket, finds the user itself, runs
//! one child per delivery as that user and reports. It parses no mail, opens no network socket and never runs anything as root.
//!
//! ```text
//!   worker --SEQPACKET: request + message fd--> spawner --exec, uid/gid of the user--> child (local::qmail_local)
//!          <--------- report packets ----------         <-- stdout: report, stderr: forwards, exit code
//! ```
#![forbid(unsafe_code)]

mod rules;
mod serve;
mod settings;
mod socket;
mod task;
mod user;

pub use rules::RuledPrograms;
pub use serve::serve;
pub use settings::{ChildLimits, Ids, PrivilegeGain, QueuePrograms, RemoteProgram, Settings};
pub use socket::{pair, send, socket_from_stdin};
pub use user::{User, from_owner};
