//! Remote delivery against scripted SMTP servers on loopback, friendly and hostile.
// Tests may panic: clippy's exemption covers #[test] functions only, not what they call.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod delivery;
mod hostile;
mod house;
mod reuse;
mod tls;
