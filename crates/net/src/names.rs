//! A client's name by reverse lookup, confirmed forward. The doors of SMTP and POP3 ask; no answer in time means unknown.

use postino_ports::dns::Dns;
use std::net::IpAddr;
use std::time::Duration;

/// How long a client may wait for its name.
const LOOKUP_MAX: Duration = Duration::from_secs(3);
/// Names of one address that are tried.
const NAMES_MAX: usize = 4;

/// The name of `ip`, if one points back to it. Loopback is `localhost` without asking anybody.
pub async fn confirmed(dns: Option<&dyn Dns>, ip: IpAddr) -> Option<String> {
    if ip.is_loopback() {
        return Some("localhost".to_owned());
    }
    let dns = dns?;
    let lookup = async {
        for name in dns.ptr(ip).await.ok()?.into_iter().take(NAMES_MAX) {
            let confirmed = dns.addresses(&name).await.is_ok_and(|addresses| addresses.contains(&ip));
            if confirmed {
                return Some(name);
            }
        }
        None
    };
    tokio::time::timeout(LOOKUP_MAX, lookup).await.ok().flatten()
}
