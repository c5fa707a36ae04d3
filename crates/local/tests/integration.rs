//! The crate's integration tests: qmail-local against observed behaviour.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)] // a test that meets the unexpected should stop

mod dot_qmail;
mod qmail_local;
