//! Certificates on disk, handshakes on loopback sockets.

use super::*;
use crate::Stream;
use postino_types::Time;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Time::from_secs(i64::try_from(since.as_secs()).unwrap())
}

fn made(dir: &Path, host: &str, now: Time) -> SelfMade {
    ensure_self_made(dir, &[host.to_owned()], &[], now).unwrap()
}

fn client(authority: &Path) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// What the server saw of a handshake.
type Seen = Result<(Option<&'static str>, Option<String>, Option<String>), io::Error>;

/// One connection: the client asks for `name`.
async fn shake(tls: Arc<ServerTls>, config: rustls::ClientConfig, name: &str) -> (io::Result<Vec<u8>>, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = Stream::Plain(socket).start_tls(&tls).await?;
        stream.write_all(b"hello").await?;
        let facts = (stream.tls_version(), stream.cipher(), stream.sni().map(str::to_owned));
        stream.close().await;
        Ok(facts)
    });
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = async {
        let socket = tokio::net::TcpStream::connect(address).await?;
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await?;
        Ok(heard)
    };
    let heard = connect.await;
    (heard, server.await.unwrap())
}

#[tokio::test]
async fn the_self_made_certificate_is_trusted_through_its_authority_alone() {
    let dir = tempfile::tempdir().unwrap();
    let files = made(dir.path(), "Mail.Example.org", now());
    let tls = Arc::new(ServerTls::new(std::slice::from_ref(&files.identity)).unwrap());
    for name in ["mail.example.org", "localhost", "127.0.0.1", "::1"] {
        let (heard, seen) = shake(tls.clone(), client(&files.authority), name).await;
        assert_eq!(heard.unwrap(), b"hello", "{name}");
        let (version, cipher, sni) = seen.unwrap();
        assert_eq!(version, Some("TLSv1.3"));
        assert!(cipher.unwrap().starts_with("TLS_"));
        assert_eq!(sni.is_some(), name.parse::<IpAddr>().is_err());
    }
    let (heard, _) = shake(tls.clone(), client(&files.authority), "other.example.org").await;
    assert!(heard.is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = made(elsewhere.path(), "mail.example.org", now());
    let (heard, _) = shake(tls, client(&stranger.authority), "mail.example.org").await;
    assert!(heard.is_err());
}

/// RFC 9266, RFC 5929 4: both ends have the same data, and each connection other ones.
#[tokio::test]
async fn channel_bindings_are_those_of_the_client() {
    use postino_sasl::Binding;
    let dir = tempfile::tempdir().unwrap();
    let files = made(dir.path(), "mail.example.org", now());
    let tls = Arc::new(ServerTls::new(std::slice::from_ref(&files.identity)).unwrap());
    let certificate = CertificateDer::from_pem_file(&files.identity.certificate).unwrap();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(Stream::Plain(listener_twin().await).channel_binding(Binding::EndPoint), None, "none in clear text");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client(&files.authority)));
        let connect = connector.connect(ServerName::try_from("mail.example.org").unwrap(), socket);
        let (ours, theirs) = tokio::join!(Stream::Plain(accepted).start_tls(&tls), connect);
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        let exported = theirs.get_ref().1.export_keying_material([0u8; 32], b"EXPORTER-Channel-Binding", None).unwrap();
        assert_eq!(ours.channel_binding(Binding::Exporter).unwrap(), exported);
        // The self-made certificate is signed with ECDSA and SHA-256.
        let digest: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&certificate).into();
        assert_eq!(ours.channel_binding(Binding::EndPoint).unwrap(), digest);
        seen.push(exported);
    }
    assert_ne!(seen[0], seen[1]);
}

async fn listener_twin() -> tokio::net::TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
}

#[tokio::test]
async fn tls_1_2_is_still_spoken() {
    let dir = tempfile::tempdir().unwrap();
    let files = made(dir.path(), "mail.example.org", now());
    let tls = Arc::new(ServerTls::new(std::slice::from_ref(&files.identity)).unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&files.authority).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (heard, seen) = shake(tls, config, "mail.example.org").await;
    assert_eq!(heard.unwrap(), b"hello");
    let (version, cipher, _) = seen.unwrap();
    assert_eq!(version, Some("TLSv1.2"));
    assert!(cipher.unwrap().starts_with("TLS_ECDHE_"));
}

#[tokio::test]
async fn the_certificate_follows_the_name_and_a_reload() {
    let (a, b, c) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = made(a.path(), "first.example.org", now());
    let exact = made(b.path(), "exact.example.net", now());
    let mut wildcard =
        ensure_self_made(c.path(), &["a.example.net".into(), "deep.a.example.net".into(), "exact.example.net".into()], &[], now()).unwrap();
    wildcard.identity.host = "*.example.net".into();
    let all = [first.identity.clone(), wildcard.identity.clone(), exact.identity.clone()];
    let tls = Arc::new(ServerTls::new(&all).unwrap());
    let works = async |authority: &Path, name: &str| shake(tls.clone(), client(authority), name).await.0.is_ok();
    assert!(works(&first.authority, "first.example.org").await);
    assert!(works(&exact.authority, "exact.example.net").await, "exact before wildcard");
    assert!(works(&wildcard.authority, "a.example.net").await);
    assert!(!works(&wildcard.authority, "deep.a.example.net").await, "one label only");
    assert!(works(&first.authority, "localhost").await, "unknown names get the first");
    // Reload: the second becomes all there is.
    tls.reload(std::slice::from_ref(&exact.identity)).unwrap();
    assert!(works(&exact.authority, "localhost").await);
    // A reload that fails changes nothing.
    fs::write(&exact.identity.key, "nonsense").unwrap();
    let error = tls.reload(std::slice::from_ref(&exact.identity)).unwrap_err().to_string();
    assert!(error.contains("key.pem") && !error.contains("nonsense"), "{error}");
    assert!(works(&exact.authority, "localhost").await);
}

#[test]
fn errors_name_the_file() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (made(a.path(), "a.example", now()), made(b.path(), "b.example", now()));
    let fails = |certificate: &Path, key: &Path| {
        let identity = TlsIdentity { host: "a".into(), certificate: certificate.into(), key: key.into() };
        ServerTls::new(&[identity]).unwrap_err().to_string()
    };
    let missing = a.path().join("missing.pem");
    assert!(fails(&missing, &one.identity.key).contains("missing.pem"));
    assert!(fails(&one.identity.key, &one.identity.key).contains("key.pem: no certificate"));
    assert!(fails(&one.identity.certificate, &one.identity.certificate).contains("cert.pem: no private key"));
    let crossed = fails(&one.identity.certificate, &two.identity.key);
    assert!(crossed.contains("does not belong to"), "{crossed}");
    assert!(matches!(ServerTls::new(&[]), Err(TlsError::None)));
}

#[test]
fn it_is_made_once_and_renewed_in_time_with_the_same_key_and_authority() {
    let dir = tempfile::tempdir().unwrap();
    let start = now();
    let days = |n: i64| start.plus_secs(n * 86_400);
    let first = made(dir.path(), "mail.example.org", start);
    assert!(first.renewed);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let (ca, key, certificate) = (read("ca.pem"), read("key.pem"), read("cert.pem"));
    assert!(!made(dir.path(), "mail.example.org", days(360)).renewed);
    assert_eq!(read("cert.pem"), certificate);
    assert!(made(dir.path(), "mail.example.org", days(370)).renewed, "less than 30 days left");
    assert_ne!(read("cert.pem"), certificate);
    assert_eq!((read("ca.pem"), read("key.pem")), (ca.clone(), key.clone()));
    let expiry = certificate_expiry(&dir.path().join("cert.pem")).unwrap();
    assert_eq!(expiry.secs_since(days(370)), 397 * 86_400);
    // Another name wants another certificate; the authority goes on.
    assert!(made(dir.path(), "new.example.org", days(371)).renewed);
    assert_eq!((read("ca.pem"), read("key.pem")), (ca.clone(), key));
    // The authority itself is replaced before it dies, and then the certificate too.
    assert!(made(dir.path(), "new.example.org", days(3649)).renewed);
    assert_ne!(read("ca.pem"), ca);
    for (name, mode) in [("key.pem", 0o600), ("ca-key.pem", 0o600), ("ca.pem", 0o644), ("cert.pem", 0o644)] {
        let have = fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(have & 0o777, mode, "{name}");
    }
}

#[test]
fn damaged_or_half_made_files_are_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let good = |dir: &Path| {
        let files = made(dir, "mail.example.org", now());
        ServerTls::new(std::slice::from_ref(&files.identity)).unwrap();
    };
    good(dir.path());
    for name in ["key.pem", "ca-key.pem", "ca.pem", "cert.pem"] {
        let path = dir.path().join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        good(dir.path());
        fs::remove_file(&path).unwrap();
        good(dir.path());
    }
}

#[test]
fn names_that_no_certificate_can_hold_do_not_stop_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let files = ensure_self_made(dir.path(), &["caf\u{e9}".into(), String::new(), "x".repeat(300)], &["192.0.2.1".parse().unwrap()], now())
        .unwrap();
    ServerTls::new(std::slice::from_ref(&files.identity)).unwrap();
}

#[tokio::test]
async fn a_silent_client_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let files = made(dir.path(), "mail.example.org", now());
    let tls = ServerTls::new(std::slice::from_ref(&files.identity)).unwrap().with_handshake_timeout(Duration::from_millis(50));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _silent = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let error = Stream::Plain(socket).start_tls(&tls).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}
