//! Messages as bytes: dates, Received lines, header scanning, delivery lines, bounces and reports. Every daemon uses it; it does no I/O,
//! knows no clock; only `masquerade` changes a message that it is shown. Lines end with LF everywhere.
#![forbid(unsafe_code)]

pub mod date;
pub mod delivered_to;
pub mod dsn;
pub mod header;
pub mod masquerade;
pub mod received;

pub use date::{asctime, qmail_date};
pub use header::{HeaderScanner, Progress};
pub use received::{FetchedFrom, InvokedBy, Received, qmail_received};
