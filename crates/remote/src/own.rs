//! Is an address this very host? Called by `mx` so that mail for a host that names us as its MX does not run in a circle. Sends no packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What counts as this host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OwnAddresses<'a> {
    /// Configured ones (addresses behind NAT).
    pub(crate) configured: &'a [IpAddr],
    /// Loopback is somebody else (tests).
    pub(crate) allow_loopback: bool,
}

impl OwnAddresses<'_> {
    /// True for loopback, the unspecified address, configured addresses and those of the interfaces.
    pub(crate) fn holds(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if self.configured.iter().any(|own| own.to_canonical() == ip) {
            return true;
        }
        if ip.is_loopback() || ip.is_unspecified() {
            return !self.allow_loopback;
        }
        is_interface_address(ip)
    }
}

/// The kernel, asked for the way to one of its own addresses, names that address as the source. No packet leaves: UDP `connect` only
/// looks up the route. This needs no list of interfaces and stays right when an address comes or goes.
fn is_interface_address(ip: IpAddr) -> bool {
    let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = UdpSocket::bind(SocketAddr::new(any, 0)).and_then(|socket| {
        socket.connect(SocketAddr::new(ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|address| address.ip().to_canonical() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_unspecified_configured_and_others() {
        let configured = ["192.0.2.7".parse().unwrap()];
        let own = OwnAddresses { configured: &configured, allow_loopback: false };
        for ip in ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "192.0.2.7", "::ffff:192.0.2.7"] {
            assert!(own.holds(ip.parse().unwrap()), "{ip}");
        }
        for ip in ["192.0.2.8", "2001:db8::1"] {
            assert!(!own.holds(ip.parse().unwrap()), "{ip}");
        }
        let tests = OwnAddresses { configured: &configured, allow_loopback: true };
        assert!(!tests.holds("127.0.0.1".parse().unwrap()));
        assert!(tests.holds("192.0.2.7".parse().unwrap()));
    }

    #[test]
    fn the_kernel_knows_its_addresses() {
        assert!(is_interface_address("127.0.0.1".parse().unwrap()));
    }
}
