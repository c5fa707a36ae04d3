//! TLS for outgoing mail. Opportunistic TLS (RFC 7435) takes any certificate: it guards against listeners, and a stricter client would
//! fall back to clear text, which guards against nobody. Called by `open`; reads no file.

use postino_net::tls::{client, provider};
use rustls::{ClientConfig, RootCertStore};
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
        client::roots(pem).map(|roots| Self::Roots(Arc::new(roots))).ok_or(TrustError::NoRoots)
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
        let any = builder()?.dangerous().with_custom_certificate_verifier(client::any_certificate());
        let opportunistic = Arc::new(any.with_no_client_auth());
        let relay = match trust {
            RelayTrust::AnyCertificate => opportunistic.clone(),
            RelayTrust::Roots(roots) => Arc::new(builder()?.with_root_certificates(roots.clone()).with_no_client_auth()),
        };
        Ok(Self { opportunistic, relay })
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider());
    builder.with_safe_default_protocol_versions().map_err(|e| TrustError::Tls(e.to_string()))
}
