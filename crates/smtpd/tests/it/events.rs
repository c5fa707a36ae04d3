//! What operators hear: one line at the end of each session, whatever the end is, and no byte that could forge another line.

use crate::house::House;
use postino_control::resolved::ListenerKind;

#[tokio::test]
async fn the_end_of_a_session() {
    let house = House::new();
    let mut client = house.greeted().await;
    client.deliver("Subject: x\r\n\r\nbody\r\n").await;
    client.say("QUIT", "221").await;
    client.rest().await;
    let told = house.told("SessionEnded");
    assert_eq!(told.len(), 1);
    for part in ["service: \"smtp\"", "session: 7", "messages: 1", "bytes: 17", "reason: \"quit\"", "peer: 192.0.2.77", "tls: \"\""] {
        assert!(told[0].contains(part), "{part} in {}", told[0]);
    }
}

#[tokio::test]
async fn a_panic_ends_its_session_only() {
    let house = House::new();
    let mut other = house.greeted().await;
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<>", "250").await;
    client.send("RCPT TO:<bug@example.test>\r\n").await;
    assert_eq!(client.rest().await, Vec::<String>::new());
    assert!(house.told("SessionEnded")[0].contains("reason: \"panic\""));
    assert!(other.deliver("x\r\n").await.starts_with("250"));
}

#[tokio::test]
async fn refusals_and_logins_are_told_in_print() {
    let house = House::new();
    let mut client = house.pipe(ListenerKind::Submissions, 4096);
    client.reply().await;
    client.say("EHLO c", "250").await;
    // login "a\nb\x1b", password "secretword"
    client.say("AUTH PLAIN AGEKYhsAc2VjcmV0d29yZA==", "535").await;
    client.say("AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABwdw==", "235").await;
    client.say("MAIL FROM:<>", "250").await;
    client.say("RCPT TO:<nobody@example.test>", "550").await;
    let logins = house.told("Login");
    assert!(logins[0].contains("login: \"a?b?\", granted: false") && logins[1].contains("granted: true"), "{logins:?}");
    assert!(house.told("Refused")[0].contains("550 5.1.1 sorry, no mailbox here by that name\", subject: \"nobody@example.test\""));
    assert!(house.told("").iter().all(|e| !e.contains("secretword") && !e.contains("\\n")));
}
