//! Servers that mean harm: what they say is written down here and sent as it is.

use super::world::{World, account};
use postino_control::fetch::{FetchAccount, FetchAuth, FetchProtocol, FetchTls};
use postino_fetch::{Broken, Trouble};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::time::Duration;

/// A POP3 server for `sessions` sessions; `retr` is all that it says to RETR, whatever it costs.
fn server(sessions: usize, list: &'static str, retr: fn(&mut dyn std::io::Write) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(sessions) {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let _ = stream.write_all(b"+OK\r\n");
            while let Some(Ok(line)) = lines.next() {
                let said = match line.split(' ').next().unwrap() {
                    "CAPA" => stream.write_all(b"-ERR\r\n"),
                    "UIDL" => stream.write_all(b"+OK\r\n1 a\r\n2 b\r\n.\r\n"),
                    "LIST" => stream.write_all(list.as_bytes()),
                    "RETR" if line == "RETR 1" => retr(&mut stream),
                    "RETR" => stream.write_all(b"+OK\r\nSubject: good\r\n\r\nx\r\n.\r\n"),
                    _ => stream.write_all(b"+OK\r\n"),
                };
                if said.is_err() {
                    break;
                }
            }
        }
    });
    port
}

fn pop3(port: u16) -> FetchAccount {
    let base = account(FetchProtocol::Pop3, FetchTls::None, port, "joe");
    FetchAccount { auth: FetchAuth::User, keep_days: Some(0), idle: Duration::from_secs(10), ..base }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_message_ends_and_the_others_are_fetched() {
    let port = server(2, "+OK\r\n1 10\r\n2 10\r\n.\r\n", |stream| {
        stream.write_all(b"+OK\r\n")?;
        loop {
            stream.write_all(&[b'x'; 65536])?; // until we hang up
        }
    });
    let world = World::new();
    let mut config = (*world.live.get()).clone();
    config.server.limits.message_bytes_max = 1 << 20;
    world.live.set(config);
    let (outcome, result) = world.run(&pop3(port)).await;
    assert_eq!(result, Err(Trouble::TooLarge(1 << 20)));
    assert!(outcome.more);
    let (outcome, result) = world.run(&pop3(port)).await;
    assert_eq!((outcome.fetched, outcome.left, outcome.deleted, result), (1, 1, 1, Ok(())));
    assert_eq!(world.bodies().await, [b"Subject: good\n\nx\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_which_the_session_breaks_holds_up_nobody_for_long() {
    let port = server(4, "+OK\r\n1 10\r\n2 10\r\n.\r\n", |_| Err(std::io::ErrorKind::Other.into()));
    let world = World::new();
    for _ in 0..3 {
        assert_eq!(world.run(&pop3(port)).await.1, Err(Trouble::Closed));
    }
    let (outcome, result) = world.run(&pop3(port)).await;
    assert_eq!((outcome.fetched, outcome.left, result), (1, 1, Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_stops_here() {
    let port = server(1, "+OK\r\n1 -1\r\n2 99999999999999999999\r\n.\r\n", |stream| {
        stream.write_all(b"+OK\r\n")?;
        stream.write_all(&b"Delivered-To: x\r\n".repeat(101))?;
        stream.write_all(b"\r\nx\r\n.\r\n")
    });
    let world = World::new();
    let (outcome, result) = world.run(&pop3(port)).await;
    assert_eq!((outcome.fetched, outcome.left, outcome.deleted, result), (1, 1, 1, Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_message_is_no_message() {
    let port = server(1, "+OK\r\n1 10\r\n2 10\r\n.\r\n", |stream| stream.write_all(b"+OK\r\n.\r\n"));
    let world = World::new();
    let (outcome, result) = world.run(&pop3(port)).await;
    assert_eq!((outcome.fetched, outcome.left, outcome.deleted, result), (1, 1, 1, Ok(())));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_lines_without_end() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let quick = FetchAccount { idle: Duration::from_millis(50), ..pop3(silent.local_addr().unwrap().port()) };
    let world = World::new();
    assert_eq!(world.run(&quick).await.1, Err(Trouble::Silent));
    let port = server(1, "+OK\r\n", |_| Ok(()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let chatty = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(&[b'+'; 4096]).is_ok() {}
    });
    assert_eq!(world.run(&pop3(chatty)).await.1, Err(Trouble::Session(Broken::LongLine)));
    let _ = port;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_server_says_back_is_not_told() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let _ = stream.write_all(b"+OK\r\n");
        while let Some(Ok(line)) = lines.next() {
            let said = if line == "USER joe" { "+OK\r\n".to_owned() } else { format!("-ERR what is {line}?\r\n") };
            let _ = stream.write_all(said.as_bytes());
        }
    });
    let world = World::new();
    assert_eq!(world.run(&pop3(port)).await.1, Err(Trouble::Session(Broken::Login("what is PASS ...?".into()))));
}
