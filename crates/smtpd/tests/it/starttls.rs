//! docs/attacks.md, 3 and 5: nothing said in the clear counts inside TLS; logins only inside. Over real sockets with real TLS.

use crate::house::{Client, House, encrypt};
use postino_control::resolved::ListenerKind;
use tokio::net::TcpStream;

const PLAIN: &str = "AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABwdw==";

async fn dial(house: &House, kind: ListenerKind) -> Client<TcpStream> {
    Client::new(TcpStream::connect(house.listen(kind)).await.unwrap())
}

#[tokio::test]
async fn bytes_behind_starttls_are_never_read() {
    for injected in
        ["NOOP\r\n", "EHLO x\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<user1@example.test>\r\nDATA\r\nx\r\n.\r\n", "N", "\r\n", PLAIN]
    {
        let house = House::new();
        let mut client = dial(&house, ListenerKind::Smtp).await;
        client.reply().await;
        client.say("EHLO c", "250").await;
        client.send(format!("STARTTLS\r\n{injected}")).await;
        assert!(client.reply().await.starts_with("220"));
        let Ok(stream) = encrypt(client.stream).await else { continue };
        let mut client = Client::new(stream);
        // The first reply inside must be the one to this command: an answer to injected text would come before it.
        client.say("EHLO c", "250-mx.example.test\r\n250-PIPELINING").await;
        client.say("RCPT TO:<user1@example.test>", "503").await;
        assert_eq!(house.count(), 0);
    }
}

#[tokio::test]
async fn a_session_starts_anew() {
    let house = House::new();
    let mut client = dial(&house, ListenerKind::Smtp).await;
    client.reply().await;
    client.say("EHLO c", "250").await;
    client.say(PLAIN, "538 5.7.11").await;
    client.say("MAIL FROM:<a@b.test>", "250").await;
    client.say("RCPT TO:<user1@example.test>", "250").await;
    client.say("STARTTLS now", "501").await;
    client.say("STARTTLS", "220").await;
    let mut client = Client::new(encrypt(client.stream).await.unwrap());
    client.say("DATA", "503").await;
    client.say("MAIL FROM:<a@b.test>", "503").await;
    let hello = client.say("EHLO c", "250").await;
    assert!(!hello.contains("STARTTLS") && hello.contains("AUTH PLAIN LOGIN"), "{hello}");
    client.say("STARTTLS", "503").await;
    client.say(PLAIN, "235").await;
    client.say("MAIL FROM:<user1@example.test>", "250").await;
    client.say("RCPT TO:<far@away.test>", "250").await;
    client.say("DATA", "354").await;
    client.send("Subject: x\r\n\r\nbody\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 2.0.0 ok 1795486507 qp 4001\r\n"));
    let trace = house.last(|m| m.prepend());
    assert!(trace.contains(" with ESMTPSA (TLSv1.3 TLS_") && trace.contains(" for <far@away.test>; "), "{trace}");
}

#[tokio::test]
async fn implicit_tls() {
    let house = House::new();
    let stream = TcpStream::connect(house.listen(ListenerKind::Submissions)).await.unwrap();
    let mut client = Client::new(encrypt(stream).await.unwrap());
    assert!(client.reply().await.starts_with("220"));
    assert!(!client.say("EHLO c", "250").await.contains("STARTTLS"));
    client.say("MAIL FROM:<user1@example.test>", "530 5.7.0").await;
    client.say(PLAIN, "235").await;
    client.say("MAIL FROM:<user1@example.test>", "250").await;
    client.say("QUIT", "221").await;
}

#[tokio::test]
async fn a_clear_text_client_on_the_tls_port_gets_nothing() {
    let house = House::new();
    let mut client = dial(&house, ListenerKind::Submissions).await;
    client.send("EHLO c\r\nMAIL FROM:<a@b>\r\n").await;
    for reply in client.rest().await {
        assert!(!reply.starts_with('2'), "{reply:?}");
    }
    assert_eq!(house.count(), 0);
}
