//! Servers that mean harm, or are broken: nothing they say makes more than one deferral.

use crate::house::*;
use postino_types::outcome::DETAIL_BYTES_MAX;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Delivers to a server that sends `bytes` as soon as the client connects and then reads on.
async fn against(bytes: Vec<u8>) -> String {
    let (listener, port) = listener().await;
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let _ = tcp.write_all(&bytes).await;
            let _ = tcp.shutdown().await;
            let mut sink = Vec::new();
            let _ = tcp.read_to_end(&mut sink).await;
        }
    });
    let house = house(one_mx("127.0.0.1"), port, |_| {});
    let outcome = text(&house.send(&["r@far.test"]).await[0]);
    task.abort();
    outcome
}

#[tokio::test]
async fn nonsense_is_a_deferral() {
    for bytes in [
        &b"hello\r\n"[..],
        b"999 x\r\n",
        b"\0\0\0\0\n",
        b"220-a\r\n250 b\r\n",
        b"",
        b"220 hi\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 accepted\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
    ] {
        let outcome = against(bytes.to_vec()).await;
        assert!(outcome.starts_with("Z4.5.0 ") || outcome.starts_with("Z4.4.2 "), "{outcome}");
    }
}

#[tokio::test]
async fn endless_replies_end() {
    assert!(against(b"220-more and more\r\n".repeat(200_000)).await.contains("endless reply"));
    assert!(against(vec![b'2'; 4 << 20]).await.contains("endless reply"));
}

#[tokio::test]
async fn multi_line_injections_stay_text() {
    // 2020-8794: lines of a refusal must stay data; control bytes must not reach logs or terminals.
    let server = serve(friendly_but(&[("RCPT", "550-a\x1b[2J\r\n550-\r\n550-DATA\r\n550 (from: x)\x00")])).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    assert_eq!(
        text(&house.send(&["r@far.test"]).await[0]),
        "D5.0.0 127.0.0.1 does not like recipient.\nRemote host said: 550-a?[2J\n550-\n550-DATA\n550 (from: x)?\nGiving up on 127.0.0.1.\n"
    );
}

#[tokio::test]
async fn five_hundred_lines_are_cut() {
    let server = serve(|line| match line {
        "." => Some("554-no no no no no\r\n".repeat(499) + "554 end\r\n"),
        other => friendly(other),
    })
    .await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let outcome = house.send(&["r@far.test"]).await.remove(0);
    let postino_types::DeliveryOutcome::Failed { detail, .. } = outcome else { panic!("{outcome:?}") };
    assert!(detail.len() <= DETAIL_BYTES_MAX && detail.len() > 4000);
}

#[tokio::test]
async fn replies_byte_by_byte_are_understood() {
    let (listener, port) = listener().await;
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (mut a, mut b) = tokio::io::duplex(65536);
        let (mut read, mut write) = tcp.into_split();
        let out = async {
            let mut byte = [0u8; 1];
            while a.read_exact(&mut byte).await.is_ok() {
                write.write_all(&byte).await.unwrap();
                write.flush().await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        b.write_all(b"220-hi\r\n220 there\r\n").await.unwrap();
        let (near, far) = tokio::io::duplex(65536);
        let (mut far_read, mut far_write) = tokio::io::split(far);
        let up = tokio::io::copy(&mut read, &mut far_write);
        let down = tokio::io::copy(&mut far_read, &mut b);
        let mut io = tokio::io::BufReader::new(near);
        let serve = converse_on(&mut io, Seen::default(), std::sync::Arc::new(friendly));
        tokio::select! { () = out => {}, _ = up => {}, _ = down => {}, () = serve => {} }
    });
    let house = house(one_mx("127.0.0.1"), port, |_| {});
    assert!(text(&house.send(&["r@far.test"]).await[0]).starts_with("Kfalse "));
    task.abort();
}

#[tokio::test]
async fn a_refusal_in_the_middle_of_the_body_counts_and_an_acceptance_does_not() {
    for (reply, expected) in [("552 5.3.4 too big\r\n", "D5.3.4 "), ("250 got it\r\n", "Z4.")] {
        let (listener, port) = listener().await;
        let task = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(b"220 x\r\n").await.unwrap();
            let mut buffer = [0u8; 4096];
            let _ = tcp.read(&mut buffer).await.unwrap();
            tcp.write_all(b"250-x\r\n250 PIPELINING\r\n").await.unwrap();
            let _ = tcp.read(&mut buffer).await.unwrap();
            tcp.write_all(b"250 ok\r\n250 ok\r\n354 go\r\n").await.unwrap();
            let _ = tcp.read(&mut buffer).await.unwrap();
            tcp.write_all(reply.as_bytes()).await.unwrap();
            // Not one more byte is read: the client's writes stall until its time-out.
            std::future::pending::<()>().await;
        });
        let house = house(one_mx("127.0.0.1"), port, |c| c.timeout_remote = Duration::from_millis(300));
        let body = small(&"x".repeat(30 << 20));
        let outcomes = postino_ports::deliver::Deliver::deliver(&house.remote, job(envelope("s@a.test", &["r@far.test"]), body)).await;
        assert!(text(&outcomes[0]).starts_with(expected), "{}", text(&outcomes[0]));
        task.abort();
    }
}

#[tokio::test]
async fn silence_and_dripping_end_by_the_clock() {
    let (listener, port) = listener().await;
    let task = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                // One byte at a time never finishes the greeting, and must not renew the time-out.
                while tcp.write_all(b"2").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    let house = house(one_mx("127.0.0.1"), port, |c| c.timeout_remote = Duration::from_millis(200));
    assert!(text(&house.send(&["r@far.test"]).await[0]).contains("connection died. (#4.4.2)"));
    task.abort();
}
