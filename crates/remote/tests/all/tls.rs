//! STARTTLS: used where offered, left when it fails, and a must where a password is at stake.

use crate::house::*;
use postino_control::resolved::{RelayAuth, SmtpRoute};
use postino_remote::RelayTrust;
use postino_types::DeliveryOutcome;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

struct TlsServer {
    port: u16,
    clear: Seen,
    secret: Seen,
    connections: Arc<AtomicU64>,
    certificate_pem: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const OFFER: &str = "250-mx\r\n250-PIPELINING\r\n250 STARTTLS\r\n";

/// A server with a self-made certificate for `localhost`; `under_tls` answers EHLO and AUTH under TLS.
async fn tls_server(under_tls: fn(&str) -> Option<String>) -> TlsServer {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![pair.cert.der().clone()];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()));
    let (listener, port) = listener().await;
    let (clear, secret, connections) = (Seen::default(), Seen::default(), Arc::new(AtomicU64::new(0)));
    let (c, s, n) = (clear.clone(), secret.clone(), connections.clone());
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            n.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(speak(tcp, acceptor.clone(), (c.clone(), s.clone()), under_tls));
        }
    });
    TlsServer { port, clear, secret, connections, certificate_pem: pair.cert.pem(), task }
}

async fn speak(mut tcp: TcpStream, acceptor: TlsAcceptor, seen: (Seen, Seen), under_tls: fn(&str) -> Option<String>) {
    tcp.write_all(b"220 x\r\n").await.unwrap();
    loop {
        let mut line = Vec::new();
        let mut byte = [0u8; 1];
        while line.last() != Some(&b'\n') {
            match tcp.read(&mut byte).await {
                Ok(n) if n > 0 => line.push(byte[0]),
                _ => return,
            }
        }
        let line = String::from_utf8(line).unwrap().trim_end().to_owned();
        seen.0.lock().unwrap().push(line.clone());
        if line == "STARTTLS" {
            tcp.write_all(b"220 go\r\n").await.unwrap();
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            converse_on(&mut BufReader::new(tls), seen.1, Arc::new(under_tls)).await;
            return;
        }
        let reply = if line.starts_with("EHLO") { OFFER.to_owned() } else { friendly(&line).unwrap_or_default() };
        tcp.write_all(reply.as_bytes()).await.unwrap();
    }
}

fn delivered(outcomes: &[DeliveryOutcome]) -> bool {
    outcomes.iter().all(|o| matches!(o, DeliveryOutcome::Delivered { .. }))
}

#[tokio::test]
async fn offered_tls_is_used_and_the_connection_kept() {
    let server = tls_server(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    assert!(delivered(&house.send(&["a@far.test"]).await));
    assert!(delivered(&house.send(&["b@far.test"]).await));
    assert_eq!(*server.clear.lock().unwrap(), ["EHLO me.test", "STARTTLS"]);
    let secret = server.secret.lock().unwrap().clone();
    assert_eq!(secret.iter().filter(|l| l.starts_with("EHLO")).count(), 1);
    assert_eq!(secret.iter().filter(|l| l.starts_with("RCPT")).count(), 2);
    assert!(house.heard.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn large_bodies_under_tls() {
    let server = tls_server(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |_| {});
    let body = "0123456789 abcdefghij\n".repeat(50_000);
    let job = job(envelope("s@a.test", &["r@far.test"]), small(&body));
    assert!(delivered(&postino_ports::deliver::Deliver::deliver(&house.remote, job).await));
    let got = server.secret.lock().unwrap().last().unwrap().len();
    assert_eq!(got, "Received: by me\r\n.\r\n".len() + body.len() + 50_000);
}

#[tokio::test]
async fn tls_can_be_switched_off() {
    let server = tls_server(friendly).await;
    let house = house(one_mx("127.0.0.1"), server.port, |c| c.server.remote.starttls = false);
    // The server's clear half knows no DATA body; what counts is that STARTTLS was not asked for.
    let mut config = (*house.live.get()).clone();
    config.timeout_remote = std::time::Duration::from_millis(200);
    house.live.set(config);
    let _ = house.send(&["r@far.test"]).await;
    assert!(!server.clear.lock().unwrap().contains(&"STARTTLS".to_owned()));
    assert!(server.secret.lock().unwrap().is_empty());
}

/// A server whose 220 to STARTTLS is followed by `after`; connections that do not ask for TLS are served in clear.
async fn broken_tls(after: &'static [u8]) -> (u16, Arc<AtomicU64>, tokio::task::JoinHandle<()>) {
    let (listener, port) = listener().await;
    let asked = Arc::new(AtomicU64::new(0));
    let a = asked.clone();
    let task = tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let a = a.clone();
            tokio::spawn(async move {
                let mut io = BufReader::new(tcp);
                io.get_mut().write_all(b"220 x\r\n").await.unwrap();
                let answer = move |line: &str| match line {
                    "STARTTLS" => {
                        a.fetch_add(1, Ordering::SeqCst);
                        Some(format!("220 go\r\n{}", std::str::from_utf8(after).unwrap()))
                    }
                    l if l.starts_with("EHLO") => Some(OFFER.into()),
                    other if other.is_ascii() && other.len() > 3 || other == "." => friendly(other),
                    _ => None, // a TLS record: hang up
                };
                converse_on(&mut io, Seen::default(), Arc::new(answer)).await;
            });
        }
    });
    (port, asked, task)
}

#[tokio::test]
async fn failed_handshake_falls_back_to_clear_and_is_remembered() {
    let (port, asked, task) = broken_tls(b"").await;
    let house = house(one_mx("127.0.0.1"), port, |c| c.server.remote.messages_per_connection = 1);
    for _ in 0..3 {
        assert!(delivered(&house.send(&["r@far.test"]).await));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(house.heard.0.lock().unwrap().len(), 1);
    house.clock.advance(601);
    assert!(delivered(&house.send(&["r@far.test"]).await));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    task.abort();
}

#[tokio::test]
async fn bytes_behind_the_starttls_reply_abort_the_connection() {
    // CVE-2021-38371
    let (port, _, task) = broken_tls(b"250-injected\r\n250 PIPELINING\r\n").await;
    let house = house(one_mx("127.0.0.1"), port, |_| {});
    let outcome = text(&house.send(&["r@far.test"]).await[0]);
    assert!(outcome.starts_with("Z4.5.0 ") && outcome.contains("bytes after the reply to STARTTLS"), "{outcome}");
    task.abort();
}

fn relay(port: u16) -> SmtpRoute {
    let auth = RelayAuth { user: "joe".into(), password: "secret".into() };
    SmtpRoute { relay: "localhost".into(), port, auth: Some(auth) }
}

fn localhost() -> Zone {
    Zone::default().a("localhost", "127.0.0.1")
}

fn with_auth(line: &str) -> Option<String> {
    match line {
        l if l.starts_with("EHLO") => Some("250-mx\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n".into()),
        "AUTH PLAIN AGpvZQBzZWNyZXQ=" => Some("235 welcome\r\n".into()),
        l if l.starts_with("AUTH") => Some("535 5.7.8 no\r\n".into()),
        other => friendly(other),
    }
}

#[tokio::test]
async fn a_smarthost_login_goes_over_tls() {
    let server = tls_server(with_auth).await;
    let trust = RelayTrust::from_pem(server.certificate_pem.as_bytes()).unwrap();
    let port = server.port;
    for trust in [trust, RelayTrust::AnyCertificate] {
        let house = house_trusting(localhost(), 1, trust, |c| {
            c.smtproutes.insert(b"".to_vec(), relay(port));
        });
        let outcomes = house.send(&["r@far.test"]).await;
        assert!(delivered(&outcomes), "{outcomes:?}");
    }
    assert!(!server.clear.lock().unwrap().iter().any(|l| l.starts_with("AUTH")));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_untrusted_or_clear_smarthost_gets_no_password() {
    let server = tls_server(with_auth).await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let trust = RelayTrust::from_pem(other.cert.pem().as_bytes()).unwrap();
    let port = server.port;
    let house = house_trusting(localhost(), 1, trust, |c| {
        c.smtproutes.insert(b"".to_vec(), relay(port));
    });
    let outcome = text(&house.send(&["r@far.test"]).await[0]);
    assert!(outcome.starts_with("Z4.7.5 ") && outcome.contains("login needs TLS"), "{outcome}");
    assert!(server.secret.lock().unwrap().is_empty());

    let clear = serve(friendly_but(&[("EHLO", "250-x\r\n250 AUTH PLAIN")])).await;
    let port = clear.port;
    let house = house_trusting(localhost(), 1, RelayTrust::AnyCertificate, |c| {
        c.smtproutes.insert(b"".to_vec(), relay(port));
    });
    let outcome = text(&house.send(&["r@far.test"]).await[0]);
    assert!(outcome.starts_with("Z4.7.5 "), "{outcome}");
    assert_eq!(clear.lines().iter().filter(|l| l.starts_with("AUTH")).count(), 0);
}

#[test]
fn trust_needs_certificates() {
    assert!(RelayTrust::from_pem(b"no pem here").is_err());
}
