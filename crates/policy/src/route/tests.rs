//! Tests of routing: qmail's worked examples and properties.

use super::*;
use proptest::prelude::*;

pub(crate) fn config() -> Config {
    let mut config = Config { envnoathost: "envhost.test".into(), localiphost: "literal.test".into(), ..Config::default() };
    config.locals.insert(b"example.org".to_vec());
    for (key, prefix) in [
        ("virt.org", "joe-v"),
        (".virt.org", "joe-sub"),
        ("boss@virt.org", "ann"),
        ("gone@virt.org", ""),
        ("", "alias-ppp"),
        ("far.org", ""),
    ] {
        config.virtualdomains.insert(key.into(), prefix.into());
    }
    config
}

fn a(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}

#[test]
fn qmail_order() {
    let config = config();
    for (given, channel, routed) in [
        ("x@example.org", Channel::Local, "x@example.org"),
        ("x@EXAMPLE.org", Channel::Local, "x@EXAMPLE.org"),
        ("x@virt.org", Channel::Local, "joe-v-x@virt.org"),
        ("X@Virt.Org", Channel::Local, "joe-v-X@Virt.Org"),
        ("x@a.b.virt.org", Channel::Local, "joe-sub-x@a.b.virt.org"),
        ("boss@virt.org", Channel::Local, "ann-boss@virt.org"),
        ("Boss@virt.org", Channel::Local, "ann-Boss@virt.org"),
        ("gone@virt.org", Channel::Remote, "gone@virt.org"),
        ("y@far.org", Channel::Remote, "y@far.org"),
        ("y@other.net", Channel::Local, "alias-ppp-y@other.net"),
        ("y@sub.example.org", Channel::Local, "alias-ppp-y@sub.example.org"),
        ("plain", Channel::Local, "alias-ppp-plain@envhost.test"),
        ("", Channel::Local, "alias-ppp-@envhost.test"),
        ("a@b@virt.org", Channel::Local, "joe-v-a@b@virt.org"),
    ] {
        let got = route(&config, &a(given));
        assert_eq!((got.channel, got.address), (channel, a(routed)), "{given}");
    }
}

#[test]
fn locals_win_over_virtualdomains() {
    let mut config = config();
    config.locals.insert(b"virt.org".to_vec());
    assert_eq!(route(&config, &a("boss@virt.org")).address, a("boss@virt.org"));
}

#[test]
fn percenthack_loops() {
    let mut config = config();
    config.percenthack.extend([b"here.test".to_vec(), b"there.test".to_vec()]);
    assert_eq!(rewrite(&config, &a("u%x.test%there.test@HERE.test")), a("u@x.test"));
    assert_eq!(rewrite(&config, &a("u@here.test")), a("u@here.test"));
    assert_eq!(rewrite(&config, &a("u%x@other.test")), a("u%x@other.test"));
    assert_eq!(rewrite(&config, &a("%here.test%here.test%@here.test")), a("%here.test%here.test@"));
}

#[test]
fn bounces_lose_the_prefix() {
    let config = config();
    for (routed, shown) in [
        ("joe-v-x@virt.org", "x@virt.org"),
        ("joe-sub-x@a.virt.org", "x@a.virt.org"),
        ("joe-v-x@far.org", "joe-v-x@far.org"),
        ("ann-boss@virt.org", "ann-boss@virt.org"),
        ("alias-ppp-y@other.net", "y@other.net"),
        ("nohost", "nohost"),
        ("joe-vx@virt.org", "joe-vx@virt.org"),
    ] {
        assert_eq!(strip_virtual_prefix(&config, &a(routed)), a(shown));
    }
}

#[test]
fn literals() {
    let config = config();
    let own = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    for (given, want) in [
        ("u@[192.0.2.1]", "u@literal.test"),
        ("u@[IPv6:2001:DB8::1]", "u@literal.test"),
        ("u@[192.0.2.2]", "u@[192.0.2.2]"),
        ("u@192.0.2.1", "u@192.0.2.1"),
        ("u@[x]", "u@[x]"),
    ] {
        assert_eq!(replace_own_literal(&config, &a(given), &own), a(want));
    }
    assert_eq!(literal(b"[IPv6:1.2.3.4]"), None);
}

#[test]
fn the_longest_address_still_goes_to_its_domain() {
    let config = config();
    let long = Address::from_parts(&[b'x'; 993], b"virt.org").unwrap();
    let routed = route(&config, &long);
    assert_eq!(routed.channel, Channel::Local);
    assert!(routed.address.as_bytes().starts_with(b"joe-v-xxx") && routed.address.as_bytes().ends_with(b"xx@virt.org"));
}

#[test]
fn forwards_are_completed() {
    let recipient = make_recipient(&config(), &a("joe"));
    assert_eq!(recipient.address, a("joe@envhost.test"));
    assert_eq!(recipient.routed.address, a("alias-ppp-joe@envhost.test"));
}

proptest! {
    #[test]
    fn every_address_is_routed_and_stripping_inverts(bytes in proptest::collection::vec(1u8.., 0..80)) {
        let config = config();
        let address = Address::from_bytes(&bytes).unwrap();
        let shown = rewrite(&config, &address);
        let routed = route(&config, &address);
        prop_assert!(routed.address.host().is_some());
        if routed.channel == Channel::Local && !config.locals.contains(&shown.host_lower()) {
            prop_assert_eq!(strip_virtual_prefix(&config, &routed.address), shown);
        }
    }
}
