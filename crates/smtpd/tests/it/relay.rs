//! docs/attacks.md, 24 to 26, 36: nobody relays through us without login or RELAYCLIENT, however the address is spelled; unknown
//! recipients are refused at RCPT.

use crate::house::{House, config};
use postino_control::Config;
use postino_control::tcprules::Rules;

/// Recipients elsewhere, in every disguise.
const FORMS: [&str; 48] = [
    "a@evil.test",
    "a@EVIL.test",
    "\"a\"@evil.test",
    "\"a@evil.test\"@evil.test",
    "a@example.test@evil.test",
    "a@evil.test@example.test",
    "\"a@evil.test\"@example.test",
    "\"a@evil.test\"",
    "a%evil.test@example.test",
    "a%evil.test@evil.test",
    "a%evil.test",
    "\"a%evil.test\"@example.test",
    "evil.test!a@example.test",
    "evil.test!a",
    "@example.test:a@evil.test",
    "@example.test,@mx.example.test:a@evil.test",
    "@evil.test:a@evil.test",
    "@example.test:a%evil.test@example.test",
    "@example.test:\"a@evil.test\"@example.test",
    "@example.test@evil.test:a",
    "a@[203.0.113.9]",
    "a@[IPv6:2001:db8::9]",
    "a@[IPv6:::ffff:203.0.113.9]",
    "a@203.0.113.9",
    "a@[evil.test]",
    "a@evil.test.",
    "a@example.test.",
    "a@.example.test",
    "a@example.test.evil.test",
    "a@notexample.test",
    "a@sub.example.test",
    "a@example",
    "a@",
    "@evil.test",
    "a@evil.test:25",
    "a@evil.test;example.test",
    "a@evil.test,b@example.test",
    "a@evil.test b@example.test",
    "<a@evil.test",
    "a@evil.test>@example.test",
    "a\\@evil.test@example.test",
    "\"a\\@evil.test\"@example.test",
    "\"a@evil.test>\"@example.test",
    "\"\"@evil.test",
    "a@evil.test\0@example.test",
    "a@xn--evil-.test",
    "a@backup.test%evil.test",
    "|id@evil.test",
];

fn open_limits(config: &mut Config) {
    config.server.limits.errors_max = 1000;
    config.server.limits.unknown_recipients_max = 1000;
}

async fn all_refused(house: &House, why: &str) {
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<user1@example.test>", "250").await;
    for form in FORMS {
        let reply = client.say(&format!("RCPT TO:<{form}>"), "5").await;
        assert!(reply.starts_with("55") || reply.starts_with("501") || reply.starts_with("500"), "{why}: {form}: {reply}");
    }
    client.say("DATA", "554").await;
}

#[tokio::test]
async fn strangers_never_relay() {
    all_refused(&House::with(open_limits), "rcpthosts").await;
    let no_file = |c: &mut Config| {
        open_limits(c);
        c.rcpthosts = None;
    };
    all_refused(&House::with(no_file), "no rcpthosts file").await;
    let percent = |c: &mut Config| {
        open_limits(c);
        c.percenthack = [b"example.test".to_vec()].into();
    };
    all_refused(&House::with(percent), "percenthack").await;
    let dialup = |c: &mut Config| {
        open_limits(c);
        c.rcpthosts = None;
        c.virtualdomains.insert(Vec::new(), b"alias-ppp".to_vec());
    };
    all_refused(&House::with(dialup), "empty virtualdomains key").await;
}

#[tokio::test]
async fn a_local_name_in_a_claim_proves_nothing() {
    let house = House::new();
    let mut client = house.connect().await;
    client.say("EHLO mx.example.test", "250").await;
    client.say("MAIL FROM:<postmaster@example.test> AUTH=user1@example.test", "250").await;
    client.say("RCPT TO:<a@evil.test>", "550 5.7.1").await;
}

#[tokio::test]
async fn a_backup_host_passes_no_routes_on() {
    let house = House::new();
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<>", "250").await;
    client.say("RCPT TO:<a@backup.test>", "250").await;
    for form in ["a%evil.test@backup.test", "\"a@evil.test\"@backup.test", "evil.test!a@backup.test"] {
        client.say(&format!("RCPT TO:<{form}>"), "550 5.7.1").await;
    }
}

#[tokio::test]
async fn relayclient_relays_and_appends() {
    let rules = |text: &str| Rules::parse(text.as_bytes()).unwrap();
    let house = House::with(|c| c.tcprules = rules("192.0.2.:allow,RELAYCLIENT=\"\"\n"));
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@b.test>", "250").await;
    client.say("RCPT TO:<x@other.test>", "250").await;
    client.say("RCPT TO:<nobody@example.test>", "550 5.1.1").await;
    let house = House::with(|c| c.tcprules = rules("192.0.2.:allow,RELAYCLIENT=\"@hub.test\"\n"));
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@b.test>", "250").await;
    client.say("RCPT TO:<x@other.test>", "250").await;
    client.say("DATA", "354").await;
    client.send("\r\n.\r\n").await;
    client.reply().await;
    assert_eq!(house.last(|m| m.recipients()), ["x@other.test@hub.test"]);
    let house = House::with(|c| c.tcprules = rules("192.0.2.77:deny\n"));
    let mut client = house.pipe(postino_control::resolved::ListenerKind::Smtp, 100);
    assert_eq!(client.rest().await, Vec::<String>::new(), "a denied client hears nothing");
}

#[tokio::test]
async fn recipients_here() {
    let house = House::new();
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<>", "250").await;
    for (to, want) in [
        ("user1@example.test", "250 2.1.5"),
        ("USER1@EXAMPLE.TEST", "250"),
        ("user1+tag@example.test", "250"),
        ("\"user2\"@example.test", "250"),
        ("@relay.test:user2@example.test", "250"),
        ("user1@virt.test", "250"),
        ("user1@[192.0.2.1]", "250"),
        ("Postmaster", "250"),
        ("postmaster@example.test", "250"),
        ("nobody@example.test", "550 5.1.1"),
        ("nobody@virt.test", "550 5.1.1"),
        ("locked@example.test", "550 5.2.1"),
        ("broken@example.test", "451 4.3.0"),
        ("user1", "501 5.1.3"),
        ("user1@[192.0.2.2]", "550 5.7.1"),
    ] {
        client.say(&format!("RCPT TO:<{to}>"), want).await;
    }
    client.say("DATA", "354").await;
    client.send(".\r\n").await;
    client.reply().await;
    assert!(house.last(|m| m.recipients()).contains(&"virt-user1@virt.test".to_owned()));
    assert!(house.last(|m| m.recipients()).contains(&"Postmaster@mx.example.test".to_owned()));
    assert_eq!(house.told("Warning").len(), 1, "the operator hears of the broken lookup");
}

#[tokio::test]
async fn badmailfrom_is_told_at_rcpt() {
    let house = House::with(|c| c.badmailfrom = [b"spam@bad.test".to_vec(), b"@worse.test".to_vec()].into());
    let mut client = house.greeted().await;
    for (from, want) in
        [("SPAM@bad.test", "553 5.7.1"), ("x@worse.test", "553"), ("x@bad.test", "250"), ("x@sub.worse.test", "250"), ("", "250")]
    {
        client.say(&format!("MAIL FROM:<{from}>"), "250").await;
        client.say("RCPT TO:<user1@example.test>", want).await;
        client.say("RSET", "250").await;
    }
    assert!(config().badmailfrom.is_empty());
}

#[tokio::test]
async fn a_full_mailbox_is_refused_at_rcpt_as_the_setting_says() {
    use postino_control::vpopmail::OverQuota;
    for (setting, want) in [(OverQuota::Reject, "552 5.2.2"), (OverQuota::Defer, "452 4.2.2"), (OverQuota::Bounce, "250")] {
        let house = House::with(|config| config.vpopmail.over_quota = setting);
        let mut client = house.greeted().await;
        client.say("MAIL FROM:<a@b.test> SIZE=1001", "250").await;
        client.say("RCPT TO:<small@example.test>", want).await;
        client.say("RCPT TO:<user1@example.test>", "250").await;
        client.say("RSET", "250").await;
        client.say("MAIL FROM:<a@b.test> SIZE=1000", "250").await;
        client.say("RCPT TO:<small@example.test>", "250").await;
    }
}
