//! TLS as a client. Fetching mail insists on whom it talks to: a certificate for the server's name under trusted roots, or one certain certificate.
//! Outgoing mail has configurations of its own and takes the roots, the name and the verifier from here. Reads no file but `system_roots`.

use super::{TlsError, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whose certificate is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// One for the server's name that these roots certify (a PEM bundle).
    Roots(Vec<u8>),
    /// The one with this SHA-256, whatever its name and date.
    Pinned([u8; 32]),
}

/// Makes connections.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
}

impl ClientTls {
    /// # Errors
    /// Without one usable root certificate.
    pub fn new(trust: &Trust) -> Result<Self, TlsError> {
        let setup = |e: &dyn std::fmt::Display| TlsError::Setup(e.to_string());
        let verifier: Arc<dyn ServerCertVerifier> = match trust {
            Trust::Roots(pem) => {
                let roots = roots(pem).ok_or_else(|| TlsError::Setup("no usable root certificate".into()))?;
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|e| setup(&e))?
            }
            Trust::Pinned(sha256) => Arc::new(ByKey { sha256: Some(*sha256) }),
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|e| setup(&e))?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }

    /// Does the handshake; `host` is the name that the certificate must have (the address, when it is none).
    ///
    /// # Errors
    /// Those of the handshake: the connection is of no more use.
    pub async fn connect(&self, host: &str, ip: IpAddr, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(server_name(host, ip), socket).await
    }
}

/// The roots of a PEM bundle; what cannot be a root is skipped. `None` when nothing is left.
#[must_use]
pub fn roots(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    (!roots.is_empty()).then_some(roots)
}

/// The name for SNI and for the certificate: the host's, or the address when the host is none.
#[must_use]
pub fn server_name(host: &str, ip: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(ip))
}

/// Takes any certificate (opportunistic TLS, RFC 7435).
#[must_use]
pub fn any_certificate() -> Arc<dyn ServerCertVerifier> {
    Arc::new(ByKey { sha256: None })
}

/// The system's bundles of root certificates that can be read, the one that `SSL_CERT_FILE` names first.
pub fn system_roots() -> impl Iterator<Item = Vec<u8>> {
    let bundles = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(bundles.map(PathBuf::from)).filter_map(|path| std::fs::read(path).ok())
}

/// Any certificate, or one and no other; its owner must hold the key, so the handshake's signatures are checked.
#[derive(Debug)]
struct ByKey {
    sha256: Option<[u8; 32]>,
}

impl ServerCertVerifier for ByKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use sha2::Digest as _;
        let Some(wanted) = self.sha256 else { return Ok(ServerCertVerified::assertion()) };
        let found = sha2::Sha256::digest(end_entity);
        if found.as_slice() == wanted {
            return Ok(ServerCertVerified::assertion());
        }
        let hex: String = found.iter().map(|b| format!("{b:02x}")).collect();
        Err(rustls::Error::General(format!("the server shows another certificate: sha256:{hex}")))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
