//! Tests of the address parser: what it takes, what it refuses, and that printing and parsing are inverse.

use super::*;
use proptest::prelude::*;

fn forward(text: &str) -> Result<String, PathError> {
    forward_path(text.as_bytes()).map(|(a, rest)| {
        assert!(rest.is_empty(), "rest of {text}");
        String::from_utf8(a.as_bytes().to_vec()).unwrap()
    })
}

#[test]
fn takes_what_rfc_5321_writes() {
    for (path, want) in [
        ("<joe@x.test>", "joe@x.test"),
        ("<Joe.Doe+tag@X.Test>", "Joe.Doe+tag@X.Test"),
        ("<\"joe\"@x.test>", "joe@x.test"),
        ("<\"j o\\\"e@\\\\\"@x.test>", "j o\"e@\\@x.test"),
        ("<\"\"@x.test>", "@x.test"),
        ("<@a.test,@b.test:joe@x.test>", "joe@x.test"),
        ("<joe@[192.0.2.1]>", "joe@[192.0.2.1]"),
        ("<joe@[IPv6:2001:db8::1]>", "joe@[IPv6:2001:db8::1]"),
        ("<joe@my_host.test>", "joe@my_host.test"),
        ("<postmaster>", "postmaster"),
        ("<PostMaster>", "PostMaster"),
        ("<joe@localhost>", "joe@localhost"),
        ("<почта@пример.test>", "почта@пример.test"),
        ("<a!b%c@x.test>", "a!b%c@x.test"),
    ] {
        assert_eq!(forward(path).as_deref(), Ok(want), "{path}");
    }
}

#[test]
fn refuses_the_rest() {
    use PathError::*;
    for (path, want) in [
        ("joe@x.test", Syntax),
        ("<joe@x.test", Syntax),
        ("<>", Syntax),
        ("<joe>", NoHost),
        ("<\"joe@evil.test\">", NoHost),
        ("<joe@>", Host),
        ("<@x.test>", Syntax),
        ("<joe@x.test.>", Host),
        ("<joe@.x.test>", Host),
        ("<joe@x..test>", Host),
        ("<joe@-x.test>", Host),
        ("<joe@x-.test>", Host),
        ("<joe@x.test@y.test>", Syntax),
        ("<joe@a@b>", Syntax),
        ("<.joe@x.test>", Syntax),
        ("<joe.@x.test>", Syntax),
        ("<j..e@x.test>", Syntax),
        ("<j e@x.test>", Syntax),
        ("<j(e@x.test>", Syntax),
        ("<j\\e@x.test>", Syntax),
        ("<\"joe@x.test>", Syntax),
        ("<\"jo\te\"@x.test>", Syntax),
        ("<joe@x.test\0>", Syntax),
        ("<joe\0@x.test>", Syntax),
        ("<\"a\0b\"@x.test>", Syntax),
        ("<joe@[1.2.3]>", Host),
        ("<joe@[1.2.3.4>", Host),
        ("<joe@[IPv6:::ffff:1.2.3.4.5]>", Host),
        ("<joe@[tag:x]>", Host),
        ("<joe@[]>", Host),
        ("<@a.test joe@x.test>", Syntax),
        ("<@a.test,joe@x.test>", Syntax),
        ("<joe\u{85}@x.test>", Utf8),
        ("<joe@x\u{9f}.test>", Utf8),
    ] {
        assert_eq!(forward(path), Err(want), "{path:?}");
    }
    assert_eq!(forward_path(b"<j\xffe@x.test>").map(|_| ()), Err(PathError::Utf8));
    assert_eq!(forward_path(b"<j\xc0\x80e@x.test>").map(|_| ()), Err(PathError::Utf8), "overlong NUL");
    assert_eq!(forward_path(b"<\"j\\\xffe\"@x.test>").map(|_| ()), Err(PathError::Syntax));
}

#[test]
fn limits() {
    let long = |n: usize, host: &str| format!("<{}@{host}>", "l".repeat(n));
    let host_255 = [["d".repeat(63).as_str(); 4].join(".")].concat();
    assert_eq!(host_255.len(), 255);
    assert!(forward(&long(64, &host_255)).is_ok());
    assert!(forward(&long(LOCAL_BYTES_MAX, "x.test")).is_ok());
    assert_eq!(forward(&long(LOCAL_BYTES_MAX + 1, "x.test")), Err(PathError::TooLong));
    assert_eq!(forward(&format!("<a@{}>", [host_255.as_str(), "d"].join("."))), Err(PathError::TooLong));
    assert_eq!(forward(&format!("<a@{}.test>", "d".repeat(64))), Err(PathError::Host));
    let route = vec!["@a.test"; 33].join(",");
    assert_eq!(forward(&format!("<{route}:a@x.test>")), Err(PathError::TooLong));
}

#[test]
fn senders() {
    let path = |text: &'static str| reverse_path(text.as_bytes()).map(|(p, rest)| (p, rest.len()));
    assert_eq!(path("<> SIZE=1"), Ok((ReversePath::Null, 7)));
    assert_eq!(path("<#@[]>"), Ok((ReversePath::DoubleBounce, 0)));
    assert_eq!(path("<joe>"), Err(PathError::NoHost));
    assert_eq!(path("<postmaster>"), Err(PathError::NoHost));
    assert_eq!(path("< >"), Err(PathError::Syntax));
    assert_eq!(path("<a-@b-@[]>"), Err(PathError::Host));
}

fn local_part() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z0-9!#$%&'*+/=?^_`{|}~.-]{1,40}", "[ -~]{0,40}", "[ -~äßλЖ日]{1,12}"]
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]([a-z0-9_-]{0,10}[a-z0-9])?(\\.[a-z]{1,8}){0,3}",
        "(ä|x){1,5}\\.test",
        any::<[u8; 4]>().prop_map(|b| format!("[{}]", std::net::Ipv4Addr::from(b))),
        any::<[u8; 16]>().prop_map(|b| format!("[IPv6:{}]", std::net::Ipv6Addr::from(b))),
    ]
}

proptest! {
    #[test]
    fn parse_reads_back_what_print_wrote(local in local_part(), host in host()) {
        let address = Address::from_parts(local.as_bytes(), host.as_bytes()).unwrap();
        let mut wire = b"<".to_vec();
        wire.extend(address.to_quoted(true));
        wire.extend(b"> REST");
        let (back, rest) = forward_path(&wire).unwrap();
        prop_assert_eq!(back.as_bytes(), address.as_bytes());
        prop_assert_eq!(rest, b" REST");
        prop_assert_eq!(mailbox(&address.to_quoted(true)).unwrap(), address);
    }

    #[test]
    fn nothing_panics_and_all_that_passes_is_clean(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut wire = b"<".to_vec();
        wire.extend(&bytes);
        if let Ok((address, _)) = forward_path(&wire) {
            prop_assert!(address.as_bytes().iter().all(|&b| b >= 32 && b != 127));
            let host = address.host().unwrap_or(b"x");
            prop_assert!(is_host(host));
        }
        let _ = (reverse_path(&bytes), mailbox(&bytes), is_host(&bytes));
    }
}
