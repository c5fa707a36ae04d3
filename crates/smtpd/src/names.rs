//! The client's name by reverse lookup, confirmed forward. Asked for once a session, at its first MAIL; no answer in time means unknown.

use crate::context::Context;
use std::net::IpAddr;
use std::time::Duration;

/// How long the first MAIL may wait for the client's name.
const LOOKUP_MAX: Duration = Duration::from_secs(3);
/// Names of one address that are tried.
const NAMES_MAX: usize = 4;

/// The name of `ip`, if one points back to it. Loopback is `localhost` without asking anybody.
pub(crate) async fn of(context: &Context, ip: IpAddr) -> Option<String> {
    if ip.is_loopback() {
        return Some("localhost".to_owned());
    }
    let dns = context.dns.as_ref()?;
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
