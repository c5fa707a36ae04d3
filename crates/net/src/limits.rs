//! What strangers may take: connections at once, in all and from one address, and tries at passwords. Listeners and daemons ask; nothing
//! here sleeps or reads a clock.

mod connections;
mod logins;

pub use connections::{ConnectionLimits, ConnectionPermit};
pub use logins::{Admission, LoginThrottle};

use std::net::IpAddr;

/// The part of an address that one customer holds: all of IPv4, the first 64 bits of IPv6 (RFC 6177).
#[must_use]
pub fn neighbourhood(ip: IpAddr) -> u128 {
    match ip.to_canonical() {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => (u128::from(v6) & !u128::from(u64::MAX)) | (1 << 32),
    }
}
