//! The queue from outside: life of a message, random operations against a model, trouble with disk and clock, and faults at the k-th system call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

#[path = "integration/house.rs"]
mod house;
#[path = "integration/life.rs"]
mod life;
#[path = "integration/model.rs"]
mod model;
#[path = "integration/torture.rs"]
mod torture;
#[path = "integration/trouble.rs"]
mod trouble;
