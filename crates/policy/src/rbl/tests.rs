//! Tests of the block list rules: names, answers, allow lists first, scores, texts.

use super::*;
use proptest::prelude::*;

const THRESHOLDS: Thresholds = Thresholds { refuse: 10, defer: 5 };

fn lists(text: &str) -> Vec<List> {
    postino_control::rbl::parse(text.as_bytes()).unwrap()
}

fn listed(answer: &str) -> Finding {
    Finding::Listed { answers: vec![answer.parse().unwrap()], text: None }
}

fn refused(text: &str, findings: &[Finding]) -> Option<(Refusal, usize)> {
    match decide(&lists(text), findings, THRESHOLDS) {
        Decision::Pass => None,
        Decision::Refuse { how, by } => Some((how, by)),
    }
}

#[test]
fn rblsmtpd() {
    assert_eq!(ordered(""), Ordered::AskNobody);
    assert_eq!(ordered("-"), Ordered::Refuse { how: Refusal::ForGood, text: "" });
    assert_eq!(ordered("-go away"), Ordered::Refuse { how: Refusal::ForGood, text: "go away" });
    assert_eq!(ordered("later"), Ordered::Refuse { how: Refusal::ForNow, text: "later" });
}

#[test]
fn names() {
    let name = |ip: &str| address_name(ip.parse().unwrap(), "bl.test");
    assert_eq!(name("192.0.2.99"), "99.2.0.192.bl.test");
    assert_eq!(name("::ffff:192.0.2.99"), "99.2.0.192.bl.test");
    // The example of RFC 5782 2.4.
    assert_eq!(name("2001:db8:1:2:3:4:567:89ab"), "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.test");
    assert_eq!(domain_name("Example.ORG.", "d.test").as_deref(), Some("example.org.d.test"));
    for none in ["localhost", "[192.0.2.1]", "192.0.2.1", "", "a..b", "a b.test", &"x.".repeat(130)] {
        assert_eq!(domain_name(none, "d.test"), None, "{none}");
    }
    let tests = |line: &str| test_names(&lists(line)[0]);
    assert_eq!(tests("bl.test"), ("1.0.0.127.bl.test".into(), Some("2.0.0.127.bl.test".into())));
    assert_eq!(tests("d.test sender"), ("invalid.d.test".into(), Some("test.d.test".into())));
    assert_eq!(tests("w.test allow").1, None);
}

#[test]
fn answers_that_are_none() {
    let read = |answer: &str| read(&["127.0.0.2".parse().unwrap(), answer.parse().unwrap()]);
    assert!(matches!(read("127.0.0.4"), Reading::Listed(answers) if answers.len() == 2));
    for broken in ["127.255.255.254", "127.255.255.252", "127.0.0.1", "203.0.113.5"] {
        assert!(matches!(read(broken), Reading::Broken(why) if why.contains(broken)), "{broken}");
    }
}

#[test]
fn lists_decide_by_themselves() {
    let text = "soft.test\nhard.test 553\nsome.test 553 127.0.0.4";
    let no = Finding::NotListed;
    assert_eq!(refused(text, &[no.clone(), no.clone(), no.clone()]), None);
    assert_eq!(refused(text, &[listed("127.0.0.2"), no.clone(), no.clone()]), Some((Refusal::ForNow, 0)));
    assert_eq!(refused(text, &[listed("127.0.0.2"), listed("127.0.0.2"), no.clone()]), Some((Refusal::ForGood, 1)));
    assert_eq!(refused(text, &[no.clone(), no.clone(), listed("127.0.0.2")]), None, "another answer than the chosen one");
    assert_eq!(refused(text, &[Finding::NoAnswer, Finding::LeftOut("x".into()), no]), None, "no answer is not a listing");
}

#[test]
fn an_allow_list_comes_first() {
    let text = "hard.test 553\nscore.test score=50\nwhite.test allow";
    let (hit, no) = (listed("127.0.0.2"), Finding::NotListed);
    assert_eq!(refused(text, &[hit.clone(), hit.clone(), hit.clone()]), None);
    assert_eq!(refused(text, &[hit.clone(), no.clone(), no.clone()]), Some((Refusal::ForGood, 0)));
    assert_eq!(refused(text, &[hit.clone(), no.clone(), Finding::NoAnswer]), Some((Refusal::ForNow, 0)), "it might have known better");
    assert_eq!(refused(text, &[hit, no, Finding::LeftOut("dead".into())]), Some((Refusal::ForGood, 0)));
}

#[test]
fn scores_are_summed() {
    let text = "a.test score=4\nb.test 127.0.0.2=3 127.0.0.4=8\nc.test score=-5";
    let no = Finding::NotListed;
    let both = Finding::Listed { answers: vec!["127.0.0.2".parse().unwrap(), "127.0.0.4".parse().unwrap()], text: None };
    assert_eq!(refused(text, &[listed("127.0.0.2"), no.clone(), no.clone()]), None, "4 of 5");
    assert_eq!(refused(text, &[listed("127.0.0.2"), listed("127.0.0.2"), no.clone()]), Some((Refusal::ForNow, 0)), "7");
    assert_eq!(refused(text, &[listed("127.0.0.2"), both.clone(), no]), Some((Refusal::ForGood, 1)), "12; the heavier answer counts");
    assert_eq!(refused(text, &[listed("127.0.0.2"), both, listed("127.0.0.2")]), Some((Refusal::ForNow, 1)), "7");
    assert_eq!(decide(&lists("a.test score=9"), &[listed("127.0.0.2")], Thresholds { refuse: 10, defer: 0 }), Decision::Pass);
}

#[test]
fn texts() {
    let ip = "192.0.2.7".parse().unwrap();
    let told = |line: &str, own: Option<&str>| {
        let finding = Finding::Listed { answers: Vec::new(), text: own.map(str::to_owned) };
        text(&lists(line)[0], &finding, "sorry, %WHAT% is listed by %LIST%", ip, "x.test")
    };
    assert_eq!(told("bl.test", None), "sorry, x.test is listed by bl.test");
    assert_eq!(told("bl.test", Some("see %IP%")), "see %IP%", "a foreign text is no template");
    assert_eq!(told("bl.test: no %IP% %TXT%", Some("a %LIST%")), "no 192.0.2.7 a %LIST%");
}

#[test]
fn exceptions() {
    let except = ["postmaster".to_owned(), "abuse@Example.test".to_owned()];
    let is = |a: &str| is_excepted(&except, &Address::from_bytes(a.as_bytes()).unwrap());
    assert!(is("PostMaster@any.test") && is("abuse@example.test"));
    assert!(!is("abuse@other.test") && !is("joe@example.test"));
}

proptest! {
    /// Whatever is listed where: an allow list that names the client lets it in, and one listing more of a list that blocks never helps.
    #[test]
    fn allow_wins_and_listings_only_harm(hits in proptest::collection::vec(any::<bool>(), 4), white in any::<bool>()) {
        let text = "a.test\nb.test 553\nc.test score=6\nd.test score=7\nw.test allow";
        let findings = |hits: &[bool], white: bool| -> Vec<Finding> {
            hits.iter().chain([&white]).map(|hit| if *hit { listed("127.0.0.2") } else { Finding::NotListed }).collect()
        };
        let now = refused(text, &findings(&hits, white));
        if white {
            prop_assert_eq!(now, None);
        }
        for more in 0..hits.len() {
            let mut worse = hits.clone();
            worse[more] = true;
            prop_assert!(refused(text, &findings(&worse, white)).map(|r| r.0) >= now.map(|r| r.0));
        }
    }

    /// An address's name leads back to the address.
    #[test]
    fn v6_names_are_reversible(bits in any::<u128>()) {
        let ip = std::net::Ipv6Addr::from(bits);
        prop_assume!(ip.to_ipv4_mapped().is_none());
        let name = address_name(IpAddr::V6(ip), "x");
        let digits: String = name.strip_suffix("x").unwrap().split('.').rev().collect();
        prop_assert_eq!(u128::from_str_radix(&digits, 16).unwrap(), bits);
    }
}
