//! Where an address goes, in qmail-send(8)'s order: envnoathost, percenthack, locals, virtualdomains, else remote.
//! Called when a message is accepted and for forwards; never asks the directory whether a mailbox exists.

use postino_control::Config;
use postino_types::{Address, Channel, Notify, Recipient, Routed};
use std::net::IpAddr;

/// Decides channel and address of one recipient. Total: every address goes somewhere.
#[must_use]
pub fn route(config: &Config, address: &Address) -> Routed {
    let address = rewrite(config, address);
    if config.locals.contains(&address.host_lower()) {
        return Routed { channel: Channel::Local, address };
    }
    match virtual_prefix(config, &address) {
        Some((_, prefix)) if !prefix.is_empty() => Routed { channel: Channel::Local, address: with_prefix(prefix, &address) },
        _ => Routed { channel: Channel::Remote, address },
    }
}

/// The address after envnoathost and percenthack: what bounces show and what [`route`] decides about.
#[must_use]
pub fn rewrite(config: &Config, address: &Address) -> Address {
    let mut address = match address.host() {
        Some(_) => address.clone(),
        None => Address::from_parts(address.as_bytes(), config.envnoathost.as_bytes()).unwrap_or_else(|_| address.clone()),
    };
    while config.percenthack.contains(&address.host_lower()) {
        let local = address.local();
        let Some(percent) = local.iter().rposition(|&b| b == b'%') else { break };
        let mut bytes = local.to_vec();
        if let Some(b) = bytes.get_mut(percent) {
            *b = b'@';
        }
        match Address::from_bytes(&bytes) {
            Ok(shorter) => address = shorter, // each round is shorter, so the loop ends
            Err(_) => break,
        }
    }
    address
}

/// Which kind of virtualdomains key matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VirtualKey {
    /// `box@host`.
    Address,
    /// The host.
    Host,
    /// `.suffix`.
    Suffix,
    /// The empty key: every host.
    Default,
}

/// The first virtualdomains key that matches, with its prefix (empty: remote).
#[must_use]
pub fn virtual_prefix<'a>(config: &'a Config, address: &Address) -> Option<(VirtualKey, &'a [u8])> {
    if config.virtualdomains.is_empty() {
        return None;
    }
    let whole = address.as_bytes().to_ascii_lowercase();
    if let Some(prefix) = config.virtualdomains.get(&whole) {
        return Some((VirtualKey::Address, prefix));
    }
    host_prefix(config, &address.host_lower())
}

fn host_prefix<'a>(config: &'a Config, host_lower: &[u8]) -> Option<(VirtualKey, &'a [u8])> {
    let get = |key: &[u8]| config.virtualdomains.get(key).map(Vec::as_slice);
    if let Some(prefix) = get(host_lower).filter(|_| !host_lower.is_empty()) {
        return Some((VirtualKey::Host, prefix));
    }
    suffixes(host_lower)
        .find_map(|suffix| get(suffix).map(|prefix| (VirtualKey::Suffix, prefix)))
        .or_else(|| get(b"").map(|prefix| (VirtualKey::Default, prefix)))
}

/// The suffixes of a host that begin with a dot, longest first.
pub(crate) fn suffixes(host: &[u8]) -> impl Iterator<Item = &[u8]> {
    let dots = host.iter().enumerate().filter(|(_, b)| **b == b'.');
    dots.filter_map(move |(i, _)| host.get(i..))
}

/// `prefix-box@host`. A box that would make the address too long is cut: no account has such a name.
fn with_prefix(prefix: &[u8], address: &Address) -> Address {
    let host = address.host().unwrap_or_default();
    let room = postino_types::address::ADDRESS_BYTES_MAX.saturating_sub(prefix.len() + host.len() + 2);
    let local = address.local();
    let local = local.get(..local.len().min(room)).unwrap_or_default();
    Address::from_parts(&[prefix, b"-", local].concat(), host).unwrap_or_else(|_| address.clone())
}

/// True when mail for `host` (any case) stays here: in locals, or in virtualdomains with a non-empty prefix (the empty key counts too).
#[must_use]
pub fn host_is_local(config: &Config, host: &[u8]) -> bool {
    let host = host.to_ascii_lowercase();
    config.locals.contains(&host) || host_prefix(config, &host).is_some_and(|(_, prefix)| !prefix.is_empty())
}

/// Takes the virtual prefix off again for a bounce (`joe-v-ann@virt.test` → `ann@virt.test`). Keys of the form `user@host` are not consulted.
#[must_use]
pub fn strip_virtual_prefix(config: &Config, address: &Address) -> Address {
    if address.host().is_none() {
        return address.clone();
    }
    let rest = host_prefix(config, &address.host_lower()).map(|(_, prefix)| prefix).filter(|prefix| !prefix.is_empty());
    rest.and_then(|prefix| address.as_bytes().strip_prefix(prefix)?.strip_prefix(b"-"))
        .and_then(|bytes| Address::from_bytes(bytes).ok())
        .unwrap_or_else(|| address.clone())
}

/// A recipient without DSN wishes, as forwards and bounces make it.
#[must_use]
pub fn make_recipient(config: &Config, address: &Address) -> Recipient {
    let address = rewrite(config, address);
    let routed = route(config, &address);
    Recipient { address, routed, notify: Notify::default(), original: None }
}

/// The address inside a domain literal: `[192.0.2.1]` or `[IPv6:2001:db8::1]` (RFC 5321 4.1.3). `None` for a name or a malformed literal.
#[must_use]
pub fn literal(host: &[u8]) -> Option<IpAddr> {
    let inner = std::str::from_utf8(host).ok()?.strip_prefix('[')?.strip_suffix(']')?;
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => inner.get(5..)?.parse().ok().map(IpAddr::V6),
        _ => inner.parse().ok().map(IpAddr::V4),
    }
}

/// Replaces a domain literal that names one of `own_addresses` by localiphost, as qmail-smtpd(8) does; everything else stays.
#[must_use]
pub fn replace_own_literal(config: &Config, address: &Address, own_addresses: &[IpAddr]) -> Address {
    let own = address.host().and_then(literal).is_some_and(|ip| own_addresses.contains(&ip));
    if !own || config.localiphost.is_empty() {
        return address.clone();
    }
    Address::from_parts(address.local(), config.localiphost.as_bytes()).unwrap_or_else(|_| address.clone())
}

#[cfg(test)]
mod tests;
