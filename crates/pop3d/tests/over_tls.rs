//! STLS and implicit TLS with a certificate made for the test.

use crate::house::{Client, House, Plan};
use postino_net::ServerTls;
use postino_net::tls::{SelfMade, ensure_self_made, provider};
use postino_pop3d::TlsMode;
use postino_types::Time;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

struct Authority {
    _dir: tempfile::TempDir,
    made: SelfMade,
}

impl Authority {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Time::from_secs(i64::try_from(now.as_secs()).unwrap());
        let made = ensure_self_made(dir.path(), &["mail.example.org".into()], &[], now).unwrap();
        Self { _dir: dir, made }
    }

    fn server(&self) -> Option<Arc<ServerTls>> {
        Some(Arc::new(ServerTls::new(std::slice::from_ref(&self.made.identity)).unwrap()))
    }

    async fn secure(&self, stream: TcpStream) -> Client<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.made.authority).unwrap()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("mail.example.org").unwrap();
        Client::new(tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
    }
}

fn tls_only(config: &mut postino_control::Config) {
    config.server.plaintext_login_from_loopback = false;
}

#[tokio::test]
async fn stls_makes_passwords_possible() {
    let authority = Authority::new();
    let plan = Plan { mail: vec!["A: b\n\nc\n".into()], tls: authority.server(), config: tls_only, ..Plan::default() };
    let mut house = House::start(plan);
    let mut client = house.connect().await;
    client.expect("+OK <").await;
    client.ask("CAPA", "+OK").await;
    let before = client.lines().await;
    assert!(before.contains(&"STLS".into()) && !before.iter().any(|c| c.starts_with("SASL")));
    client.ask("STLS", "+OK").await;
    let mut client = authority.secure(client.stream).await;
    client.ask("CAPA", "+OK").await;
    let after = client.lines().await;
    assert!(!after.contains(&"STLS".into()) && after.contains(&"SASL PLAIN LOGIN".into()));
    client.ask("STLS", "-ERR").await;
    client.ask("USER user@example.org", "+OK").await;
    client.ask("PASS se same", "+OK 1").await;
    client.ask("RETR 1", "+OK 11").await;
    assert_eq!(client.lines().await, ["A: b", "", "c"]);
    client.ask("QUIT", "+OK").await;
    assert_eq!(client.line().await, None);
    assert_eq!(house.event("end").await, "end pop3 user@example.org TLSv1.3 1 quit");
}

/// Row 3: what comes with STLS in one packet is neither obeyed nor taken for TLS.
#[tokio::test]
async fn row_3_injected_commands_are_forgotten() {
    let authority = Authority::new();
    let house = House::start(Plan { tls: authority.server(), ..Plan::default() });
    let mut client = house.connect().await;
    client.expect("+OK <").await;
    client.ask("STLS\r\nUSER attacker\r\nNOOP", "+OK begin TLS").await;
    let mut client = authority.secure(client.stream).await;
    client.ask("PASS x", "-ERR USER first").await;
    client.ask("NOOP", "+OK").await;
}

#[tokio::test]
async fn implicit_tls_greets_inside() {
    let authority = Authority::new();
    let mut house = House::start(Plan { tls: authority.server(), mode: TlsMode::Implicit, config: tls_only, ..Plan::default() });
    let stream = TcpStream::connect(house.address).await.unwrap();
    let mut client = authority.secure(stream).await;
    client.login().await;
    client.ask("QUIT", "+OK").await;
    assert_eq!(house.event("end").await, "end pop3s user@example.org TLSv1.3 0 quit");
}

#[tokio::test]
async fn clear_text_on_the_tls_port_ends_the_session() {
    let authority = Authority::new();
    let mut house = House::start(Plan { tls: authority.server(), mode: TlsMode::Implicit, ..Plan::default() });
    let mut client = house.connect().await;
    client.send("USER user@example.org\r\nPASS se same\r\n").await;
    assert!(house.event("end").await.ends_with(" tls"));
}
