//! dot-qmail files (dot-qmail(5)), pure: which file names are tried, what the lines ask for. Called by the child that delivers as the user
//! and by the directory for virtual domains; never opens a file and never runs anything.

pub mod parse;
pub mod plan;

pub use parse::{BlankFirstLine, Line, parse};
pub use plan::{Candidate, Mode, Owner, Step, candidates, new_sender, owner_names, plan};
