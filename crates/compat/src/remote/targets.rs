//! Which addresses take a host's mail: address literal, MX, A. Called by `remote`; never connects. IPv4 names only, as the original; IPv6 by
//! literal.

use crate::dns::{DnsError, Resolver};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Most exchangers asked for.
const EXCHANGERS_MAX: usize = 64;

/// An address with its exchanger's preference (0 without MX).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The address.
    pub(crate) ip: IpAddr,
    preference: u16,
}

/// Why there is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Perhaps later.
    Soft,
    /// There is no such host.
    Host,
    /// There are exchangers, but none of them has an address.
    Address,
}

/// The addresses of a relay's name.
pub(crate) fn by_address(resolver: &Resolver, host: &[u8]) -> Result<Vec<Target>, Missing> {
    let name = std::str::from_utf8(host).map_err(|_| Missing::Host)?;
    if let Some(ip) = literal(name) {
        return Ok(vec![Target { ip, preference: 0 }]);
    }
    let found = resolver.a(name).map_err(|error| if error.is_soft() { Missing::Soft } else { Missing::Host })?;
    Ok(found.into_iter().map(|ip| Target { ip: ip.into(), preference: 0 }).collect())
}

/// The addresses of a domain's exchangers, best first, in random order among equals; without exchangers the domain's own.
pub(crate) fn by_exchange(resolver: &Resolver, host: &[u8]) -> Result<Vec<Target>, Missing> {
    let name = std::str::from_utf8(host).map_err(|_| Missing::Host)?;
    if literal(name).is_some() {
        return by_address(resolver, host);
    }
    let mut exchangers = match resolver.mx(name) {
        Ok(exchangers) => exchangers,
        Err(DnsError::Soft) => return Err(Missing::Soft),
        Err(_) => return by_address(resolver, host),
    };
    let random = RandomState::new();
    exchangers.sort_by_cached_key(|(preference, name)| (*preference, random.hash_one(name)));
    exchangers.truncate(EXCHANGERS_MAX);
    let mut found = Vec::new();
    let mut soft = false;
    for (preference, name) in exchangers {
        match resolver.a(&name) {
            Ok(ips) => found.extend(ips.into_iter().map(|ip| Target { ip: ip.into(), preference })),
            Err(error) => soft |= error.is_soft(),
        }
    }
    match (found.is_empty(), soft) {
        (false, _) => Ok(found),
        (true, true) => Err(Missing::Soft),
        (true, false) => Err(Missing::Address),
    }
}

/// Leaves only exchangers that are better than this host itself, so that mail does not run in a circle.
pub(crate) fn keep_better_than_own(targets: &mut Vec<Target>) {
    let own = targets.iter().filter(|target| is_own(target.ip)).map(|target| target.preference).min();
    if let Some(own) = own {
        targets.retain(|target| target.preference < own);
    }
}

/// One of the interfaces' addresses, or the unspecified one, which reaches this host too. The kernel, asked for the way to one of its own
/// addresses, names that address as the source; no packet leaves.
fn is_own(ip: IpAddr) -> bool {
    if ip.is_unspecified() {
        return true;
    }
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|address| address.ip() == ip)
}

/// `[1.2.3.4]`, `1.2.3.4`, `[IPv6:…]`, `[…]`.
fn literal(host: &str) -> Option<IpAddr> {
    let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else {
        return host.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    };
    let tagged = inner.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("ipv6:"));
    let inner = if tagged { inner.get(5..)? } else { inner };
    inner.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(list: &[(&str, u16)]) -> usize {
        let mut targets: Vec<Target> =
            list.iter().map(|(ip, preference)| Target { ip: ip.parse().unwrap(), preference: *preference }).collect();
        keep_better_than_own(&mut targets);
        targets.len()
    }

    #[test]
    fn only_better_ones_than_this_host_are_left() {
        assert_eq!(kept(&[("192.0.2.1", 5), ("127.0.0.1", 10), ("192.0.2.2", 10), ("192.0.2.3", 20)]), 1);
        assert_eq!(kept(&[("0.0.0.0", 0)]), 0);
        assert_eq!(kept(&[("192.0.2.1", 5), ("127.0.0.10", 10)]), 2);
    }

    #[test]
    fn literals() {
        assert_eq!(literal("[192.0.2.1]"), literal("192.0.2.1"));
        assert_eq!(literal("[IPv6:::1]"), literal("[::1]"));
        assert!(literal("[::1]").is_some());
        assert_eq!(literal("far.test"), None);
        assert_eq!(literal("::1"), None);
    }
}
