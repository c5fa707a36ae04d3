//! Names and addresses. "No such name", "no such record" and "no answer" are three things; only the first two may bounce mail.

use crate::BoxFuture;
use std::net::{IpAddr, Ipv4Addr};

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
    /// A alone, for block lists: their answers are IPv4 addresses, whatever they are asked about (RFC 5782 2.4).
    fn a<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Ipv4Addr>, DnsError>> {
        Box::pin(async move {
            let found = self.addresses(name).await?;
            let v4: Vec<Ipv4Addr> = found.into_iter().filter_map(|ip| if let IpAddr::V4(v4) = ip { Some(v4) } else { None }).collect();
            if v4.is_empty() { Err(DnsError::NoRecord) } else { Ok(v4) }
        })
    }
    /// Names of an address.
    fn ptr(&self, ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>>;
    /// TXT, each record's strings joined.
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>>;
}
