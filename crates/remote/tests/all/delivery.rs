//! Ordinary deliveries: what goes on the wire, and what each answer means.

use crate::house::*;
use bytes::Bytes;
use postino_control::resolved::SmtpRoute;
use postino_ports::body::Body;
use postino_ports::deliver::Deliver;
use postino_types::{DeliveryOutcome, Notify, Time};
use std::io::Write;
use std::sync::Arc;

#[tokio::test]
async fn one_message_two_recipients_one_transaction() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let outcomes = house.send(&["r1@far.test", "r2@FAR.test"]).await;
    assert_eq!(text(&outcomes[0]), "Kfalse 127.0.0.1 accepted message.\nRemote host said: 250 2.0.0 queued as 1\n");
    assert_eq!(outcomes[0], outcomes[1]);
    let size = "Received: by me\r\nSubject: t\r\n\r\nbody\r\n".len();
    assert_eq!(
        server.lines(),
        [
            "EHLO me.test",
            &format!("MAIL FROM:<s@a.test> SIZE={size}"),
            "RCPT TO:<r1@far.test>",
            "RCPT TO:<r2@FAR.test>",
            "DATA",
            "Received: by me\r\nSubject: t\r\n\r\nbody\r\n.\r\n"
        ]
    );
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    type Case = (&'static [(&'static str, &'static str)], &'static str);
    let cases: [Case; 15] = [
        (&[("GREET", "554 go away")], "Z4.4.0 Connected to 127.0.0.1 but greeting failed.\nRemote host said: 554 go away\n"),
        (&[("EHLO", "502 a"), ("HELO", "550 who")], "Z4.4.0 Connected to 127.0.0.1 but my name was rejected.\nRemote host said: 550 who\n"),
        (&[("MAIL", "550 5.7.1 no")], "D5.7.1 Connected to 127.0.0.1 but sender was rejected.\nRemote host said: 550 5.7.1 no\n"),
        (&[("MAIL", "450 later")], "Z4.0.0 Connected to 127.0.0.1 but sender was rejected.\nRemote host said: 450 later\n"),
        (
            &[("RCPT", "550 5.1.1 nope")],
            "D5.1.1 127.0.0.1 does not like recipient.\nRemote host said: 550 5.1.1 nope\nGiving up on 127.0.0.1.\n",
        ),
        (&[("RCPT", "450 4.2.0 x")], "Z4.2.0 127.0.0.1 does not like recipient.\nRemote host said: 450 4.2.0 x\nGiving up on 127.0.0.1.\n"),
        // The class in the text contradicts the code: the code wins, and the text's class is not believed.
        (&[("RCPT", "450 5.1.1 x")], "Z4.0.0 127.0.0.1 does not like recipient.\nRemote host said: 450 5.1.1 x\nGiving up on 127.0.0.1.\n"),
        (&[("DATA", "554 no")], "D5.0.0 127.0.0.1 failed on DATA command.\nRemote host said: 554 no\n"),
        (&[("DATA", "250 what")], "Z4.0.0 127.0.0.1 failed on DATA command.\nRemote host said: 250 what\n"),
        (
            &[(".", "554-line one\r\n554 line two")],
            "D5.0.0 127.0.0.1 failed after I sent the message.\nRemote host said: 554-line one\n554 line two\n",
        ),
        (&[(".", "452 4.3.1 full")], "Z4.3.1 127.0.0.1 failed after I sent the message.\nRemote host said: 452 4.3.1 full\n"),
        (&[(".", "CLOSE")], "Z4.4.2 Connected to 127.0.0.1 but connection died. Possible duplicate! (#4.4.2)\n"),
        (&[("RCPT", "CLOSE")], "Z4.4.2 Connected to 127.0.0.1 but connection died. (#4.4.2)\n"),
        (&[("MAIL", "CLOSE")], "Z4.4.2 Connected to 127.0.0.1 but connection died. (#4.4.2)\n"),
        (&[("EHLO", "502 old"), ("HELO", "250 hi")], "Ktrue 127.0.0.1 accepted message.\nRemote host said: 250 2.0.0 queued as 1\n"),
    ];
    for (odd, expected) in cases {
        let server = serve(friendly_but(odd)).await;
        let house = house(one_mx("127.0.0.1"), server.port, |_| {});
        assert_eq!(text(&house.send(&["r@far.test"]).await[0]), expected);
    }
}

#[tokio::test]
async fn refused_recipients_keep_their_refusal_when_the_connection_dies() {
    let server = serve(friendly_but(&[("RCPT TO:<bad", "550 5.1.1 no"), (".", "CLOSE")])).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let outcomes = house.send(&["bad@far.test", "good@far.test"]).await;
    assert!(text(&outcomes[0]).starts_with("D5.1.1 "));
    assert!(text(&outcomes[1]).contains("Possible duplicate!"));
}

#[tokio::test]
async fn large_bodies_from_memory_and_file_arrive_alike() {
    let mut stored = String::from("Subject: big\n\n");
    while stored.len() < 700_000 {
        stored.push_str("a line of text\n.dot line\n..\n.\n");
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"junk").unwrap();
    file.write_all(stored.as_bytes()).unwrap();
    file.write_all(b"junk").unwrap();
    let body = Body::File { file: Arc::new(file), start: 4, bytes: stored.len() as u64 };
    for body in [body, Body::Memory(Bytes::from(stored.clone()))] {
        let server = serve(friendly).await;
        let house = house(one_mx("127.0.0.1"), server.port, |_| {});
        let outcomes = house.remote.deliver(job(envelope("s@a.test", &["r@far.test"]), body)).await;
        assert!(matches!(outcomes[0], DeliveryOutcome::Delivered { .. }));
        let wire = server.lines().pop().unwrap();
        let expected = format!("Received: by me\n{stored}").replace("\n.", "\n..").replace('\n', "\r\n") + ".\r\n";
        assert!(wire == expected, "{} bytes came, {} were meant", wire.len(), expected.len());
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_never_ended_by_a_dot() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&b"x\n".repeat(200_000)).unwrap();
    let body = Body::File { file: Arc::new(file), start: 0, bytes: 500_000 };
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let outcomes = house.remote.deliver(job(envelope("s@a.test", &["r@far.test"]), body)).await;
    assert_eq!(text(&outcomes[0]), "Z4.3.0 Unable to read message. (#4.3.0)\n");
    assert_eq!(server.lines().last().unwrap(), "DATA");
}

#[tokio::test]
async fn verp_gives_each_recipient_its_sender_on_one_connection() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let job = job(envelope("l-owner-@a.test-@[]", &["x@far.test", "y@far.test"]), small("\n"));
    assert_eq!(house.remote.deliver(job).await.len(), 2);
    let mails: Vec<String> = server.lines().into_iter().filter(|l| l.starts_with("MAIL")).collect();
    assert!(mails[0].starts_with("MAIL FROM:<l-owner-x=far.test@a.test> "));
    assert!(mails[1].starts_with("MAIL FROM:<l-owner-y=far.test@a.test> "));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn impossible_addresses_never_reach_the_wire() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let outcomes = house.send(&["a\r\nRSET@far.test", "ok@far.test", "nohost"]).await;
    assert!(text(&outcomes[0]).starts_with("D5.1.3 "));
    assert!(text(&outcomes[1]).starts_with("Kfalse "));
    assert_eq!(text(&outcomes[2]), "D5.1.3 Sorry, address must include host name. (#5.1.3)\n");
    assert_eq!(server.lines().iter().filter(|l| l.starts_with("RCPT")).count(), 1);
    let outcomes = house.remote.deliver(job(envelope("s\n@a.test", &["ok@far.test"]), small("\n"))).await;
    assert!(text(&outcomes[0]).starts_with("D5.1.7 "));
}

#[tokio::test]
async fn eight_bit_and_utf8_needs() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    house.remote.deliver(job(envelope("s@a.test", &["r@far.test"]), small("Subject: t\n\n\u{e4}\n"))).await;
    let mut e = envelope("s@a.test", &["r@far.test"]);
    e.utf8 = true; // declared, but nothing needs it
    house.remote.deliver(job(e.clone(), small("Subject: t\n\nx\n"))).await;
    house.remote.deliver(job(e, small("Subject: \u{e4}\n\nx\n"))).await;
    house.remote.deliver(job(envelope("s@a.test", &["\u{fc}@far.test"]), small("\n"))).await;
    let mails: Vec<String> = server.lines().into_iter().filter(|l| l.starts_with("MAIL")).collect();
    let ends: Vec<&str> = mails.iter().map(|m| m.split_once(" SIZE=").unwrap().1.split_once(' ').map_or("", |x| x.1)).collect();
    assert_eq!(ends, ["BODY=8BITMIME", "", "BODY=8BITMIME SMTPUTF8", "BODY=8BITMIME SMTPUTF8"]);
}

#[tokio::test]
async fn utf8_need_and_a_host_without_it_is_permanent() {
    let server = serve(friendly_but(&[("EHLO", "250-x\r\n250 8BITMIME")])).await;
    let zone = one_mx("127.0.0.1").mx("xn--bcher-kva.test", &[(10, "mx.far.test")]);
    let house = house(zone, server.port, |_| {});
    let outcomes = house.send(&["\u{fc}@far.test"]).await;
    assert!(text(&outcomes[0]).starts_with("D5.6.7 "), "{}", text(&outcomes[0]));
    // A host in U-labels alone is no such need.
    let outcomes = house.send(&["r@b\u{fc}cher.test"]).await;
    assert!(text(&outcomes[0]).starts_with("Ktrue "));
    assert!(server.lines().contains(&"RCPT TO:<r@xn--bcher-kva.test>".to_owned()));
    assert_eq!(house.remote.destination(&envelope("", &["r@B\u{fc}cher.test"]).recipients[0]), "xn--bcher-kva.test");
}

#[tokio::test]
async fn larger_than_the_host_takes_is_not_sent() {
    let server = serve(friendly_but(&[("EHLO", "250-x\r\n250 SIZE 20")])).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    assert!(text(&house.send(&["r@far.test"]).await[0]).starts_with("D5.3.4 "));
    assert!(!server.lines().iter().any(|l| l.starts_with("MAIL")));
}

#[tokio::test]
async fn groups_follow_our_limit_and_the_hosts() {
    let server = serve(friendly_but(&[("EHLO", "250-x\r\n250-PIPELINING\r\n250 LIMITS RCPTMAX=2 MAILMAX=9")])).await;
    let house = house(one_mx("127.0.0.1"), server.port, |c| c.server.remote.recipients_max = 3);
    let outcomes = house.send(&["a@far.test", "b@far.test", "c@far.test", "d@far.test", "e@far.test"]).await;
    assert!(outcomes.iter().all(|o| matches!(o, DeliveryOutcome::Delivered { .. })));
    let shape: String =
        server.lines().iter().filter_map(|l| l.chars().next()).filter(|c| "MR".contains(*c)).filter(|c| *c != 'S').collect();
    assert_eq!(shape.replace("R", "r").matches('M').count(), 3);
    assert_eq!(server.lines().iter().filter(|l| l.starts_with("RCPT")).count(), 5);
}

#[tokio::test]
async fn smtproutes_go_without_dns() {
    let server = serve(friendly).await;
    let port = server.port;
    let house = house(Zone::default(), 1, |c| {
        c.server.remote.allow_loopback = false; // an artificial route may point at ourselves
        c.smtproutes.insert(b"".to_vec(), SmtpRoute { relay: "[127.0.0.1]".into(), port, auth: None });
    });
    assert!(matches!(house.send(&["r@any.test"]).await[0], DeliveryOutcome::Delivered { .. }));
    assert_eq!(house.remote.destination(&envelope("", &["r@any.test"]).recipients[0]), format!("[127.0.0.1]:{port}"));
}

#[tokio::test]
async fn our_own_mx_is_not_connected_to() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |c| c.server.remote.allow_loopback = false);
    assert_eq!(
        text(&house.send(&["r@far.test"]).await[0]),
        "D5.4.6 Sorry. Although I'm listed as a best-preference MX or A for that host,\n\
         it isn't in my control/locals file, so I don't treat it as local. (#5.4.6)\n"
    );
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_next_mx_when_the_first_is_dead_or_greets_badly() {
    let (tcp, port) = listener().await;
    drop(tcp);
    // 127.0.0.2 refuses (nobody listens on that address), 127.0.0.1 answers.
    let server = serve(friendly).await;
    let zone =
        || Zone::default().mx("far.test", &[(10, "dead.test"), (20, "good.test")]).a("dead.test", "127.0.0.2").a("good.test", "127.0.0.1");
    assert_ne!(port, server.port);
    let h = house(zone(), server.port, |_| {});
    assert!(matches!(h.send(&["r@far.test"]).await[0], DeliveryOutcome::Delivered { .. }));
    // The same address pair, but the first greets with 421.
    let busy = tokio::net::TcpListener::bind(("127.0.0.3", server.port)).await.unwrap();
    let task = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        let (mut tcp, _) = busy.accept().await.unwrap();
        tcp.write_all(b"421 too busy\r\n").await.unwrap();
    });
    let zone =
        Zone::default().mx("far.test", &[(10, "busy.test"), (20, "good.test")]).a("busy.test", "127.0.0.3").a("good.test", "127.0.0.1");
    let h = house(zone, server.port, |_| {});
    assert!(matches!(h.send(&["r@far.test"]).await[0], DeliveryOutcome::Delivered { .. }));
    task.await.unwrap();
}

#[tokio::test]
async fn dead_addresses_are_skipped_after_two_failures() {
    let port = dead_port().await;
    let house = house(one_mx("127.0.0.1"), port, |_| {});
    let expected = "Z4.4.1 Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n";
    for _ in 0..2 {
        let outcomes = house.send(&["r@far.test"]).await;
        assert_eq!(text(&outcomes[0]), expected);
        assert!(matches!(outcomes[0], DeliveryOutcome::Deferred { not_before: None, .. }));
        house.clock.advance(1);
    }
    // Somebody listens now, but the address rests.
    let listener = tokio::net::TcpListener::bind(on(port)).await.unwrap();
    let outcomes = house.send(&["r@far.test"]).await;
    assert_eq!(text(&outcomes[0]), expected);
    let DeliveryOutcome::Deferred { not_before: Some(Time(until)), .. } = outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(until, 1_700_000_000_000 + 11_000);
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut io = tokio::io::BufReader::new(tcp);
        tokio::io::AsyncWriteExt::write_all(io.get_mut(), b"220 x\r\n").await.unwrap();
        converse_on(&mut io, Seen::default(), Arc::new(friendly)).await;
    });
    house.clock.advance(10);
    assert!(matches!(house.send(&["r@far.test"]).await[0], DeliveryOutcome::Delivered { .. }));
    server.abort();
}

#[tokio::test]
async fn dsn_wishes_travel_and_a_host_without_dsn_is_told_apart() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let mut e = envelope("s@a.test", &["r@far.test"]);
    e.dsn.envid = Some(b"id 1".to_vec());
    e.recipients[0].notify = Notify { explicit: true, success: true, failure: false, delay: false };
    house.remote.deliver(job(e, small("\n"))).await;
    assert!(server.lines().contains(&"RCPT TO:<r@far.test> NOTIFY=SUCCESS".to_owned()));
    assert!(server.lines()[1].ends_with(" ENVID=id+201"));
}

#[tokio::test]
async fn requiretls_without_a_verified_host_is_refused() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let mut e = envelope("s@a.test", &["r@far.test"]);
    e.require_tls = true;
    assert!(text(&house.remote.deliver(job(e, small("\n"))).await[0]).starts_with("D5.7.30 "));
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn masquerade_changes_sender_and_header_and_nothing_else() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |config| {
        config.masquerade = postino_control::masquerade::Masquerade::parse(b"joe@a.test:j.doe@isp.test\n@a.test:@isp.test\n").unwrap();
    });
    let text = "From: Joe\n\t<joe@a.test> (joe@a.test)\nTo: ann@a.test\nDate: x\n\nFrom: joe@a.test\n";
    let mut file = tempfile::tempfile().unwrap();
    let long = format!("{text}{}", "x\n".repeat(400_000));
    file.write_all(long.as_bytes()).unwrap();
    let bodies = [(text.to_owned(), small(text)), (long.clone(), Body::File { file: Arc::new(file), start: 0, bytes: long.len() as u64 })];
    for (sent, body) in bodies {
        let outcomes = house.remote.deliver(job(envelope("joe@a.test", &["r@far.test"]), body)).await;
        assert!(matches!(outcomes[0], DeliveryOutcome::Delivered { .. }), "{outcomes:?}");
        let mut lines = server.lines();
        let want = format!("Received: by me\n{}.\n", sent.replacen("<joe@a.test>", "<j.doe@isp.test>", 1)).replace('\n', "\r\n");
        assert!(lines.pop().unwrap() == want, "another body");
        assert!(lines.iter().any(|line| line.starts_with("MAIL FROM:<j.doe@isp.test> ")), "{lines:?}");
    }
    // A bounce has no sender to hide, and its header goes the same way.
    house.remote.deliver(job(envelope("", &["r@far.test"]), small("From: MAILER-DAEMON@a.test\n\n"))).await;
    let lines = server.lines();
    assert!(lines.iter().any(|line| line.starts_with("MAIL FROM:<> ")));
    assert!(lines.last().unwrap().contains("From: MAILER-DAEMON@isp.test\r\n"));
}
