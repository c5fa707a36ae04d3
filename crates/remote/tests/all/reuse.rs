//! Connections used again: when, how often, and what happens when the server has gone meanwhile.

use crate::house::*;
use postino_types::DeliveryOutcome;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};

fn delivered(outcomes: &[DeliveryOutcome]) -> bool {
    outcomes.iter().all(|o| matches!(o, DeliveryOutcome::Delivered { .. }))
}

#[tokio::test]
async fn messages_share_a_connection_up_to_the_limit() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |c| c.server.remote.messages_per_connection = 3);
    for _ in 0..7 {
        assert!(delivered(&house.send(&["r@far.test"]).await));
    }
    assert_eq!(server.connections(), 3);
    assert_eq!(house.remote.connections().open, 1);
    assert_eq!(house.remote.connections().idle, 1);
    house.remote.close().await;
    assert_eq!(house.remote.connections().open, 0);
}

#[tokio::test]
async fn after_a_refusal_the_connection_is_reset_and_used_again() {
    let server = serve(friendly_but(&[("RCPT TO:<bad", "550 no"), ("DATA", "354 go")])).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    assert!(!delivered(&house.send(&["bad@far.test"]).await));
    assert!(delivered(&house.send(&["good@far.test"]).await));
    assert_eq!(server.connections(), 1);
    assert!(server.lines().contains(&"RSET".to_owned()));
}

#[tokio::test]
async fn another_name_or_no_rest_means_another_connection() {
    let server = serve(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    assert!(delivered(&house.send(&["r@far.test"]).await));
    let mut config = (*house.live.get()).clone();
    config.helohost = "other.test".into();
    house.live.set(config.clone());
    assert!(delivered(&house.send(&["r@far.test"]).await));
    assert_eq!(server.connections(), 2);
    config.helohost = "third.test".into();
    config.server.remote.idle = Duration::ZERO;
    house.live.set(config);
    for _ in 0..2 {
        assert!(delivered(&house.send(&["r@far.test"]).await));
    }
    assert_eq!(server.connections(), 4);
}

/// A server that serves one message a connection and then answers the next MAIL as `second` says (nothing: it closes).
async fn once_only(second: &'static str) -> (u16, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let (listener, port) = listener().await;
    let count = Arc::new(AtomicU64::new(0));
    let c = count.clone();
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            c.fetch_add(1, Ordering::SeqCst);
            let mails = AtomicU64::new(0);
            tokio::spawn(async move {
                let mut io = BufReader::new(tcp);
                io.get_mut().write_all(b"220 x\r\n").await.unwrap();
                let answer = move |line: &str| {
                    if line.starts_with("MAIL") && mails.fetch_add(1, Ordering::SeqCst) == 1 {
                        return (!second.is_empty()).then(|| second.to_owned());
                    }
                    friendly(line)
                };
                converse_on(&mut io, Seen::default(), Arc::new(answer)).await;
            });
        }
    });
    (port, count, task)
}

#[tokio::test]
async fn a_reused_connection_that_died_is_replaced_once() {
    for second in ["", "421 4.4.2 idle too long\r\n"] {
        let (port, connections, task) = once_only(second).await;
        let house = house(one_mx("127.0.0.1"), port, |_| {});
        assert!(delivered(&house.send(&["r@far.test"]).await));
        assert!(delivered(&house.send(&["r@far.test"]).await), "second on a fresh connection");
        assert_eq!(connections.load(Ordering::SeqCst), 2);
        task.abort();
    }
}

#[tokio::test]
async fn a_connection_closed_while_it_rested_is_not_used() {
    let server = serve(friendly_but(&[(".", "250 ok\r\n421 closing")])).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    for _ in 0..3 {
        assert!(delivered(&house.send(&["r@far.test"]).await));
    }
    assert_eq!(house.remote.connections().open, house.remote.connections().idle);
}

#[tokio::test]
async fn rested_connections_are_closed_by_the_reaper() {
    let (listener, port) = listener().await;
    let seen = Seen::default();
    let s = seen.clone();
    let conversation = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut io = BufReader::new(tcp);
        io.get_mut().write_all(b"220 x\r\n").await.unwrap();
        converse_on(&mut io, s, Arc::new(friendly)).await;
    });
    let house = house(one_mx("127.0.0.1"), port, |c| c.server.remote.idle = Duration::from_millis(30));
    assert!(delivered(&house.send(&["r@far.test"]).await));
    conversation.await.unwrap(); // ends when the client quits or closes
    assert_eq!(seen.lock().unwrap().last().unwrap(), "QUIT");
    assert_eq!(house.remote.connections().idle, 0);
}

/// The host gets its slot back when nothing more goes there, long before the idle time: a queue that is empty keeps no connection.
#[tokio::test]
async fn the_last_delivery_to_a_place_keeps_no_connection() {
    for together in [1, 5] {
        let server = serve(friendly).await;
        let house = Arc::new(house(one_mx("127.0.0.1"), server.port, |c| c.server.remote.idle = Duration::from_secs(60)));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..together {
            let house = house.clone();
            tasks.spawn(async move { delivered(&house.send(&[&format!("r{n}@far.test")]).await) });
        }
        assert!(tasks.join_all().await.into_iter().all(|ok| ok));
        let all_closed = async {
            while house.remote.connections().open > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all_closed).await.expect("connections rest for the whole idle time");
    }
}

#[tokio::test]
async fn parallel_deliveries_do_not_mix() {
    let server = serve(friendly).await;
    let house = Arc::new(house(one_mx("127.0.0.1"), server.port, |_| {}));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..50 {
        let house = house.clone();
        tasks.spawn(async move { delivered(&house.send(&[&format!("r{n}@far.test")]).await) });
    }
    assert!(tasks.join_all().await.into_iter().all(|ok| ok));
    assert_eq!(server.lines().iter().filter(|l| l.starts_with("RCPT")).count(), 50);
    assert!(house.remote.connections().idle <= house.live.get().server.remote.per_destination);
}
