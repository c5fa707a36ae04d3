//! The report's structure as another program would read it.

use super::*;
use crate::dsn::Action;
use postino_types::{Orcpt, PermStatus, ReversePath};

fn address(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}

struct Given {
    to: Address,
    sender: ReversePath,
    failed: Address,
    orcpt: Orcpt,
    text: String,
}

fn given(failed: &str, text: &str) -> Given {
    Given {
        to: address("s@x.org"),
        sender: ReversePath::Address(address("s@x.org")),
        failed: address(failed),
        orcpt: Orcpt { kind: "rfc822".into(), address: b"first@y.org".to_vec() },
        text: text.into(),
    }
}

fn build(given: &Given, adjust: impl FnOnce(&mut Report<'_>), original: &str) -> String {
    let recipients = [Reported {
        address: &given.failed,
        original: Some(&given.orcpt),
        action: Action::Failed,
        status: PermStatus::NO_MAILBOX.enhanced(),
        text: given.text.as_bytes(),
        last_attempt: Some(Time::from_secs(60)),
    }];
    let notice = Notice {
        kind: Kind::Failure,
        now: Time::from_secs(3600),
        bouncefrom: "MAILER-DAEMON",
        bouncehost: "here.test",
        to: &given.to,
        sender: &given.sender,
        recipients: &recipients,
    };
    let mut report = Report {
        notice,
        reporting_mta: "here.test",
        message_id: "1.2@here.test",
        boundary: "b0undary",
        envid: Some(b"QQ 314\n159"),
        arrived: Time::from_secs(0),
        will_retry_until: None,
        family: Family::Classic,
        returned: Returned::Full,
        bits: Bits::Seven,
    };
    adjust(&mut report);
    let mut out = report.head();
    out.extend_from_slice(original.as_bytes());
    out.extend(report.tail());
    String::from_utf8(out).unwrap()
}

/// (Content-Type, body) of each part, split as RFC 2046 5.1.1 says.
fn parts(message: &str) -> Vec<(String, String)> {
    let (header, body) = message.split_once("\n\n").unwrap();
    let boundary = header.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let inside = body.split(&format!("\n--{boundary}--\n")).next().unwrap();
    inside
        .split(&format!("\n--{boundary}\n"))
        .skip(1)
        .map(|part| {
            let (header, body) = part.split_once("\n\n").unwrap();
            let content_type = header.lines().find_map(|l| l.strip_prefix("Content-Type: ")).unwrap();
            (content_type.to_owned(), body.to_owned())
        })
        .collect()
}

fn value<'a>(fields: &'a str, name: &str) -> Option<&'a str> {
    fields.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))
}

const REMOTE: &str = "127.0.0.1 does not like recipient.\nRemote host said: 550 5.1.1 no\nsuch user\nGiving up on 127.0.0.1.\n";

#[test]
fn three_parts_with_the_fields_of_rfc_3464() {
    let message = build(&given("u@far.org", REMOTE), |_| {}, "Subject: t\n\nbody\n");
    let header = message.split_once("\n\n").unwrap().0;
    let names: Vec<_> = header.lines().filter(|l| !l.starts_with('\t')).map(|l| l.split(':').next().unwrap()).collect();
    assert_eq!(names, ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]);
    assert!(header.contains("multipart/report; report-type=delivery-status;"));
    let parts = parts(&message);
    let types: Vec<_> = parts.iter().map(|p| p.0.as_str()).collect();
    assert_eq!(types, ["text/plain; charset=us-ascii", "message/delivery-status", "message/rfc822"]);
    assert!(parts[0].1.starts_with("Hi. This is the qmail-send program at here.test.\n"));
    assert!(parts[0].1.contains("\n\n<u@far.org>:\n127.0.0.1 does not like recipient.\n"));
    assert_eq!(parts[2].1, "Subject: t\n\nbody\n");
    let (message_fields, recipient) = parts[1].1.split_once("\n\n").unwrap();
    assert_eq!(value(message_fields, "Reporting-MTA"), Some("dns; here.test"));
    assert_eq!(value(message_fields, "Original-Envelope-Id"), Some("QQ 314?159"));
    assert_eq!(value(message_fields, "Arrival-Date"), Some("1 Jan 1970 00:00:00 -0000"));
    assert_eq!(value(recipient, "Original-Recipient"), Some("rfc822; first@y.org"));
    assert_eq!(value(recipient, "Final-Recipient"), Some("rfc822; u@far.org"));
    assert_eq!(value(recipient, "Action"), Some("failed"));
    assert_eq!(value(recipient, "Status"), Some("5.1.1"));
    assert_eq!(value(recipient, "Remote-MTA"), Some("dns; [127.0.0.1]"));
    assert_eq!(value(recipient, "Diagnostic-Code"), Some("smtp; 550 5.1.1 no such user"));
    assert_eq!(value(recipient, "Last-Attempt-Date"), Some("1 Jan 1970 00:01:00 -0000"));
}

#[test]
fn local_reports_have_our_own_diagnostic_type() {
    let message = build(&given("u@here.test", "no mailbox\nby that name (#5.1.1)\n"), |r| r.returned = Returned::Headers, "Subject: t\n");
    let parts = parts(&message);
    assert_eq!(parts[2].0, "text/rfc822-headers");
    assert_eq!(value(&parts[1].1, "Diagnostic-Code"), Some("x-postino; no mailbox by that name (#5.1.1)"));
    assert_eq!(value(&parts[1].1, "Remote-MTA"), None);
}

#[test]
fn internationalised_addresses() {
    let classic = build(&given("dé@x", "non"), |_| {}, "");
    assert_eq!(value(&parts(&classic)[1].1, "Final-Recipient"), Some("utf-8; d\\x{E9}@x"));
    assert!(classic.contains("charset=utf-8\nContent-Transfer-Encoding: 8bit\n"));
    let global = build(&given("dé@x", "non"), |r| r.family = Family::Global, "");
    let types: Vec<_> = parts(&global).into_iter().map(|p| p.0).collect();
    assert_eq!(types, ["text/plain; charset=utf-8", "message/global-delivery-status", "message/global"]);
    assert_eq!(value(&parts(&global)[1].1, "Final-Recipient"), Some("utf-8; dé@x"));
    assert!(global.contains("report-type=global-delivery-status"));
}

#[test]
fn outside_text_makes_no_field_no_part_and_no_long_line() {
    let evil = format!("Remote host said: 550 x\r\nBcc: a@b\n\n--other\n\x07\x1b[2J{}\n", "y".repeat(4000));
    let message = build(&given("a\nAction: delivered\n@x", &evil), |_| {}, "S: t\n\n");
    assert!(message.lines().all(|l| l.len() <= 998));
    assert!(!message.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')));
    let status = &parts(&message).into_iter().find(|p| p.0 == "message/delivery-status").unwrap().1;
    assert_eq!(status.lines().filter(|l| l.starts_with("Action:")).count(), 1);
    assert!(!status.lines().any(|l| l.starts_with("Bcc:")));
}

#[test]
fn status_in_a_report() {
    assert_eq!(status_in("Sorry. (#5.1.1)\n").map(|s| s.to_string()), Some("5.1.1".into()));
    assert_eq!(status_in("Sorry. (#nope)\n"), None);
    assert_eq!(status_in("x"), None);
}
