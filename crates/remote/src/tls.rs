//! TLS for outgoing mail. Opportunistic TLS (RFC 7435) takes any certificate: it guards against listeners, and a stricter client would
//! fall back to clear text, which guards against nobody. Called by `open`; reads no file.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;

/// Whom a login at a smarthost trusts.
#[derive(Debug, Clone)]
pub enum RelayTrust {
    /// Any certificate: safe from listeners, not from an attacker in the middle.
    AnyCertificate,
    /// The relay's name, certified by one of these.
    Roots(Arc<RootCertStore>),
}

/// No root certificate could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Not PEM, or no certificate that can be a root.
    #[error("no usable root certificate")]
    NoRoots,
    /// The TLS library refused its own settings.
    #[error("tls: {0}")]
    Tls(String),
}

impl RelayTrust {
    /// From a PEM bundle (`/etc/ssl/certs/ca-certificates.crt`). Certificates that cannot be roots are skipped.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
        if roots.is_empty() { Err(TrustError::NoRoots) } else { Ok(Self::Roots(Arc::new(roots))) }
    }
}

/// The two client configurations.
pub(crate) struct TlsClients {
    /// For mail exchangers.
    pub(crate) opportunistic: Arc<ClientConfig>,
    /// For smarthosts with a login.
    pub(crate) relay: Arc<ClientConfig>,
}

impl TlsClients {
    pub(crate) fn new(trust: &RelayTrust) -> Result<Self, TrustError> {
        let provider = Arc::new(ring::default_provider());
        let opportunistic = Arc::new(any_certificate(&provider)?);
        let relay = match trust {
            RelayTrust::AnyCertificate => opportunistic.clone(),
            RelayTrust::Roots(roots) => Arc::new(builder(&provider)?.with_root_certificates(roots.clone()).with_no_client_auth()),
        };
        Ok(Self { opportunistic, relay })
    }
}

fn builder(provider: &Arc<CryptoProvider>) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider.clone());
    builder.with_safe_default_protocol_versions().map_err(|e| TrustError::Tls(e.to_string()))
}

fn any_certificate(provider: &Arc<CryptoProvider>) -> Result<ClientConfig, TrustError> {
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    Ok(builder(provider)?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The name for SNI: the host's, or the address when the host is none.
pub(crate) fn server_name(host: &str, ip: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(ip))
}

/// Takes any certificate, but its owner must hold the key: the handshake's signatures are checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
