//! What the queue cannot take is refused for now, before or after the content, and never answered 250.

use crate::house::House;
use postino_ports::queue::AcceptError;

/// How the queue fails, and the reply that it must lead to.
type Fault = (fn() -> AcceptError, &'static str);

fn faults() -> [Fault; 4] {
    [
        (|| AcceptError::Busy, "452 4.3.1"),
        (|| AcceptError::DiskFull, "452 4.3.1"),
        (|| AcceptError::Io("fsync: input/output error at /var/secret".into()), "451 4.3.0"),
        (|| AcceptError::Stopping, "451 4.3.2"),
    ]
}

#[tokio::test]
async fn before_the_content() {
    for (fault, want) in faults() {
        let house = House::new();
        *house.queue.begin_fault.lock().unwrap() = Some(fault);
        let mut client = house.greeted().await;
        client.say("MAIL FROM:<a@b.test>", "250").await;
        client.say("RCPT TO:<user1@example.test>", "250").await;
        client.say("DATA", want).await;
        client.say("DATA", "503").await;
        client.say("MAIL FROM:<a@b.test>", "250").await;
        client.say("RCPT TO:<user1@example.test>", "250").await;
        client.say("BDAT 2 LAST\r\n\r", want).await;
    }
}

#[tokio::test]
async fn while_it_comes_and_at_the_commit() {
    let too_big: Fault = (|| AcceptError::TooBig(9), "552 5.3.4");
    for (fault, want) in faults().into_iter().chain([too_big]) {
        for at_commit in [false, true] {
            let house = House::new();
            let place = if at_commit { &house.queue.commit_fault } else { &house.queue.write_fault };
            *place.lock().unwrap() = Some(fault);
            let mut client = house.greeted().await;
            let reply = client.deliver("Subject: x\r\n\r\nbody\r\n").await;
            assert!(reply.starts_with(want), "{want}: {reply}");
            assert!(!reply.contains("secret"), "no inner texts outside");
            client.say("NOOP", "250").await;
            assert_eq!((house.count(), *house.queue.open.lock().unwrap()), (0, 0));
            assert_eq!(house.told("Refused").len(), 1);
        }
    }
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let house = House::new();
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@b.test>", "250").await;
    client.say("RCPT TO:<user1@example.test>", "250").await;
    client.say("DATA", "354").await;
    client.send("Subject: x\r\n\r\nno end\r\n").await;
    drop(client);
    while house.told("SessionEnded").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!((house.count(), *house.queue.open.lock().unwrap()), (0, 0));
}
