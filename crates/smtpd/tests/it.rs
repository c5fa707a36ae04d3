//! Integration tests of the SMTP server: one binary. Queue and directory are fakes behind the ports; the sockets are real where it says so.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "it/events.rs"]
mod events;
#[path = "it/house.rs"]
mod house;
#[path = "it/limits.rs"]
mod limits;
#[path = "it/lists.rs"]
mod lists;
#[path = "it/queue_trouble.rs"]
mod queue_trouble;
#[path = "it/relay.rs"]
mod relay;
#[path = "it/smuggling.rs"]
mod smuggling;
#[path = "it/starttls.rs"]
mod starttls;
#[path = "it/trace.rs"]
mod trace;
#[path = "it/transcript.rs"]
mod transcript;
