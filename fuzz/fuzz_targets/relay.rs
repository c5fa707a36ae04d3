//! No spelling of a recipient makes an open relay: a stranger's recipient is taken only when the host that it is delivered to is ours.
#![no_main]

use postino_control::Config;
use postino_policy::relay::{self, Client, RcptDecision};
use postino_policy::route::route;
use postino_smtp::path;
use postino_types::Channel;
use std::sync::LazyLock;

static CONFIG: LazyLock<Config> = LazyLock::new(|| {
    let mut config = Config { me: "mx.test".into(), envnoathost: "mx.test".into(), localiphost: "mx.test".into(), ..Config::default() };
    config.locals.insert(b"mx.test".to_vec());
    config.percenthack.insert(b"mx.test".to_vec());
    config.virtualdomains.insert(b"v.test".to_vec(), b"v.test".to_vec());
    config.virtualdomains.insert(b".sub.test".to_vec(), b"alias-sub".to_vec());
    config.virtualdomains.insert(b"out.v.test".to_vec(), Vec::new());
    config.rcpthosts = Some([&b"mx.test"[..], b"v.test", b".sub.test", b"backup.test"].into_iter().map(<[u8]>::to_vec).collect());
    config
});

fn ours(host: &[u8]) -> bool {
    let host = host.to_ascii_lowercase();
    matches!(host.as_slice(), b"mx.test" | b"v.test" | b"backup.test") || host.ends_with(b".sub.test")
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let Ok((recipient, _)) = path::forward_path(input) else { return };
    let client = Client::stranger(&CONFIG);
    match relay::decide(&client, &recipient) {
        RcptDecision::Denied | RcptDecision::Trouble(_) => {}
        RcptDecision::Local(accepted) => {
            assert_eq!(accepted.routed.channel, Channel::Local);
            assert!(ours(accepted.address.host().unwrap_or_default()), "{recipient:?}");
        }
        RcptDecision::Relay(accepted) => {
            assert_eq!(accepted.routed.channel, Channel::Remote);
            assert!(ours(accepted.routed.address.host().unwrap_or_default()), "{recipient:?} goes to {:?}", accepted.routed.address);
        }
    }
    // Routing is stable: what was routed once and is routed again stays on its channel.
    let routed = route(&CONFIG, &recipient);
    if routed.channel == Channel::Remote {
        assert_eq!(route(&CONFIG, &routed.address), routed);
    }
});
