//! Tests of the address rules: text, ranges, order of lookup, compiled form.

use super::*;

fn rules(text: &str) -> Rules {
    Rules::parse(text.as_bytes()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The key that decides.
fn key(rules: &Rules, address: &str, host: Option<&str>, info: Option<&str>) -> Option<String> {
    rules.find(ip(address), host, info).map(|(k, _)| String::from_utf8(k).unwrap())
}

#[test]
fn lookup_order_is_that_of_tcpserver() {
    let mut lines = vec!["joe@1.2.3.4", "joe@=h.ex.test", "1.2.3.4", "=h.ex.test", "1.2.3.", "1.2.", "1.", "=.ex.test", "=.test", "=", ""];
    while !lines.is_empty() {
        let text: String = lines.iter().rev().map(|l| format!("{l}:allow\n")).collect();
        let first = lines.remove(0);
        assert_eq!(key(&rules(&text), "1.2.3.4", Some("h.Ex.test"), Some("joe")).as_deref(), Some(first));
    }
    assert_eq!(key(&rules("=:deny\n"), "1.2.3.4", None, None), None);
    assert_eq!(rules("9.:deny\n").lookup(ip("1.2.3.4"), None, None), None);
}

#[test]
fn instructions() {
    let r = rules("127.:allow,RELAYCLIENT=\"\",X=/a b/\n1.:deny,Y='z'\n# c\nno colon\n\n:allow  \n");
    let v = r.lookup(ip("127.0.0.1"), None, None).unwrap();
    assert!(v.allow);
    assert_eq!(v.env, [("RELAYCLIENT".to_owned(), String::new()), ("X".to_owned(), "a b".to_owned())]);
    assert_eq!(v.variable("RELAYCLIENT"), Some(""));
    assert!(!r.lookup(ip("1.9.9.9"), None, None).unwrap().allow);
    assert!(r.lookup(ip("2.9.9.9"), None, None).unwrap().allow);
    for bad in ["1.:alow", "1.:allow,X", "1.:allow,X=\"a", "1.:allow X=\"a\"", "1.:", "1-x.:allow", "[::1:allow,[x]:deny"] {
        let text = format!(":allow\n{bad}\n");
        assert_eq!(Rules::parse(text.as_bytes()).unwrap_err().line, 2, "{bad}");
    }
}

#[test]
fn blanks_belong_to_the_address() {
    let r = rules(" 1.2.3.4:deny\n:allow\n");
    assert!(r.lookup(ip("1.2.3.4"), None, None).unwrap().allow);
}

#[test]
fn ranges() {
    let r = rules("1.2.3.37-53:deny\n10.2-3.:deny\n7.5-3.:deny\n8.250-300.:deny\n=a-b.test:deny\n");
    assert_eq!(r.len(), 17 + 2 + 6 + 1);
    for (address, denied) in [
        ("1.2.3.37", true),
        ("1.2.3.53", true),
        ("1.2.3.36", false),
        ("1.2.3.54", false),
        ("10.3.1.1", true),
        ("10.4.1.1", false),
        ("7.4.1.1", false),
        ("8.255.0.1", true),
    ] {
        assert_eq!(r.lookup(ip(address), None, None).is_some_and(|v| !v.allow), denied, "{address}");
    }
    assert!(!r.lookup(ip("1.1.1.1"), Some("a-b.test"), None).unwrap().allow);
}

#[test]
fn compiled_form() {
    let r = rules("1.:allow\n2.:deny\n3.:allow,A=\"1\",B=\"\"\n");
    let cdb = r.to_cdb().unwrap();
    let records = Cdb::new(&cdb).unwrap().records().unwrap();
    let want: Vec<(Vec<u8>, Vec<u8>)> =
        vec![(b"1.".to_vec(), vec![]), (b"2.".to_vec(), b"D\0".to_vec()), (b"3.".to_vec(), b"+A=1\0+B=\0".to_vec())];
    assert_eq!(records, want);
    let again = Rules::from_cdb(&Cdb::new(&cdb).unwrap()).unwrap();
    assert_eq!(again.lookup(ip("3.1.1.1"), None, None), r.lookup(ip("3.1.1.1"), None, None));
    assert!(!again.lookup(ip("2.1.1.1"), None, None).unwrap().allow);
}

#[test]
fn ipv6() {
    let r = rules(
        "127.:allow,RELAYCLIENT=\"\"\n[2001:DB8:0::1]:allow,A=\"1\"\n[2001:db8::5]/32:deny\n[2001:db8:1::]/48:allow,B=\"2\"\n:allow,C=\"3\"\n",
    );
    let variable = |address: &str| r.lookup(ip(address), None, None).map(|v| (v.allow, v.env.first().map(|e| e.0.clone())));
    assert_eq!(variable("2001:db8::1"), Some((true, Some("A".into()))));
    assert_eq!(variable("2001:db8::2"), Some((false, None)));
    assert_eq!(variable("2001:db8:1::2"), Some((true, Some("B".into()))));
    assert_eq!(variable("2001:db9::2"), Some((true, Some("C".into()))));
    assert_eq!(variable("::1"), Some((true, Some("RELAYCLIENT".into()))));
    assert_eq!(variable("::ffff:127.0.0.1"), Some((true, Some("RELAYCLIENT".into()))));
}

#[test]
fn the_first_of_equal_keys_wins() {
    assert!(!rules("1.:deny\n1.:allow\n").lookup(ip("1.1.1.1"), None, None).unwrap().allow);
}

mod all_three_ways {
    use super::*;
    use proptest::prelude::*;

    fn address() -> impl Strategy<Value = String> {
        let number = 0u8..4;
        prop_oneof![
            Just(String::new()),
            Just("=".to_owned()),
            (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a}.{b}.")),
            (number.clone(), number.clone()).prop_map(|(a, b)| format!("1.2.{a}-{b}.")),
            (number.clone(), number.clone()).prop_map(|(a, b)| format!("1.2.{a}.{b}")),
            (0u8..129).prop_map(|bits| format!("[2001:db8::1]/{bits}")),
            number.prop_map(|n| format!("=.h{n}.test")),
        ]
    }

    proptest! {
        /// Text in memory, cdb in memory and cdb on disk say the same about everybody.
        #[test]
        fn agree(addresses in proptest::collection::vec((address(), any::<bool>()), 0..20), a in 0u8..4, b in 0u8..4, v6 in any::<bool>()) {
            let lines: String = addresses.iter().map(|(at, deny)| format!("{at}:{}\n", if *deny { "deny" } else { "allow,A=\"1\"" })).collect();
            let r = rules(&lines);
            let cdb = r.to_cdb().unwrap();
            let cdb = Cdb::new(&cdb).unwrap();
            let client = if v6 { ip("2001:db8::1") } else { ip(&format!("1.2.{a}.{b}")) };
            let host = format!("x.h{a}.test");
            for host in [None, Some(host.as_str())] {
                let said = r.find(client, host, None);
                prop_assert_eq!(&Rules::from_cdb(&cdb).unwrap().find(client, host, None), &said);
                prop_assert_eq!(find_in(&cdb, client, host, None).unwrap(), said);
            }
            // A name that is not needed changes nothing.
            if !r.needs_host(client) {
                prop_assert_eq!(r.lookup(client, Some(&host), None), r.lookup(client, None, None));
            }
        }
    }
}
