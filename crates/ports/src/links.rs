//! Held mail that somebody may ask for (control/links): ETRN, AutoTURN. The server answers, sessions ask.

use crate::BoxFuture;
use std::net::IpAddr;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Client address.
    pub ip: IpAddr,
    /// Login of this session.
    pub login: Option<&'a str>,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// So many messages are on their way.
    Started(u64),
    /// Asked a moment ago: still on it.
    UnderWay,
    /// Not for this client, or there is no such link: the two look the same from outside.
    NotAllowed,
    /// The queue cannot tell now.
    Unavailable,
}

/// The links as sessions see them.
pub trait Links: Send + Sync {
    /// ETRN for a domain, `@domain` or `#link` (RFC 1985 5).
    fn ask<'a>(&'a self, asker: Asker<'a>, node: &'a [u8]) -> BoxFuture<'a, Asked>;
    /// A client has connected: it may be one whose coming brings a link up. Never blocks.
    fn connected(&self, ip: IpAddr);
}
