//! The shell on real sockets: what removes messages, who is let go, what is told.

use crate::house::{House, Plan};
use tokio::io::AsyncWriteExt;

fn mail() -> Vec<String> {
    (0..3).map(|n| format!("N: {n}\n\nbody {n}\n")).collect()
}

/// Row 69: nothing is removed unless QUIT was read.
#[tokio::test]
async fn row_69_a_lost_connection_removes_nothing() {
    let mut house = House::start(Plan { mail: mail(), ..Plan::default() });
    for last_words in ["", "QUIT", "QUI\r\n", "RSET\r\n", "QUIT \0\r\n"] {
        let mut client = house.connect().await;
        client.login().await;
        client.ask("DELE 1", "+OK").await;
        client.ask("DELE 3", "+OK").await;
        client.send(last_words).await;
        client.stream.shutdown().await.unwrap();
        assert!(house.event("end pop3 user@example.org").await.ends_with("closed"), "{last_words:?}");
    }
    let mail = house.fake.mail.lock().unwrap();
    assert_eq!((mail.finished, mail.removed.len()), (0, 0));
}

#[tokio::test]
async fn quit_removes_and_says_so() {
    let mut house = House::start(Plan { mail: mail(), ..Plan::default() });
    let mut client = house.connect().await;
    client.login().await;
    client.ask("RETR 2", "+OK").await;
    assert_eq!(client.lines().await, ["N: 1", "", "body 1"]);
    client.ask("DELE 2", "+OK").await;
    client.ask("QUIT", "+OK").await;
    assert_eq!(client.line().await, None);
    assert_eq!(house.event("end").await, "end pop3 user@example.org  1 quit");
    assert_eq!(house.removed(), [1]);
}

#[tokio::test]
async fn quit_admits_what_it_could_not_remove() {
    let house = House::start(Plan { mail: mail(), ..Plan::default() });
    house.fake.mail.lock().unwrap().broken = true;
    let mut client = house.connect().await;
    client.login().await;
    client.ask("DELE 2", "+OK").await;
    client.ask("QUIT", "-ERR [SYS/TEMP]").await;
}

#[tokio::test]
async fn two_sessions_read_one_mailbox() {
    let house = House::start(Plan { mail: mail(), ..Plan::default() });
    let (mut a, mut b) = (house.connect().await, house.connect().await);
    a.login().await;
    b.login().await;
    a.ask("DELE 1", "+OK").await;
    b.ask("RETR 1", "+OK").await;
    assert_eq!(b.lines().await.len(), 3);
}

#[tokio::test]
async fn an_idle_client_is_left_without_a_word_and_nothing_is_removed() {
    let config = |c: &mut postino_control::Config| c.server.limits.pop3_idle = std::time::Duration::from_millis(50);
    let mut house = House::start(Plan { mail: mail(), config, ..Plan::default() });
    let mut client = house.connect().await;
    client.login().await;
    let _ = client.stream.write_all(b"DELE 1\r\n").await;
    while client.line().await.is_some() {}
    assert!(house.event("end").await.ends_with(" timeout"));
    assert!(house.removed().is_empty());
}

#[tokio::test]
async fn a_client_that_never_logs_in_is_let_go_however_it_drips() {
    let config = |c: &mut postino_control::Config| c.server.limits.idle_before_login = std::time::Duration::from_millis(200);
    let mut house = House::start(Plan { config, ..Plan::default() });
    let client = house.connect().await;
    let (mut read, mut write) = client.stream.into_split();
    let drip = tokio::spawn(async move {
        // Commands without end are cut by their number; a line without end only by the time.
        while write.write_all(b"USER u").await.is_ok() {
            tokio::task::yield_now().await
        }
    });
    let mut sink = tokio::io::sink();
    let _ = tokio::io::copy(&mut read, &mut sink).await;
    assert!(house.event("end").await.ends_with(" timeout"));
    drip.await.unwrap();
}

/// Row 56: idle strangers make room.
#[tokio::test]
async fn row_56_idle_connections_do_not_keep_others_out() {
    let mut house = House::start(Plan { mail: mail(), connections: 4, ..Plan::default() });
    let mut user = house.connect().await;
    user.login().await;
    let mut idle = Vec::new();
    for _ in 0..12 {
        let mut client = house.connect().await;
        client.expect("+OK <").await;
        idle.push(client);
    }
    let mut late = house.connect().await;
    late.login().await;
    user.ask("STAT", "+OK 3").await;
    assert!(house.event("end").await.ends_with(" limit"));
    assert!(house.limits.evictions() >= 9);
    assert_eq!(idle[0].line().await.as_deref(), Some("-ERR [SYS/TEMP] too many connections, try again later"));
}

#[tokio::test]
async fn a_stop_ends_sessions_at_the_next_command() {
    let mut house = House::start(Plan { mail: mail(), ..Plan::default() });
    let mut client = house.connect().await;
    client.login().await;
    client.ask("DELE 1", "+OK").await;
    house.stop.send(true).unwrap();
    client.expect("-ERR [SYS/TEMP] the server is shutting down").await;
    assert_eq!(client.line().await, None);
    assert!(house.event("end").await.ends_with(" shutdown"));
    house.server.await.unwrap().unwrap();
    let mail = house.fake.mail.lock().unwrap();
    assert!(mail.removed.is_empty());
}

#[tokio::test]
async fn a_large_message_arrives_whole() {
    let text = format!("Subject: big\n\n{}", ".line with a dot\nand one without\n".repeat(40_000));
    let mut house = House::start(Plan { mail: vec![text.clone()], ..Plan::default() });
    let mut client = house.connect().await;
    client.login().await;
    client.ask("RETR 1", &format!("+OK {} octets", text.len() + text.matches('\n').count())).await;
    let got = client.lines().await.join("\n") + "\n";
    assert!(got == text, "{} bytes instead of {}", got.len(), text.len());
    client.ask("TOP 1 1", "+OK").await;
    assert_eq!(client.lines().await, ["Subject: big", "", ".line with a dot"]);
    client.ask("QUIT", "+OK").await;
    house.event("end").await;
}

#[tokio::test]
async fn wrong_passwords_are_counted_and_told() {
    let config = |c: &mut postino_control::Config| c.server.limits.errors_max = 3;
    let mut house = House::start(Plan { config, ..Plan::default() });
    let mut client = house.connect().await;
    client.expect("+OK <").await;
    for _ in 0..3 {
        client.ask("AUTH PLAIN AHVzZXJAZXhhbXBsZS5vcmcAeA==", "-ERR [AUTH]").await;
        assert_eq!(house.event("login").await, "login user@example.org false");
    }
    client.expect("-ERR too many errors").await;
    assert_eq!(client.line().await, None);
    assert!(house.event("end").await.ends_with(" errors"));
}

#[tokio::test]
async fn greetings_never_repeat() {
    let house = House::start(Plan::default());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let stamp = house.connect().await.expect("+OK <").await;
        let inner = stamp.strip_prefix("+OK <").unwrap().strip_suffix("@mail.example.org>").unwrap().to_owned();
        assert_eq!(inner.split('.').count(), 3);
        assert_eq!(inner.rsplit('.').next().unwrap().len(), 32, "128 random bits");
        assert!(seen.insert(inner));
    }
}

/// A session waiting for its client costs little: its future, the socket, a line's room.
#[test]
fn a_waiting_session_is_small() {
    fn size_of_future<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        std::mem::size_of::<F>()
    }
    let bytes = size_of_future(postino_pop3d::serve);
    assert!(bytes < 6000, "{bytes}");
}
