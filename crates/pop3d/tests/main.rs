//! POP3 as a client sees it: transcripts run three ways, TLS, what removes messages and what does not, hostile clients.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic: that is how it fails")]
#![allow(unreachable_pub, reason = "helpers of one test binary")]

mod house;
mod over_tls;
mod sockets;
mod transcript;
