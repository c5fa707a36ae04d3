//! Which way a host's mail goes: its link's server (control/links), smtproutes (qmail-remote(8)), an address literal, or MX. Called by `deliver`;
//! pure, asks no DNS.

use postino_control::resolved::{Config, RelayAuth};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// An artificial route: no MX, no own-address check.
    Relay {
        /// Name, dotted quad or literal, lower case.
        relay: String,
        /// Port.
        port: u16,
        /// Login, over TLS only.
        auth: Option<RelayAuth>,
    },
    /// An address literal.
    Literal(IpAddr),
    /// A domain in lower-case A-labels, without a dot at the end.
    Domain(String),
    /// Not a host name at all.
    Impossible,
}

impl Route {
    /// The key under which deliveries share limits.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Relay { relay, port, .. } => format!("[{}]:{port}", relay.trim_matches(['[', ']'])),
            Self::Literal(ip) => format!("[{ip}]"),
            Self::Domain(name) => name.clone(),
            Self::Impossible => String::from("?"),
        }
    }
}

/// Finds the way to `host` (as it stands in the address).
pub(crate) fn find_route(config: &Config, host: &[u8]) -> Route {
    let Some(host) = to_host_name(host) else { return Route::Impossible };
    let link = config.links.of_host(host.as_bytes()).and_then(|link| link.server.as_ref());
    if let Some(route) = link.or_else(|| config.smtproute(host.as_bytes())) {
        return Route::Relay { relay: route.relay.to_ascii_lowercase(), port: route.port, auth: route.auth.clone() };
    }
    match parse_literal(&host) {
        Some(ip) => Route::Literal(ip),
        None if host.starts_with('[') || host.is_empty() => Route::Impossible,
        None => Route::Domain(host),
    }
}

/// Lower-case A-labels (RFC 5890 2.3.2.1), no dot at the end. `None` when the bytes are no name.
pub(crate) fn to_host_name(host: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(host).ok()?;
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_ascii() {
        return Some(text.to_ascii_lowercase());
    }
    idna::domain_to_ascii(text).ok().filter(|name| !name.is_empty())
}

/// `[1.2.3.4]`, `[IPv6:…]` (RFC 5321 4.1.3), and bare addresses, which qmail takes too.
pub(crate) fn parse_literal(host: &str) -> Option<IpAddr> {
    let Some(inner) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) else {
        return host.parse::<Ipv4Addr>().map(IpAddr::V4).ok();
    };
    let tagged = inner.get(..5).filter(|tag| tag.eq_ignore_ascii_case("ipv6:")).and_then(|_| inner.get(5..));
    match tagged {
        Some(v6) => v6.parse::<Ipv6Addr>().map(IpAddr::V6).ok(),
        None => inner.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postino_control::resolved::SmtpRoute;

    fn config(lines: &[(&str, &str, u16)]) -> Config {
        let mut config = Config::default();
        for (key, relay, port) in lines {
            config.smtproutes.insert(key.as_bytes().to_vec(), SmtpRoute { relay: (*relay).to_owned(), port: *port, auth: None });
        }
        config
    }

    #[test]
    fn smtproutes_exact_then_suffix_then_default() {
        let c = config(&[("far.org", "", 25), (".org", "relay1", 25), ("", "relay2", 26), (".b.org", "relay3", 25)]);
        let key = |host: &str| find_route(&c, host.as_bytes()).key();
        assert_eq!(key("FAR.org"), "far.org");
        assert_eq!(key("www.far.org"), "[relay1]:25");
        assert_eq!(key("a.b.org"), "[relay3]:25");
        assert_eq!(key("org"), "[relay2]:26");
        assert_eq!(key("a.net"), "[relay2]:26");
        assert_eq!(key("[10.0.0.1]"), "[relay2]:26");
    }

    #[test]
    fn a_route_for_a_host_does_not_cover_its_subdomains() {
        let c = config(&[("remote.test", "[127.0.0.1]", 2626)]);
        assert_eq!(find_route(&c, b"sub.remote.test"), Route::Domain("sub.remote.test".into()));
        assert_eq!(find_route(&c, b"remote.test").key(), "[127.0.0.1]:2626");
    }

    #[test]
    fn a_link_with_a_server_goes_before_smtproutes() {
        let mut c = config(&[("", "relay", 25)]);
        c.links = postino_control::links::LinkTable::parse(b"a far.test hub:26 manual\nb near.test - manual\n").unwrap();
        assert_eq!(find_route(&c, b"far.test").key(), "[hub]:26");
        assert_eq!(find_route(&c, b"near.test").key(), "[relay]:25");
        assert_eq!(find_route(&c, b"x.test").key(), "[relay]:25");
    }

    #[test]
    fn literals_and_names() {
        let c = config(&[]);
        assert_eq!(find_route(&c, b"[10.1.2.3]"), Route::Literal("10.1.2.3".parse().unwrap()));
        assert_eq!(find_route(&c, b"10.1.2.3"), Route::Literal("10.1.2.3".parse().unwrap()));
        assert_eq!(find_route(&c, b"[IPv6:2001:db8::1]"), Route::Literal("2001:db8::1".parse().unwrap()));
        assert_eq!(find_route(&c, b"[nonsense]"), Route::Impossible);
        assert_eq!(find_route(&c, "B\u{fc}cher.example".as_bytes()), Route::Domain("xn--bcher-kva.example".into()));
        assert_eq!(find_route(&c, b"Example.COM."), Route::Domain("example.com".into()));
        assert_eq!(find_route(&c, b"\xff.example"), Route::Impossible);
        assert_eq!(find_route(&c, b""), Route::Impossible);
    }
}
