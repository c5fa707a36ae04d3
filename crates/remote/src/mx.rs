//! From a route to the addresses worth trying, in order (RFC 5321 5.1, RFC 7505). Called by `deliver`; asks DNS through the port and
//! never connects.

use crate::own::OwnAddresses;
use crate::report;
use crate::route::{Route, parse_literal};
use postino_ports::dns::{Dns, DnsError, Mx};
use postino_types::DeliveryOutcome;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

/// MX hosts looked at, best first: an answer with hundreds of them must not cost hundreds of look-ups.
pub(crate) const HOSTS_MAX: usize = 16;
/// Addresses tried, all hosts together.
pub(crate) const ADDRESSES_MAX: usize = 32;

/// One address to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Address.
    pub(crate) ip: IpAddr,
    /// The name that led here, for TLS's server name.
    pub(crate) host: Arc<str>,
    preference: u16,
}

/// Addresses for `route`, never empty; or what became of the mail.
pub(crate) async fn resolve(dns: &dyn Dns, route: &Route, own: OwnAddresses<'_>) -> Result<Vec<Target>, DeliveryOutcome> {
    match route {
        Route::Relay { relay, .. } => match parse_literal(relay).or_else(|| relay.parse().ok()) {
            Some(ip) => Ok(vec![Target { ip, host: relay.as_str().into(), preference: 0 }]),
            None => by_address(dns, relay).await.map_err(|_| report::no_relay(relay)),
        },
        Route::Literal(ip) => better_than_us(vec![Target { ip: *ip, host: ip.to_string().into(), preference: 0 }], own, None),
        Route::Domain(name) => by_mx(dns, name, own).await,
        Route::Impossible => Err(report::impossible_host()),
    }
}

async fn by_mx(dns: &dyn Dns, name: &str, own: OwnAddresses<'_>) -> Result<Vec<Target>, DeliveryOutcome> {
    let records = match dns.mx(name).await {
        Ok(records) if !records.is_empty() => records,
        // No MX: the name itself is the mail host (RFC 5321 5.1).
        Ok(_) | Err(DnsError::NoName | DnsError::NoRecord) => return better_than_us(by_address(dns, name).await?, own, None),
        Err(DnsError::Temporary(_)) => return Err(report::no_answer_from_dns()),
    };
    if records.iter().all(|mx| mx.host.is_empty()) {
        return Err(report::null_mx(name));
    }
    let (targets, unanswered) = resolve_hosts(dns, &in_order(records)).await;
    match (targets.is_empty(), unanswered) {
        (false, _) => better_than_us(targets, own, unanswered),
        (true, Some(_)) => Err(report::no_answer_from_dns()),
        (true, None) => Err(report::no_exchanger()),
    }
}

/// Targets in order, and the best preference of a host that DNS gave no answer for.
async fn resolve_hosts(dns: &dyn Dns, hosts: &[Mx]) -> (Vec<Target>, Option<u16>) {
    let mut targets: Vec<Target> = Vec::new();
    let mut unanswered = None;
    for mx in hosts {
        match dns.addresses(&mx.host).await {
            Ok(addresses) => add(&mut targets, &addresses, mx.host.as_str().into(), mx.preference),
            Err(DnsError::NoName | DnsError::NoRecord) => {}
            Err(DnsError::Temporary(_)) => unanswered = unanswered.or(Some(mx.preference)), // sorted: the first is the best
        }
        if targets.len() >= ADDRESSES_MAX {
            break;
        }
    }
    (targets, unanswered)
}

async fn by_address(dns: &dyn Dns, name: &str) -> Result<Vec<Target>, DeliveryOutcome> {
    let mut targets = Vec::new();
    match dns.addresses(name).await {
        Ok(addresses) => add(&mut targets, &addresses, name.into(), 0),
        Err(DnsError::NoName | DnsError::NoRecord) => {}
        Err(DnsError::Temporary(_)) => return Err(report::no_answer_from_dns()),
    }
    if targets.is_empty() { Err(report::no_host(name)) } else { Ok(targets) }
}

fn add(targets: &mut Vec<Target>, addresses: &[IpAddr], host: Arc<str>, preference: u16) {
    for ip in addresses {
        let ip = ip.to_canonical();
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        let known = targets.iter().any(|t| t.ip == ip);
        if targets.len() < ADDRESSES_MAX && !known && !broadcast && !ip.is_multicast() {
            targets.push(Target { ip, host: host.clone(), preference });
        }
    }
}

/// By preference, random among equals (RFC 5321 5.1), the best [`HOSTS_MAX`] only. A host that is an address is no host name
/// (RFC 5321 2.3.5) and is left out.
fn in_order(records: Vec<Mx>) -> Vec<Mx> {
    let dice = RandomState::new();
    let named = records.into_iter().filter(|mx| !mx.host.is_empty() && mx.host.parse::<IpAddr>().is_err());
    let mut keyed: Vec<(u16, u64, Mx)> = named.enumerate().map(|(n, mx)| (mx.preference, dice.hash_one(n), mx)).collect();
    keyed.sort_by_key(|(preference, chance, _)| (*preference, *chance));
    keyed.into_iter().take(HOSTS_MAX).map(|(_, _, mx)| mx).collect()
}

/// Only hosts better than the best that is us (RFC 5321 5.1): the others would hand the mail back to us. When none is left but DNS gave no
/// answer for a better one, we are its backup and wait.
fn better_than_us(mut targets: Vec<Target>, own: OwnAddresses<'_>, unanswered: Option<u16>) -> Result<Vec<Target>, DeliveryOutcome> {
    let ours = targets.iter().find(|t| own.holds(t.ip)).map(|t| t.preference); // sorted: the first is the best
    if let Some(ours) = ours {
        targets.retain(|t| t.preference < ours);
    }
    let may_come = ours.zip(unanswered).is_some_and(|(ours, theirs)| theirs < ours);
    match targets.is_empty() {
        false => Ok(targets),
        true if may_come => Err(report::no_answer_from_dns()),
        true => Err(report::we_are_best()),
    }
}

#[cfg(test)]
#[path = "mx/tests.rs"]
mod tests;
