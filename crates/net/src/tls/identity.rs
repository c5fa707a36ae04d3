//! A certificate chain with its key, read from PEM files. [`super::ServerTls`] uses it; errors name the file, never a byte of the key.

use super::{TlsError, provider};
use postino_control::resolved::TlsIdentity;
use postino_types::Time;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::path::Path;
use std::sync::Arc;

/// A certificate ready for use.
#[derive(Clone)]
pub struct Identity {
    /// Host name (SNI), lower case; `*.example.org` stands for one label.
    pub host: String,
    pub(super) key: Arc<CertifiedKey>,
    /// What `tls-server-end-point` binds to (RFC 5929 4.1); `None` where the certificate's signature leaves it undefined.
    pub(super) end_point: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({}, ..)", self.host)
    }
}

impl Identity {
    /// Reads both files and checks that they belong together.
    pub fn read(files: &TlsIdentity) -> Result<Self, TlsError> {
        let certificate = read(&files.certificate)?;
        let key = read(&files.key)?;
        let chain = chain(&certificate).map_err(|what| TlsError::Content { path: files.certificate.clone(), what })?;
        let wrong_key = |what: String| TlsError::Content { path: files.key.clone(), what };
        let secret = PrivateKeyDer::from_pem_slice(&key).map_err(|_| wrong_key("no private key in PEM form here".into()))?;
        let key = CertifiedKey::from_der(chain, secret, &provider()).map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => wrong_key(format!("the key does not belong to {}", files.certificate.display())),
            other => wrong_key(other.to_string()),
        })?;
        let end_point = key.cert.first().and_then(|c| end_point(c)).map(Arc::from);
        Ok(Self { host: files.host.to_ascii_lowercase(), key: Arc::new(key), end_point })
    }

    /// The end of the (first) certificate's validity.
    pub fn expires(&self) -> Option<Time> {
        self.key.cert.first().and_then(|c| expiry(c))
    }
}

/// The end of validity of the first certificate in a PEM file.
pub fn certificate_expiry(path: &Path) -> Result<Time, TlsError> {
    let wrong = |what: &str| TlsError::Content { path: path.to_owned(), what: what.to_owned() };
    let chain = chain(&read(path)?).map_err(|what| wrong(&what))?;
    chain.first().and_then(|c| expiry(c)).ok_or_else(|| wrong("not an X.509 certificate"))
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

pub(super) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|_| "damaged PEM text".to_owned())?;
    if chain.is_empty() { Err("no certificate in PEM form here".into()) } else { Ok(chain) }
}

/// The certificate's digest with the hash of its signature, SHA-256 in place of MD5 and SHA-1 (RFC 5929 4.1).
fn end_point(der: &[u8]) -> Option<Vec<u8>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    match certificate.signature_algorithm.algorithm.to_id_string().as_str() {
        // RSA with MD5, SHA-1, SHA-256; ECDSA with SHA-1, SHA-256.
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" | "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => {
            Some(Sha256::digest(der).to_vec())
        }
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(Sha384::digest(der).to_vec()),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(Sha512::digest(der).to_vec()),
        _ => None,
    }
}

pub(super) fn expiry(der: &[u8]) -> Option<Time> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    Some(Time::from_secs(certificate.validity().not_after.timestamp()))
}
