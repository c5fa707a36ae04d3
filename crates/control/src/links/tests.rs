//! Tests of control/links: which link a host has, hours over midnight and the week's end, lines that say nothing clear.

use super::*;
use proptest::prelude::*;

fn table(text: &str) -> LinkTable {
    LinkTable::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn the_whole_host_then_suffixes_then_everything() {
    let table = table(
        "# ours\nnight far.test,.far.test 10.0.0.1:26 22:00-06:00/mon-fri lifetime=2d\n\
         cust\tcust.test - etrn=192.0.2.7,10.1.0.0/16,joe@cust.test\nppp * [::1]:587 manual connections=3\n",
    );
    let name = |host: &str| table.of_host(host.as_bytes()).map(|link| link.name.to_string()).unwrap_or_default();
    assert_eq!(name("FAR.test."), "night");
    assert_eq!(name("x.far.test"), "night");
    assert_eq!(name("cust.test"), "cust");
    assert_eq!(name("x.cust.test"), "ppp");
    let night = table.named("night").unwrap();
    assert_eq!(night.server, Some(SmtpRoute { relay: "10.0.0.1".into(), port: 26, auth: None }));
    assert_eq!((night.lifetime_s, night.connections), (172_800, 1));
    assert_eq!(table.named("cust").unwrap().server, None);
    assert_eq!(table.named("ppp").unwrap().server.as_ref().map(|s| s.port), Some(587));
    assert!(LinkTable::default().of_host(b"far.test").is_none());
}

#[test]
fn who_may_ask() {
    let table = table("a a.test - etrn=192.0.2.7,10.1.0.0/16,2001:db8::/32,Joe@a.test,login:ann\n");
    let etrn = &table.named("a").unwrap().etrn;
    let may = |ip: &str, login| etrn.hold(ip.parse().unwrap(), login);
    assert!(may("192.0.2.7", None) && may("::ffff:192.0.2.7", None) && may("10.1.255.1", None) && may("2001:db8:1::1", None));
    assert!(!may("192.0.2.8", None) && !may("10.2.0.1", None) && !may("2001:db9::1", None));
    assert!(may("203.0.113.1", Some("joe@A.test")) && may("203.0.113.1", Some("Ann")) && !may("203.0.113.1", Some("bob")));
    assert!(Askers::default().is_empty() && !Askers::default().hold("10.1.0.1".parse().unwrap(), Some("")));
}

#[test]
fn hours() {
    let at = |day: u32, hour: u32, minute: u32| (day * 24 + hour) * 60 + minute;
    let night = Hours::parse("22:00-06:00/mon-fri").unwrap();
    assert!(night.hold(at(0, 22, 0)) && night.hold(at(1, 5, 59)) && night.hold(at(5, 5, 59)));
    assert!(!night.hold(at(0, 5, 59)) && !night.hold(at(1, 6, 0)) && !night.hold(at(5, 22, 0)));
    assert_eq!(night.until(at(0, 21, 30)), Some(30));
    assert_eq!(night.until(at(5, 6, 0)), Some(2 * 24 * 60 + 16 * 60));
    let sunday = Hours::parse("23:00-01:00/sun").unwrap();
    assert!(sunday.hold(at(6, 23, 30)) && sunday.hold(at(0, 0, 30)) && !sunday.hold(at(0, 1, 0)));
    assert!(Hours::parse("00:00-24:00").unwrap().hold(at(3, 12, 0)));
    assert!(Hours::parse("12:00-13:00/sat+sun").unwrap().hold(at(6, 12, 59)));
    for bad in ["", "12:00", "12:00-13", "24:00-01:00", "12:60-13:00", "1:00-2:00", "12:00-13:00/foo", "25:00-26:00"] {
        assert!(Hours::parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn lines_that_say_nothing_clear_are_told() {
    for (text, want) in [
        ("ppp *\n", "1: is not: NAME"),
        ("ppp * relay\n", "1: does not say when"),
        ("#\np/p * - manual\n", "2: begins with"),
        ("p * - manual\np a.test - manual\n", "2: names the link p again"),
        ("p a.test - manual\nq A.test - manual\n", "2: names a.test, which"),
        ("p a.test relay:x manual\n", "no port number"),
        ("p a,,b - manual\n", "neither a host"),
        ("p a - sometimes\n", "neither manual nor"),
        ("p a - atrn=10.0.0.1\n", "cannot be"),
        ("p a - etrn=10.0.0.0/33\n", "cannot be"),
        ("p a - lifetime=1\n", "cannot be"),
        ("p a - colour=red\n", "known are"),
    ] {
        let told: String = LinkTable::parse(text.as_bytes()).unwrap_err().into_iter().map(|(n, e)| format!("{n}: {e}\n")).collect();
        assert!(told.contains(want), "{text:?}: {told}");
    }
}

proptest! {
    #[test]
    fn no_file_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[a-z*.,:/=0-9 \n-]{0,80}") {
        let _ = LinkTable::parse(&bytes);
        let _ = LinkTable::parse(text.as_bytes());
    }

    /// What `until` promises comes true, and not a minute sooner.
    #[test]
    fn until_is_when_they_hold(from in 0u32..1440, to in 0u32..1440, minute in 0u32..10080) {
        let text = format!("{:02}:{:02}-{:02}:{:02}/tue+sat", from / 60, from % 60, to / 60, to % 60);
        let hours = Hours::parse(&text).unwrap();
        let wait = hours.until(minute).unwrap();
        prop_assert!(hours.hold(minute + wait));
        prop_assert!((0..wait).all(|w| !hours.hold(minute + w)));
    }
}
