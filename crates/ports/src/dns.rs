//! Names and addresses. "No such name", "no such record" and "no answer" are three things; only the first two may bounce mail.

use crate::BoxFuture;
use std::net::IpAddr;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// NXDOMAIN.
    #[error("no such name")]
    NoName,
    /// The name exists, the record does not.
    #[error("no such record")]
    NoRecord,
    /// SERVFAIL, time-out, refused, malformed: try later.
    #[error("no answer: {0}")]
    Temporary(String),
}

/// One MX record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mx {
    /// Preference, lower is better.
    pub preference: u16,
    /// Host, lower case, no trailing dot; empty for the null MX (RFC 7505).
    pub host: String,
}

/// A resolver. Answers are capped (100 records) by the adapter.
pub trait Dns: Send + Sync {
    /// MX records, unsorted.
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>>;
    /// A and AAAA.
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>>;
    /// Names of an address.
    fn ptr(&self, ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>>;
    /// TXT, each record's strings joined.
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>>;
}
