//! The bounce texts that qmail-send writes, byte for byte.

use crate::dsn::{Action, Kind, Notice, Reported, qsbmf};
use postino_types::{Address, PermStatus, ReversePath, Time};

fn address(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}

fn reported<'a>(address: &'a Address, text: &'a str) -> Reported<'a> {
    Reported {
        address,
        original: None,
        action: Action::Failed,
        status: PermStatus::SYSTEM.enhanced(),
        text: text.as_bytes(),
        last_attempt: None,
    }
}

fn notice<'a>(kind: Kind, to: &'a Address, sender: &'a ReversePath, recipients: &'a [Reported<'a>]) -> Notice<'a> {
    Notice { kind, now: Time::from_secs(1_795_486_507), bouncefrom: "MAILER-DAEMON", bouncehost: "oracle.test", to, sender, recipients }
}

#[test]
fn two_recipients_and_a_report_of_many_lines() {
    let (to, alice, nouser) = (address("oqbob@oracle.test"), address("oqalice@oracle.test"), address("nouser@oracle.test"));
    let sender = ReversePath::Address(to.clone());
    let recipients = [reported(&alice, "line one\n\n\nline two\n"), reported(&nouser, "Sorry, no mailbox here by that name. (#5.1.1)\n")];
    let text = String::from_utf8(qsbmf::opening(&notice(Kind::Failure, &to, &sender, &recipients))).unwrap();
    assert_eq!(
        text,
        "Date: 24 Nov 2026 02:15:07 -0000\nFrom: MAILER-DAEMON@oracle.test\nTo: oqbob@oracle.test\nSubject: failure notice\n\n\
         Hi. This is the qmail-send program at oracle.test.\n\
         I'm afraid I wasn't able to deliver your message to the following addresses.\n\
         This is a permanent error; I've given up. Sorry it didn't work out.\n\n\
         <oqalice@oracle.test>:\nline one\n//line two\n\n\
         <nouser@oracle.test>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n\
         --- Below this line is a copy of the message.\n\n\
         Return-Path: <oqbob@oracle.test>\n"
    );
}

#[test]
fn double_bounce() {
    let (to, nouser) = (address("postmaster@oracle.test"), address("nouser@oracle.test"));
    let recipients = [reported(&nouser, "Sorry, no mailbox here by that name. (#5.1.1)\n")];
    let text = String::from_utf8(qsbmf::opening(&notice(Kind::DoubleBounce, &to, &ReversePath::Null, &recipients))).unwrap();
    assert!(text.ends_with(
        "Subject: failure notice\n\n\
         Hi. This is the qmail-send program at oracle.test.\n\
         I tried to deliver a bounce message to this address, but the bounce bounced!\n\n\
         <nouser@oracle.test>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n\
         --- Below this line is the original bounce.\n\n\
         Return-Path: <>\n"
    ));
}

#[test]
fn no_address_and_no_report_makes_a_paragraph_of_its_own() {
    let (to, bad) = (address("a b@x"), address("a>:\n\n<b@x"));
    let sender = ReversePath::Address(to.clone());
    for report in ["", "x", "x\n\n\n", "\n\n", "a\n\nb"] {
        let recipients = [reported(&bad, report)];
        let text = String::from_utf8(qsbmf::opening(&notice(Kind::Failure, &to, &sender, &recipients))).unwrap();
        assert!(text.contains("\nTo: \"a b\"@x\n"));
        let body = text.split_once("\n\n").unwrap().1;
        // Opening, one recipient, break line, the original's Return-Path.
        assert_eq!(body.split("\n\n").count(), 4, "{report:?}: {body}");
    }
}

#[test]
fn no_address_makes_a_field_of_its_own() {
    let (to, user) = (address("x\rBcc: victim@x"), address("u@x"));
    let recipients = [reported(&user, "")];
    let text = qsbmf::opening(&notice(Kind::Failure, &to, &ReversePath::Address(to.clone()), &recipients));
    assert!(!text.contains(&b'\r'), "{:?}", String::from_utf8_lossy(&text));
}
