//! Who may send to whom: rcpthosts, morercpthosts, RELAYCLIENT, AUTH, badmailfrom. One parsed address is judged and later delivered.
//! Called by the SMTP server at MAIL and RCPT; never asks whether the mailbox exists.

use crate::route;
use postino_control::Config;
use postino_control::cdb::CdbError;
use postino_control::tcprules::Verdict;
use postino_types::{Address, Channel, ReversePath, Routed};
use std::net::IpAddr;

/// Looks a key (lower case) up in morercpthosts.cdb.
pub type Morercpthosts = dyn Fn(&[u8]) -> Result<bool, CdbError> + Sync;

/// What is known of the client when it names a recipient.
#[derive(Clone, Copy)]
pub struct Client<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// What the rules by address say (`control/tcp.smtp`); RELAYCLIENT in it allows relaying.
    pub rules: Option<&'a Verdict>,
    /// AUTH succeeded in this session.
    pub authenticated: bool,
    /// Addresses of this host, for domain literals.
    pub own_addresses: &'a [IpAddr],
    /// Looks a key up in morercpthosts.cdb; `None`: [`Config::is_in_morercpthosts`].
    pub morercpthosts: Option<&'a Morercpthosts>,
}

impl<'a> Client<'a> {
    /// A client that nothing is known of.
    #[must_use]
    pub fn stranger(config: &'a Config) -> Self {
        Self { config, rules: None, authenticated: false, own_addresses: &[], morercpthosts: None }
    }

    /// The value of RELAYCLIENT when the rules set it.
    #[must_use]
    pub fn relayclient(&self) -> Option<&'a str> {
        self.rules.and_then(|verdict| verdict.variable("RELAYCLIENT"))
    }

    /// True when this client may send to other hosts.
    #[must_use]
    pub fn may_relay(&self) -> bool {
        self.authenticated || self.relayclient().is_some()
    }
}

/// The answer for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcptDecision {
    /// Stays here: ask the directory whether it exists.
    Local(Accepted),
    /// Goes to another host, and this client may do that.
    Relay(Accepted),
    /// 553 5.7.1: not in rcpthosts and the client may not relay.
    Denied,
    /// 451 4.3.0: morercpthosts.cdb cannot be read; the text is for the log.
    Trouble(String),
}

/// An accepted recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The recipient as it enters the envelope (after localiphost, RELAYCLIENT, envnoathost and percenthack).
    pub address: Address,
    /// Where it goes.
    pub routed: Routed,
}

/// Decides about one recipient.
#[must_use]
pub fn decide(client: &Client<'_>, recipient: &Address) -> RcptDecision {
    let config = client.config;
    let given = route::replace_own_literal(config, recipient, client.own_addresses);
    if client.may_relay() {
        return accept(config, &append_relayclient(client, given));
    }
    // percenthack must not open a way around rcpthosts: the host as given and the host that it turns into are both asked
    let rewritten = route::rewrite(config, &given);
    for address in [&given, &rewritten] {
        match host_is_allowed(client, address) {
            Ok(true) => {}
            Ok(false) => return RcptDecision::Denied,
            Err(e) => return RcptDecision::Trouble(format!("unable to read morercpthosts.cdb: {e}")),
        }
    }
    accept(config, &rewritten)
}

fn accept(config: &Config, address: &Address) -> RcptDecision {
    let address = route::rewrite(config, address);
    let routed = route::route(config, &address);
    let channel = routed.channel;
    let accepted = Accepted { address, routed };
    match channel {
        Channel::Local => RcptDecision::Local(accepted),
        Channel::Remote => RcptDecision::Relay(accepted),
    }
}

fn append_relayclient(client: &Client<'_>, address: Address) -> Address {
    match client.relayclient().filter(|suffix| !suffix.is_empty()) {
        Some(suffix) => Address::from_bytes(&[address.as_bytes(), suffix.as_bytes()].concat()).unwrap_or(address),
        None => address,
    }
}

/// rcpthosts, then morercpthosts. Without the file rcpthosts only what is local is allowed (never everything, and never by the empty
/// virtualdomains key). An address without a host is local by envnoathost and always allowed.
fn host_is_allowed(client: &Client<'_>, address: &Address) -> Result<bool, CdbError> {
    let config = client.config;
    if address.host().is_none() {
        return Ok(true);
    }
    let host = address.host_lower();
    let Some(rcpthosts) = &config.rcpthosts else {
        let virtual_local =
            route::virtual_prefix(config, address).is_some_and(|(key, prefix)| key != route::VirtualKey::Default && !prefix.is_empty());
        return Ok(config.locals.contains(&host) || virtual_local);
    };
    let candidates = || std::iter::once(host.as_slice()).chain(route::suffixes(&host));
    if candidates().any(|key| rcpthosts.contains(key)) {
        return Ok(true);
    }
    if config.morercpthosts.is_none() && client.morercpthosts.is_none() {
        return Ok(false);
    }
    for key in candidates() {
        let found = match client.morercpthosts {
            Some(lookup) => lookup(key)?,
            None => config.is_in_morercpthosts(key)?,
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True when badmailfrom lists the sender or its `@host`; each RCPT is then refused, also for clients that may relay.
#[must_use]
pub fn sender_is_bad(config: &Config, sender: &ReversePath) -> bool {
    let ReversePath::Address(address) = sender else { return false };
    if config.badmailfrom.is_empty() {
        return false;
    }
    let whole = address.as_bytes().to_ascii_lowercase();
    let at_host = address.host().map(|_| [b"@".as_slice(), &address.host_lower()].concat());
    config.badmailfrom.contains(&whole) || at_host.is_some_and(|key| config.badmailfrom.contains(&key))
}

#[cfg(test)]
mod tests;
