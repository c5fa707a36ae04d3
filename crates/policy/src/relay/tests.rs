//! Tests of the relay decision.

use super::*;

fn a(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}

fn config() -> Config {
    let mut config = Config::default();
    config.locals.insert(b"local.test".to_vec());
    config.virtualdomains.insert(b"virt.test".to_vec(), b"virt.test".to_vec());
    config.virtualdomains.insert(b"out.test".to_vec(), Vec::new());
    config
}

fn listed(hosts: &[&str]) -> Config {
    Config { rcpthosts: Some(hosts.iter().map(|h| h.as_bytes().to_vec()).collect()), ..config() }
}

/// `local`, `relay`, `denied` or `trouble`.
fn kind(decision: &RcptDecision) -> &'static str {
    match decision {
        RcptDecision::Local(_) => "local",
        RcptDecision::Relay(_) => "relay",
        RcptDecision::Denied => "denied",
        RcptDecision::Trouble(_) => "trouble",
    }
}

fn stranger(config: &Config, address: &str) -> &'static str {
    kind(&decide(&Client::stranger(config), &a(address)))
}

#[test]
fn missing_rcpthosts_is_no_open_relay() {
    let mut config = config();
    for (address, want) in [
        ("u@local.test", "local"),
        ("u@VIRT.test", "local"),
        ("u@out.test", "denied"),
        ("u@other.test", "denied"),
        ("postmaster", "denied"),
    ] {
        assert_eq!(stranger(&config, address), want, "{address}");
    }
    config.virtualdomains.insert(Vec::new(), b"alias-ppp".to_vec());
    assert_eq!(stranger(&config, "u@other.test"), "denied", "the empty key does not open the door");
    config.envnoathost = "local.test".into();
    assert_eq!(stranger(&config, "postmaster"), "local");
}

#[test]
fn rcpthosts_and_wildcards() {
    let config = listed(&["virt.test", ".wild.test"]);
    for (address, want) in [
        ("u@virt.test", "local"),
        ("u@a.wild.test", "relay"),
        ("u@a.b.WILD.test", "relay"),
        ("u@wild.test", "denied"),
        ("u@local.test", "denied"),
    ] {
        assert_eq!(stranger(&config, address), want, "{address}");
    }
    assert_eq!(stranger(&listed(&[]), "u@local.test"), "denied");
}

#[test]
fn morercpthosts_continues_the_list() {
    let config = Config { morercpthosts: Some("/nowhere/morercpthosts.cdb".into()), ..listed(&["virt.test"]) };
    let lookup = |key: &[u8]| Ok(key == b".more.test");
    let client = Client { morercpthosts: Some(&lookup), ..Client::stranger(&config) };
    assert_eq!(kind(&decide(&client, &a("u@a.more.test"))), "relay");
    assert_eq!(kind(&decide(&client, &a("u@x.test"))), "denied");
    let broken = |_: &[u8]| Err(CdbError::Damaged);
    let client = Client { morercpthosts: Some(&broken), ..Client::stranger(&config) };
    assert_eq!(kind(&decide(&client, &a("u@x.test"))), "trouble");
    assert_eq!(kind(&decide(&client, &a("u@virt.test"))), "local");
}

#[test]
fn relay_clients() {
    let config = listed(&[]);
    let verdict = |value: &str| Verdict { allow: true, env: vec![("RELAYCLIENT".into(), value.into())] };
    let empty = verdict("");
    let client = Client { rules: Some(&empty), ..Client::stranger(&config) };
    assert_eq!(kind(&decide(&client, &a("u@other.test"))), "relay");
    assert_eq!(kind(&decide(&client, &a("u@local.test"))), "local");
    let hub = verdict("@hub.test");
    let RcptDecision::Relay(accepted) = decide(&Client { rules: Some(&hub), ..client }, &a("x@other.test")) else { panic!("not relayed") };
    assert_eq!(accepted.routed.address, a("x@other.test@hub.test"));
    let login = Client { authenticated: true, ..Client::stranger(&config) };
    assert_eq!(kind(&decide(&login, &a("u@other.test"))), "relay");
    let other = Verdict { allow: true, env: vec![("X".into(), String::new())] };
    assert_eq!(kind(&decide(&Client { rules: Some(&other), ..Client::stranger(&config) }, &a("u@other.test"))), "denied");
}

#[test]
fn percenthack_does_not_open_the_relay() {
    let mut config = listed(&["local.test"]);
    config.percenthack.insert(b"local.test".to_vec());
    assert_eq!(stranger(&config, "victim%other.test@local.test"), "denied");
    assert_eq!(stranger(&config, "joe%local.test@local.test"), "local");
}

#[test]
fn tricky_forms_are_judged_by_the_last_host() {
    let config = listed(&["local.test"]);
    for address in [
        "u@local.test@other.test",
        "\"u@local.test\"@other.test",
        "u@other.test%local.test@other.test",
        "u!local.test@other.test",
        "u@local.test.",
        "u@.local.test",
        "u@",
    ] {
        assert_eq!(stranger(&config, address), "denied", "{address}");
    }
    assert_eq!(stranger(&config, "u@other.test@local.test"), "local");
}

#[test]
fn own_literal() {
    let config = Config { localiphost: "local.test".into(), ..listed(&["local.test"]) };
    let own = ["192.0.2.1".parse().unwrap()];
    let client = Client { own_addresses: &own, ..Client::stranger(&config) };
    assert_eq!(kind(&decide(&client, &a("u@[192.0.2.1]"))), "local");
    assert_eq!(kind(&decide(&client, &a("u@[192.0.2.9]"))), "denied");
}

#[test]
fn badmailfrom() {
    let mut config = config();
    config.badmailfrom.extend([b"spam@x.test".to_vec(), b"@bad.test".to_vec()]);
    for (sender, bad) in [
        ("Spam@X.test", true),
        ("other@x.test", false),
        ("u@BAD.test", true),
        ("u@sub.bad.test", false),
        ("", false),
        ("#@[]", false),
        ("bad.test", false),
    ] {
        assert_eq!(sender_is_bad(&config, &ReversePath::from_bytes(sender.as_bytes()).unwrap()), bad, "{sender}");
    }
}
