//! The test kit: stand-ins for disk and clock that tests of every crate share. A dev-dependency only; no product code uses it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

pub mod database_server;
pub mod sasl_client;
pub mod sim_clock;
pub mod sim_disk;

pub use sim_clock::SimClock;
pub use sim_disk::{Fault, SimDisk};
