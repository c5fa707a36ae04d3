//! Limits of sessions: idle time, login throttle, shutdown, browsers. Time is tokio's paused clock: nothing waits for real.

use crate::house::House;
use postino_control::resolved::ListenerKind;
use std::time::Duration;

const WRONG: &str = "AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdAB4";

#[tokio::test(start_paused = true)]
async fn silence_ends_with_421() {
    let house = House::new();
    let mut client = house.greeted().await;
    let start = tokio::time::Instant::now();
    assert_eq!(client.rest().await, ["421 4.4.2 timeout\r\n"]);
    assert_eq!(start.elapsed().as_secs(), 300, "idle_before_login");
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@b.test>", "250").await;
    client.say("RCPT TO:<user1@example.test>", "250").await;
    client.say("DATA", "354").await;
    client.send("half a message\r\n").await;
    let start = tokio::time::Instant::now();
    assert_eq!(client.rest().await, ["421 4.4.2 timeout\r\n"]);
    assert_eq!(start.elapsed().as_secs(), 1200, "timeoutsmtpd");
    assert_eq!((house.count(), *house.queue.open.lock().unwrap()), (0, 0), "half a message leaves nothing");
}

#[tokio::test(start_paused = true)]
async fn drips_do_not_hold_a_place() {
    let house = House::new();
    let mut client = house.greeted().await;
    let start = tokio::time::Instant::now();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        client.send("x").await;
    }
    assert_eq!(client.rest().await, ["421 4.4.2 timeout\r\n"]);
    assert!(start.elapsed() < Duration::from_secs(410));
    assert_eq!(house.told("SessionEnded").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_passwords_cost_time() {
    let house = House::with(|c| c.server.limits.failed_logins_per_minute = 2);
    let mut client = house.pipe(ListenerKind::Submissions, 4096);
    client.reply().await;
    client.say("EHLO c", "250").await;
    let start = tokio::time::Instant::now();
    client.say(WRONG, "535 5.7.8").await;
    client.say(WRONG, "535 5.7.8").await;
    assert!(start.elapsed() <= Duration::from_millis(200), "the first ones cost no more than their distance: {:?}", start.elapsed());
    client.say(WRONG, "535 5.7.8").await;
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(house.told("Login").len(), 3);
}

#[tokio::test]
async fn the_directory_away_is_temporary() {
    let house = House::new();
    let mut client = house.pipe(ListenerKind::Submissions, 4096);
    client.reply().await;
    client.say("EHLO c", "250").await;
    client.say("AUTH PLAIN AGF3YXkAeA==", "454 4.7.0").await;
    assert_eq!((house.told("Warning").len(), house.told("Login").len()), (1, 0));
}

#[tokio::test]
async fn shutdown_between_commands_and_after_a_message() {
    let house = House::new();
    let mut idle = house.greeted().await;
    let mut busy = house.greeted().await;
    busy.say("MAIL FROM:<a@b.test>", "250").await;
    busy.say("RCPT TO:<user1@example.test>", "250").await;
    busy.say("DATA", "354").await;
    house.stop.send(true).unwrap();
    assert_eq!(idle.rest().await, ["421 4.3.2 service shutting down\r\n"]);
    busy.send("all of it\r\n.\r\n").await;
    let replies = busy.rest().await;
    assert!(replies[0].starts_with("250 2.0.0 ok") && replies[1].starts_with("421 4.3.2"), "{replies:?}");
    assert_eq!(house.count(), 1);
}

#[tokio::test]
async fn a_browser_is_shown_out() {
    let house = House::new();
    let mut client = house.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: mx\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<user1@example.test>\r\n").await;
    assert_eq!(client.rest().await.len(), 1);
}

#[tokio::test]
async fn a_large_message_is_streamed_and_a_too_large_one_is_dropped() {
    let house = House::with(|c| c.databytes = 3_000_000);
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@b.test> SIZE=3000001", "552 5.3.4").await;
    let line = format!("{}\r\n", "x".repeat(998));
    let reply = client.deliver(&line.repeat(3000)).await;
    assert!(reply.starts_with("250"), "{reply}");
    assert_eq!(house.last(|m| m.body.len()), 2_997_000, "LF line ends are counted");
    let reply = client.deliver(&line.repeat(3004)).await;
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let reply = client.deliver(&format!("{}\r\n", "y".repeat(2_000_000))).await;
    assert!(reply.starts_with("250"), "one line of 2 MB: {reply}");
    assert_eq!((house.count(), *house.queue.open.lock().unwrap()), (2, 0));
}

#[tokio::test]
async fn early_talkers_are_served_in_order() {
    let house = House::new();
    let mut client = house.pipe(ListenerKind::Smtp, 4096);
    client.send("EHLO c\r\nNOOP\r\nQUIT\r\n").await;
    let codes: Vec<String> = client.rest().await.iter().map(|r| r[..3].to_owned()).collect();
    assert_eq!(codes, ["220", "250", "250", "221"]);
}

#[tokio::test]
async fn an_idle_session_is_small() {
    let house = House::new();
    let (_ours, theirs) = tokio::io::duplex(64);
    let local = std::net::IpAddr::from([192, 0, 2, 1]);
    let caller = postino_smtpd::Caller { peer: house.peer, local, kind: ListenerKind::Smtp, session: 7, permit: None };
    let session = postino_smtpd::serve(crate::house::Pipe { stream: theirs, tls: false }, caller, house.context.clone());
    // Read buffer, reply buffer and the kernel's share come on top: 8 KiB in all.
    assert!(std::mem::size_of_val(&session) <= 4864, "{} bytes", std::mem::size_of_val(&session));
}
