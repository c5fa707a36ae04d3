//! TLS as a client that insists on whom it talks to: a certificate for the server's name under trusted roots, or one certain certificate. Fetching mail
//! uses it; opportunistic TLS of outgoing mail does not.

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
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
                if roots.is_empty() {
                    return Err(TlsError::Setup("no usable root certificate".into()));
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build().map_err(|e| setup(&e))?
            }
            Trust::Pinned(sha256) => Arc::new(Pinned { sha256: *sha256 }),
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
        let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(ip));
        self.connector.connect(name, socket).await
    }
}

/// The system's bundle of root certificates; `None` when there is none in the usual places. `SSL_CERT_FILE` names another.
#[must_use]
pub fn system_roots() -> Option<Vec<u8>> {
    let bundles = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(bundles.map(PathBuf::from)).find_map(|path| std::fs::read(path).ok())
}

/// One certificate and no other; its owner must hold the key, so the handshake's signatures are checked.
#[derive(Debug)]
struct Pinned {
    sha256: [u8; 32],
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use sha2::Digest as _;
        let found = sha2::Sha256::digest(end_entity);
        if found.as_slice() == self.sha256 {
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
