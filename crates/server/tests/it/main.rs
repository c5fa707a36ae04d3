//! End to end: the real binary in a temporary home, real clients and servers of Debian's packages on loopback. One scenario a file.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that panics has failed, which is what is wanted

mod client;
mod house;

mod access_rules;
mod block_lists;
mod crash_kill;
mod databases;
mod fetch;
mod howto;
mod import;
mod kill_changes;
mod limits;
mod links;
mod mail_in_and_out;
mod peers;
mod planted;
mod qmail_cases;
mod qmail_down;
mod qmail_engine;
mod queue_program;
mod running;
mod send;
mod system_users;
