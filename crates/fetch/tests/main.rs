//! Whole runs against Dovecot on loopback, with a real queue; and through a proxy that cuts the connection.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test that panics has failed, which is what is wanted

mod dovecot;
mod hostile;
mod proxy;
mod runs;
mod world;
