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

/// The word about ATRN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// Mail of these links waits: the connection is to be turned round for them.
    Granted(Vec<String>),
    /// Nothing waits.
    NoMail,
    /// Not for this login.
    NotAllowed,
    /// The queue cannot tell now.
    Unavailable,
}

/// The links as sessions see them.
pub trait Links: Send + Sync {
    /// ETRN for a domain, `@domain` or `#link` (RFC 1985 5).
    fn ask<'a>(&'a self, asker: Asker<'a>, node: &'a [u8]) -> BoxFuture<'a, Asked>;
    /// ATRN by this login, for domains parted by commas, or for all of its own (RFC 2645 5.2.1).
    fn turn<'a>(&'a self, login: &'a str, domains: &'a [u8]) -> BoxFuture<'a, Turn>;
    /// A client has connected: it may be one whose coming brings a link up. Never blocks.
    fn connected(&self, ip: IpAddr);
}
