//! What goes into the queue beside the body: Received, envelope, origin.

use crate::house::{House, NOW};
use postino_control::resolved::ListenerKind;
use postino_types::{BodyKind, Origin, Ret, ReversePath};

#[tokio::test]
async fn received_line() {
    let house = House::new();
    let mut client = house.connect().await;
    client.say("HELO b\u{e9}d(name", "250").await;
    assert!(client.deliver("Subject: x\r\n\r\n..dot\r\n").await.starts_with("250 2.0.0 ok 1795486507 qp 4001\r\n"));
    let trace = house.last(|m| m.prepend());
    let expected = "Received: from unknown (HELO b??d?name) (192.0.2.77)\n  by mx.example.test with SMTP id ";
    assert!(trace.starts_with(expected), "{trace}");
    assert!(trace.ends_with(".7.0 for <user1@example.test>; 24 Nov 2026 02:15:07 -0000\n"), "{trace}");
    assert_eq!(house.last(|m| m.text()), "Subject: x\n\n.dot\n");
    assert!(house.last(
        |m| m.entry.origin == Origin::Smtp(postino_types::PeerInfo { ip: "192.0.2.77".into(), helo: "b??d(name".into(), login: None })
    ));
    assert!(house.last(|m| m.entry.arrived == NOW && m.entry.expires == NOW.plus_secs(604_800)));
}

#[tokio::test]
async fn envelope_wishes() {
    let house = House::new();
    let mut client = house.pipe(ListenerKind::Submissions, 4096);
    client.reply().await;
    client.say("EHLO c", "250").await;
    client.say("AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABwdw==", "235").await;
    client.say("MAIL FROM:<\u{e9}@example.test> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=q+201", "250").await;
    client.say("RCPT TO:<far@away.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;far@orig.test", "250").await;
    client.say("RCPT TO:<user2@example.test> NOTIFY=NEVER", "250").await;
    client.send("BDAT 4 LAST\r\nhi\r\n").await;
    assert!(client.reply().await.starts_with("250"));
    house.last(|m| {
        let envelope = &m.entry.envelope;
        assert_eq!(envelope.sender.as_bytes(), "\u{e9}@example.test".as_bytes());
        assert_eq!((envelope.utf8, envelope.body, envelope.dsn.ret), (true, BodyKind::EightBit, Ret::Headers));
        assert_eq!(envelope.dsn.envid.as_deref(), Some(&b"q 1"[..]));
        let [far, near] = envelope.recipients.as_slice() else { panic!() };
        assert!(far.notify.success && far.notify.failure && !far.notify.delay);
        assert_eq!(far.original.as_ref().unwrap().address, b"far@orig.test");
        assert!(near.notify.explicit && !near.notify.wants_failure());
        let Origin::Smtp(peer) = &m.entry.origin else { panic!() };
        assert_eq!(peer.login.as_deref(), Some("user1@example.test"));
        assert!(m.prepend().contains("with UTF8SMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384) id ") && !m.prepend().contains(" for <"));
    });
}

#[tokio::test]
async fn a_new_message_inherits_nothing() {
    let house = House::new();
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@b.test> RET=FULL ENVID=x", "250").await;
    client.say("RCPT TO:<user2@example.test>", "250").await;
    client.say("RSET", "250").await;
    assert!(client.deliver("\r\n").await.starts_with("250"));
    assert_eq!(house.last(|m| m.recipients()), ["user1@example.test"]);
    assert!(house.last(|m| m.entry.envelope.dsn.envid.is_none()));
    client.say("MAIL FROM:<>", "250").await;
    client.say("RCPT TO:<user2@example.test>", "250").await;
    client.say("RCPT TO:<user1@example.test>", "250").await;
    client.say("DATA", "354").await;
    client.send(".\r\n").await;
    client.reply().await;
    assert!(house.last(|m| m.entry.envelope.sender == ReversePath::Null && m.recipients().len() == 2));
}

#[tokio::test]
async fn an_account_may_be_kept_from_relaying() {
    let house = House::new();
    let mut client = house.pipe(ListenerKind::Submissions, 4096);
    client.reply().await;
    client.say("EHLO c", "250").await;
    client.say("AUTH PLAIN AG5vcmVsYXlAZXhhbXBsZS50ZXN0AHB3", "235").await;
    client.say("MAIL FROM:<norelay@example.test>", "250").await;
    client.say("RCPT TO:<far@away.test>", "550 5.7.1").await;
    client.say("RCPT TO:<user2@example.test>", "250").await;
}
