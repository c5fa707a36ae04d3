//! `control/links`: destinations whose mail is held until a link to them is up. Read by the loader; pure. Never knows whether a link is up:
//! that is `postino_send::Links`.

mod hours;
mod parse;

pub use hours::Hours;

use crate::resolved::{RelayAuth, SmtpRoute};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Most links.
pub const LINKS_MAX: usize = 10_000;
/// How long mail is held before it goes back to its sender, seconds: two weeks, as maildirsmtp has it.
pub const LIFETIME_S: i64 = 1_209_600;

/// One link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: Arc<str>,
    /// Its destinations: hosts, `.suffix`, or `*` for whatever no other link names.
    pub destinations: Vec<Vec<u8>>,
    /// Where its mail goes; `None`: as it would without the link.
    pub server: Option<SmtpRoute>,
    /// Its mail goes to this port of the address whose coming or asking brought it up last (`caller` in the server's place).
    pub caller_port: Option<u16>,
    /// When it is up by itself.
    pub hours: Vec<Hours>,
    /// How long its mail may be held, seconds from arrival.
    pub lifetime_s: i64,
    /// Connections at once.
    pub connections: usize,
    /// Who may ask for its mail by ETRN.
    pub etrn: Askers,
    /// Who may take its mail by ATRN.
    pub atrn: Askers,
    /// Whose connection brings it up (AutoTURN).
    pub turn: Askers,
    /// Whether the server keeps mail for us, to be taken by ATRN.
    pub fetch: Fetch,
}

/// Mail that the link's server keeps for our domains.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fetch {
    /// None.
    #[default]
    Never,
    /// Taken when an administrator says so.
    Asked,
    /// Taken at this interval too, seconds.
    Every(i64),
}

impl Link {
    /// Its mail goes over connections that customers make, and over no other.
    #[must_use]
    pub fn is_turned(&self) -> bool {
        self.server.is_none() && self.caller_port.is_none() && !self.atrn.is_empty()
    }
}

/// Whom a link listens to. Empty: nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Askers {
    /// Networks: address and length of the prefix.
    pub networks: Vec<(IpAddr, u8)>,
    /// Logins, lower case.
    pub logins: Vec<String>,
}

impl Askers {
    /// Nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.logins.is_empty()
    }

    /// May this client ask? One of the two is enough.
    #[must_use]
    pub fn hold(&self, ip: IpAddr, login: Option<&str>) -> bool {
        let known = |login: &str| self.logins.iter().any(|name| name.eq_ignore_ascii_case(login));
        login.is_some_and(known) || self.networks.iter().any(|(network, bits)| is_within(ip.to_canonical(), *network, *bits))
    }
}

fn is_within(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    let same = |a: u128, b: u128, width: u8| {
        let rest = u32::from(width.saturating_sub(bits));
        (a ^ b).checked_shr(rest).unwrap_or(0) == 0
    };
    match (ip, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u128::from(u32::from(a)), u128::from(u32::from(b)), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(u128::from(a), u128::from(b), 128),
        _ => false,
    }
}

/// All links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkTable {
    links: Vec<Arc<Link>>,
    /// Host, `.suffix` or `*`, lower case → index.
    by_destination: HashMap<Vec<u8>, usize>,
}

impl LinkTable {
    /// Reads the file: `NAME DESTINATION[,DESTINATION…] SERVER[:PORT]|- WORD…`, one a line.
    ///
    /// # Errors
    /// Line and reason of each line that says nothing clear.
    pub fn parse(bytes: &[u8]) -> Result<Self, Vec<(usize, String)>> {
        parse::table(bytes)
    }

    /// Every destination is free.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// In the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter()
    }

    /// The link of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| &*link.name == name)
    }

    /// The link that mail for `host` (any case) goes over: the whole host decides, then the longest suffix, then `*`.
    #[must_use]
    pub fn of_host(&self, host: &[u8]) -> Option<&Arc<Link>> {
        if self.links.is_empty() {
            return None;
        }
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(b".").unwrap_or(&host);
        let get = |key: &[u8]| self.by_destination.get(key);
        let dots = host.iter().enumerate().filter(|(_, b)| **b == b'.');
        let index = get(host).or_else(|| dots.filter_map(|(i, _)| host.get(i..)).find_map(get)).or_else(|| get(b"*"))?;
        self.links.get(*index)
    }

    /// Somebody may ask for mail by ETRN.
    #[must_use]
    pub fn offers_etrn(&self) -> bool {
        self.links.iter().any(|link| !link.etrn.is_empty())
    }

    /// The links that a client's coming brings up (AutoTURN).
    pub fn turned_by(&self, ip: IpAddr) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().filter(move |link| link.turn.hold(ip, None))
    }

    /// What a node of ETRN means (RFC 1985 5): `#name` a link, a host the link that it belongs to, `@host` also one that holds its subdomains.
    #[must_use]
    pub fn of_node(&self, node: &[u8]) -> Option<&Arc<Link>> {
        if let Some(name) = node.strip_prefix(b"#") {
            return self.named(std::str::from_utf8(name).ok()?);
        }
        let Some(host) = node.strip_prefix(b"@") else { return self.of_host(node) };
        let below = || self.by_destination.get(&[b".", &*host.to_ascii_lowercase()].concat()).and_then(|index| self.links.get(*index));
        below().or_else(|| self.of_host(host))
    }

    /// The links whose servers' logins are still to be filled in.
    pub(crate) fn give_login(&mut self, fits: impl Fn(&SmtpRoute) -> bool, auth: &RelayAuth) -> bool {
        let mut used = false;
        for link in &mut self.links {
            if link.server.as_ref().is_some_and(&fits)
                && let Some(server) = &mut Arc::make_mut(link).server
            {
                server.auth = Some(auth.clone());
                used = true;
            }
        }
        used
    }
}

#[cfg(test)]
mod tests;
