//! Bounces, notices, forwards.

use super::house::*;
use bytes::Bytes;
use postino_control::resolved::BounceFormat;
use postino_policy::make_recipient;
use postino_ports::queue::NewEntry;
use postino_types::outcome::Forward;
use postino_types::*;
use std::time::Duration;

const NO_BOX: &str = "Sorry, no mailbox here by that name. (#5.1.1)\n";

/// Local parts beginning with `no` fail, with `wait` are deferred, the rest is delivered.
fn mixed(r: &Recipient) -> (Duration, DeliveryOutcome) {
    let local = r.routed.address.local();
    let outcome = if local.windows(2).any(|w| w == b"no") {
        DeliveryOutcome::failed(PermStatus::NO_MAILBOX, NO_BOX)
    } else if local.starts_with(b"wait") {
        DeliveryOutcome::deferred(TempStatus::new(2, 2), "full\n")
    } else {
        DeliveryOutcome::delivered("did 1+0+0\n")
    };
    (Duration::ZERO, outcome)
}

fn house(format: BounceFormat) -> House {
    let mut config = config();
    config.bounceformat = format;
    let house = House::open(config);
    house.local.plays(mixed);
    house.remote.plays(mixed);
    house
}

fn wish(house: &House, to: &str, notify: Notify) -> Recipient {
    Recipient { notify, ..make_recipient(&house.config.get(), &address(to)) }
}

fn notify(success: bool, failure: bool, delay: bool) -> Notify {
    Notify { explicit: true, success, failure, delay }
}

fn without_dates(text: &str) -> String {
    let date = postino_message::qmail_date(BIRTH);
    text.replace(&date, "<DATE>").replace(&std::process::id().to_string(), "<PID>")
}

#[tokio::test(start_paused = true)]
async fn qsbmf_to_the_letter() {
    let house = house(BounceFormat::Qsbmf);
    house.send("oqbob@oracle.test", &["nouser@oracle.test"]);
    house.pass(0).await;
    let (entry, text) = &house.made()[0];
    assert_eq!(entry.envelope.sender, ReversePath::Null);
    assert_eq!(entry.envelope.recipients[0].routed, Routed { channel: Channel::Local, address: address("oqbob@oracle.test") });
    assert_eq!(
        without_dates(text),
        "Received: (qmail <PID> invoked for bounce); <DATE>\nDate: <DATE>\nFrom: MAILER-DAEMON@oracle.test\nTo: oqbob@oracle.test\nSubject: failure notice\n\nHi. This is the qmail-send program at oracle.test.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<nouser@oracle.test>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n--- Below this line is a copy of the message.\n\nReturn-Path: <oqbob@oracle.test>\nReceived: (qmail 1 invoked by uid 1001); now\nSubject: t\n\nbody line\n"
    );
}

#[tokio::test(start_paused = true)]
async fn double_and_triple_bounces() {
    let house = house(BounceFormat::Qsbmf);
    house.send("", &["nouser@oracle.test"]);
    house.pass(1).await;
    let (entry, text) = &house.made()[0];
    assert_eq!(entry.envelope.sender, ReversePath::DoubleBounce);
    assert_eq!(entry.envelope.recipients[0].address, address("postmaster@oracle.test"));
    assert!(text.contains("\n--- Below this line is the original bounce.\n\nReturn-Path: <>\n"));
    house.send("#@[]", &["nouser@oracle.test"]);
    house.pass(1).await;
    assert_eq!(house.made().len(), 1);
    let lines = house.lines();
    let at = lines.iter().position(|l| l == "triple bounce: discarding bounce/3").unwrap();
    assert_eq!(lines[at + 1], "end msg 3");
}

#[tokio::test(start_paused = true)]
async fn a_bounce_that_bounces_ends_with_the_postmaster() {
    let house = house(BounceFormat::Both);
    house.send("nosender@oracle.test", &["nouser@oracle.test"]);
    house.pass(1).await;
    let senders: Vec<_> = house.made().iter().map(|(e, _)| e.envelope.sender.clone()).collect();
    assert_eq!(senders, [ReversePath::Null, ReversePath::DoubleBounce]);
    assert_eq!(house.queue.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn verp_senders_and_virtual_prefixes_are_undone() {
    let mut config = config();
    config.bounceformat = BounceFormat::Qsbmf;
    config.virtualdomains.insert(b"virt.test".to_vec(), b"alice-nofile".to_vec());
    let house = House::open(config);
    house.local.plays(mixed);
    house.send("list-owner-@oracle.test-@[]", &["joe@virt.test"]);
    house.pass(1).await;
    let (entry, text) = &house.made()[0];
    assert_eq!(entry.envelope.recipients[0].address, address("list-owner-@oracle.test"));
    assert!(text.contains("\n<joe@virt.test>:\n") && text.contains("\nReturn-Path: <list-owner-@oracle.test>\n"));
}

#[tokio::test(start_paused = true)]
async fn failures_are_told_at_the_end_of_their_pass_and_once() {
    let house = house(BounceFormat::Both);
    house.send("s@oracle.test", &["no1@oracle.test", "wait@oracle.test", "no2@oracle.test"]);
    house.pass(5).await;
    assert_eq!(house.made().len(), 1, "one bounce, and not only when the last recipient is done");
    let text = house.made()[0].1.clone();
    assert!(text.contains("\n<no1@oracle.test>:\n") && text.contains("\n<no2@oracle.test>:\n") && !text.contains("wait@"));
    house.local.plays(|r| match r.address.local() {
        b"s" => mixed(r),
        _ => (Duration::ZERO, DeliveryOutcome::failed(PermStatus::NO_MAILBOX, "gone\n")),
    });
    house.pass(3_000).await;
    let second = house.made().into_iter().filter(|(_, t)| t.contains("<wait@oracle.test>:")).collect::<Vec<_>>();
    assert_eq!(second.len(), 1);
    assert!(!second[0].1.contains("no1@oracle.test"));
}

#[tokio::test(start_paused = true)]
async fn notify_and_its_combinations() {
    let house = house(BounceFormat::Both);
    let cases = [
        ("no1@oracle.test", Notify::NEVER, None),
        ("no2@oracle.test", notify(true, false, true), None),
        ("no3@oracle.test", notify(false, true, false), Some("failed")),
        ("ok1@oracle.test", notify(true, false, false), Some("delivered")),
        ("ok2@oracle.test", notify(false, true, false), None),
        ("ok3@oracle.test", Notify::NEVER, None),
    ];
    for (to, wishes, _) in &cases {
        house.send_to("s@oracle.test", vec![wish(&house, to, *wishes)], |_| {});
    }
    house.pass(1).await;
    let made = house.made();
    for (to, _, action) in cases {
        let told: Vec<_> = made.iter().filter(|(_, t)| t.contains(&format!("Final-Recipient: rfc822; {to}\n"))).collect();
        assert_eq!(told.len(), usize::from(action.is_some()), "{to}");
        if let Some(action) = action {
            assert!(told[0].1.contains(&format!("\nAction: {action}\n")), "{to}");
        }
    }
    assert!(made.iter().all(|(e, _)| e.envelope.sender == ReversePath::Null));
}

#[tokio::test(start_paused = true)]
async fn success_at_other_hosts_is_told_only_where_they_will_not() {
    let house = house(BounceFormat::Both);
    for relayed in [true, false] {
        house.remote.always(DeliveryOutcome::Delivered { detail: "x accepted message.\n".into(), forwards: Vec::new(), relayed });
        house.send_to("s@oracle.test", vec![wish(&house, "joe@far.test", notify(true, true, false))], |_| {});
        house.pass(1).await;
    }
    assert_eq!(house.made().len(), 1);
    let text = &house.made()[0].1;
    assert!(
        text.contains("\nAction: relayed\nStatus: 2.0.0\n")
            && text.contains("Subject: delivery notice")
            && text.contains("text/rfc822-headers")
    );
    assert!(!text.contains("body line"));
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_told_once_after_four_hours_when_asked_for() {
    let house = house(BounceFormat::Both);
    house.send_to("s@oracle.test", vec![wish(&house, "wait1@oracle.test", notify(false, true, true))], |_| {});
    house.send("s@oracle.test", &["wait2@oracle.test"]);
    house.pass(4 * 3600 - 1).await;
    assert_eq!(house.made().len(), 0);
    house.pass(100_000).await;
    let made = house.made();
    assert_eq!(made.len(), 1);
    assert!(made[0].1.contains("\nAction: delayed\nStatus: 4.2.2\n") && made[0].1.contains("\nWill-Retry-Until: "));
    assert!(made[0].1.contains("Final-Recipient: rfc822; wait1@oracle.test\n"));
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_told_for_a_host_that_is_dead() {
    let house = house(BounceFormat::Both);
    house.remote.always(DeliveryOutcome::deferred(TempStatus::NO_ANSWER, "no answer (#4.4.1)\n"));
    for n in 0..100 {
        house.send_to("s@oracle.test", vec![wish(&house, &format!("u{n}@dead.test"), notify(false, true, true))], |_| {});
    }
    house.pass(6 * 3600).await;
    assert_eq!(house.made().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn ret_envid_and_orcpt_are_honoured() {
    let house = house(BounceFormat::Both);
    for (ret, whole) in [(Ret::Headers, false), (Ret::Full, true), (Ret::Unset, true)] {
        let mut to = wish(&house, "nouser@oracle.test", Notify::default());
        to.original = Some(Orcpt { kind: "rfc822".into(), address: b"first@y.test".to_vec() });
        house.send_to("s@oracle.test", vec![to], |e| e.envelope.dsn = DsnWish { ret, envid: Some(b"ID 7".to_vec()) });
        house.pass(1).await;
        let text = house.made().pop().unwrap().1;
        assert!(text.contains("\nOriginal-Envelope-Id: ID 7\n") && text.contains("\nOriginal-Recipient: rfc822; first@y.test\n"));
        assert_eq!(text.contains("body line"), whole, "{ret:?}");
        assert!(text.contains("\nSubject: t\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn large_originals() {
    for (format, whole) in [(BounceFormat::Qsbmf, true), (BounceFormat::Both, false)] {
        let house = house(format);
        let body = Bytes::from(["Subject: big\n\n".to_owned(), "0123456789abcdef\n".repeat(20_000), "the end\n".into()].concat());
        let envelope = Envelope {
            sender: ReversePath::Address(address("s@oracle.test")),
            recipients: vec![make_recipient(&house.config.get(), &address("nouser@oracle.test"))],
            body: BodyKind::SevenBit,
            utf8: false,
            dsn: DsnWish::default(),
            require_tls: false,
        };
        house.queue.add(
            NewEntry {
                envelope,
                origin: Origin::Local { uid: 1 },
                prepend: Bytes::new(),
                arrived: BIRTH,
                expires: BIRTH.plus_secs(604_800),
            },
            body.clone(),
        );
        house.pass(1).await;
        let text = house.made()[0].1.clone();
        assert_eq!(text.ends_with(std::str::from_utf8(&body).unwrap()), whole, "{format:?}");
        assert!(text.contains("\nSubject: big\n"));
        assert!(whole || text.len() < 4000);
    }
}

fn forward(sender: &str, to: &str, config: &postino_control::Config) -> Forward {
    Forward {
        sender: ReversePath::from_bytes(sender.as_bytes()).unwrap(),
        recipients: vec![make_recipient(config, &address(to))],
        prepend: b"Delivered-To: joe@oracle.test\n".to_vec(),
        uid: 42,
    }
}

#[tokio::test(start_paused = true)]
async fn forwards_are_queued_in_the_commit_that_marks_the_recipient_done() {
    let house = house(BounceFormat::Both);
    let onward = forward("s@oracle.test", "ann@far.test", &house.config.get());
    house.local.always(DeliveryOutcome::Delivered { detail: "did 0+1+0\n".into(), forwards: vec![onward], relayed: false });
    let id = house.send("s@oracle.test", &["joe@oracle.test"]);
    house.pass(1).await;
    let (entry, text) = &house.made()[0];
    assert_eq!(entry.origin, Origin::Forward { of: id, uid: 42 });
    assert_eq!(entry.expires, BIRTH.plus_secs(604_800));
    assert_eq!(
        without_dates(text),
        "Received: (qmail <PID> invoked by uid 42); <DATE>\nDelivered-To: joe@oracle.test\nReceived: (qmail 1 invoked by uid 1001); now\nSubject: t\n\nbody line\n"
    );
    let lines = house.lines();
    let end = lines.iter().position(|l| l == "end msg 1").unwrap();
    assert!(lines[end + 1].starts_with("info msg 2:"));
    assert_eq!((house.remote.times(QueueId(2)).len(), house.queue.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_loop_of_forwards_ends_with_a_bounce() {
    let mut config = config();
    config.server.limits.hops_max = 20;
    let house = House::open(config);
    let onward = forward("s@far.test", "joe@oracle.test", &house.config.get());
    house.local.always(DeliveryOutcome::Delivered { detail: "".into(), forwards: vec![onward], relayed: false });
    house.send("s@far.test", &["joe@oracle.test"]);
    house.pass(60).await;
    let made = house.made();
    let bounce = &made.last().unwrap().1;
    assert!(bounce.contains("too many hops, this message is looping (#5.4.6)") && bounce.contains("\nStatus: 5.4.6\n"));
    assert!(made.len() < 20);
    assert_eq!(house.queue.len(), 0);
}

/// Row 60 of docs/attacks.md: nobody who writes a reply or a message can name the boundary of the notice that will hold it.
#[tokio::test(start_paused = true)]
async fn row_60_boundaries_are_never_the_same() {
    let house = house(BounceFormat::Both);
    for _ in 0..4 {
        house.send("joe@x.test", &["nouser@oracle.test"]);
        house.pass(0).await;
    }
    let boundary = |text: &str| text.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned);
    let all: std::collections::HashSet<String> = house.made().iter().filter_map(|(_, text)| boundary(text)).collect();
    assert_eq!(all.len(), 4, "{all:?}");
    assert!(all.iter().all(|b| b.len() == 32));
}
