//! The address in MAIL and RCPT, read as qmail-smtpd reads it: more forgiving than the grammar of RFC 5321 that `smtp::path` holds to, and
//! scripts rely on that. Called by the session; never decides who may relay.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Longest address, bytes.
const ADDRESS_BYTES_MAX: usize = 899;

/// The address in a command's argument; `None` is a syntax error. A host `[own.ip.address]` becomes `local_ip_host`.
pub(super) fn parse(argument: &[u8], local_ip_host: Option<&[u8]>) -> Option<Vec<u8>> {
    let (rest, end) = match position(argument, b'<') {
        Some(open) => (argument.get(open + 1..)?, b'>'),
        None => {
            let rest = argument.get(position(argument, b':')? + 1..)?;
            if rest.is_empty() {
                return None;
            }
            let start = rest.iter().position(|&b| b != b' ').unwrap_or(rest.len());
            (rest.get(start..)?, b' ')
        }
    };
    let mut address = unquote(without_route(rest), end);
    if let Some(name) = local_ip_host
        && let Some(at) = address.iter().rposition(|&b| b == b'@')
        && address.get(at + 1..).and_then(bracketed).is_some_and(is_ours)
    {
        address.truncate(at + 1);
        address.extend_from_slice(name);
    }
    (address.len() <= ADDRESS_BYTES_MAX).then_some(address)
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|&b| b == wanted)
}

fn without_route(address: &[u8]) -> &[u8] {
    if address.first() != Some(&b'@') {
        return address;
    }
    position(address, b':').and_then(|colon| address.get(colon + 1..)).unwrap_or_default()
}

fn unquote(text: &[u8], end: u8) -> Vec<u8> {
    let mut address = Vec::with_capacity(text.len());
    let mut quoted = false;
    let mut bytes = text.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            b if b == end && !quoted => break,
            b'\\' => address.extend(bytes.next()),
            b'"' => quoted = !quoted,
            b => address.push(b),
        }
    }
    address
}

fn bracketed(host: &[u8]) -> Option<Ipv4Addr> {
    let inside = host.strip_prefix(b"[")?.strip_suffix(b"]")?;
    std::str::from_utf8(inside).ok()?.parse().ok()
}

/// Only an address of this machine can be bound; asked so seldom that no list of addresses is made beforehand.
fn is_ours(ip: Ipv4Addr) -> bool {
    if ip.is_loopback() {
        return ip == Ipv4Addr::LOCALHOST;
    }
    !ip.is_multicast() && !ip.is_broadcast() && UdpSocket::bind((IpAddr::from(ip), 0)).is_ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_the_original_takes() {
        let plain = |argument: &str| parse(argument.as_bytes(), None).map(|a| String::from_utf8(a).unwrap());
        for (argument, address) in [
            ("FROM:<s@a.test>", "s@a.test"),
            ("FROM: s@a.test", "s@a.test"),
            ("TO:<@x.test,@y.test:a@b.test>", "a@b.test"),
            ("TO:<\"oq alice\"@b.test>", "oq alice@b.test"),
            ("TO:<a\\@b@c.test>", "a@b@c.test"),
            ("TO:<\"a>b\"@c.test> SIZE=5", "a>b@c.test"),
            ("TO:<a@b.test", "a@b.test"),
            ("TO: a@b.test trailing", "a@b.test"),
            ("FROM:<>", ""),
            ("<a@b>", "a@b"),
            ("TO:<@only.route>", ""),
        ] {
            assert_eq!(plain(argument).as_deref(), Some(address), "{argument}");
        }
        assert_eq!(plain(""), None);
        assert_eq!(plain("FROM:"), None);
        assert!(plain(&format!("<{}>", "a".repeat(899))).is_some());
        assert_eq!(plain(&format!("<{}>", "a".repeat(900))), None);
    }

    #[test]
    fn an_own_address_becomes_a_name() {
        let own = |host: &str| parse(format!("<a@{host}>").as_bytes(), Some(b"me.test")).unwrap();
        assert_eq!(own("[127.0.0.1]"), b"a@me.test");
        for other in ["[192.0.2.99]", "[127.0.0.1", "[224.0.0.1]", "[1.2.3]", "127.0.0.1"] {
            assert_eq!(own(other), format!("a@{other}").as_bytes());
        }
    }
}
