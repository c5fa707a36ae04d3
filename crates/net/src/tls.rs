//! TLS for servers: certificates by host name, reread without a restart, TLS 1.2 and newer. Listeners and STARTTLS use it; it never
//! prints a key and never falls back to clear text.

pub mod client;
mod identity;
mod self_made;

pub use identity::{Identity, certificate_expiry};
pub use self_made::{SelfMade, ensure_self_made};

use arc_swap::ArcSwap;
use postino_control::resolved::TlsIdentity;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::net::TcpStream;

/// Why certificates are not in force. The old ones stay.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {what}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// No certificate at all.
    #[error("no certificate is configured")]
    None,
    /// A certificate could not be made or put in force.
    #[error("TLS: {0}")]
    Setup(String),
}

/// How long a client may take for the handshake unless [`ServerTls::with_handshake_timeout`] says otherwise.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Our certificates and session keys; shared by all listeners.
pub struct ServerTls {
    shown: ArcSwap<Shown>,
    tickets: Arc<dyn ProducesTickets>,
    handshake_timeout: Duration,
}

/// What is in force.
struct Shown {
    config: Arc<ServerConfig>,
    names: Arc<HostNames>,
}

/// A connection after its handshake.
pub struct Encrypted {
    pub(crate) stream: tokio_rustls::server::TlsStream<TcpStream>,
    /// What `tls-server-end-point` binds to, of the certificate that was shown.
    pub(crate) end_point: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encrypted(..)")
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServerTls(..)")
    }
}

impl ServerTls {
    /// Reads the files of `identities`; the first is shown to clients that ask for no or an unknown name.
    pub fn new(identities: &[TlsIdentity]) -> Result<Self, TlsError> {
        Self::from_identities(identities.iter().map(Identity::read).collect::<Result<_, _>>()?)
    }

    /// From certificates already read (by a part that may read keys, for one that may not).
    pub fn from_identities(identities: Vec<Identity>) -> Result<Self, TlsError> {
        // Tickets are encrypted with keys that rotate and live in memory only: resumption without a table of sessions that could grow.
        let tickets = rustls::crypto::ring::Ticketer::new().map_err(|e| TlsError::Setup(e.to_string()))?;
        let shown = server_config(identities, Arc::clone(&tickets))?;
        Ok(Self { shown: ArcSwap::from_pointee(shown), tickets, handshake_timeout: HANDSHAKE_TIMEOUT })
    }

    /// Another limit for the handshake.
    #[must_use]
    pub fn with_handshake_timeout(mut self, limit: Duration) -> Self {
        self.handshake_timeout = limit;
        self
    }

    /// Rereads; on an error the certificates in force stay. Sessions already running keep theirs.
    pub fn reload(&self, identities: &[TlsIdentity]) -> Result<(), TlsError> {
        self.reload_identities(identities.iter().map(Identity::read).collect::<Result<_, _>>()?)
    }

    /// As [`Self::reload`], from certificates already read.
    pub fn reload_identities(&self, identities: Vec<Identity>) -> Result<(), TlsError> {
        self.shown.store(Arc::new(server_config(identities, Arc::clone(&self.tickets))?));
        Ok(())
    }

    /// The handshake on an accepted connection, within the time limit.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<Encrypted> {
        let shown = self.shown.load_full();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&shown.config));
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake timed out");
        let stream = tokio::time::timeout(self.handshake_timeout, acceptor.accept(socket)).await.map_err(timed_out)??;
        let end_point = shown.names.choose(stream.get_ref().1.server_name()).end_point.clone();
        Ok(Encrypted { stream, end_point })
    }
}

/// The cryptography that every TLS user of the house names explicitly: with two providers in one process the defaults panic.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

fn server_config(identities: Vec<Identity>, tickets: Arc<dyn ProducesTickets>) -> Result<Shown, TlsError> {
    let names = Arc::new(HostNames::new(identities)?);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|e| TlsError::Setup(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(&names) as Arc<dyn ResolvesServerCert>);
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.ticketer = tickets;
    config.send_tls13_tickets = 1;
    // Our order is the strongest first.
    config.ignore_client_order = true;
    Ok(Shown { config: Arc::new(config), names })
}

/// Chooses the certificate: the exact host name, then a wildcard one label up, then the first.
#[derive(Debug)]
struct HostNames {
    exact: HashMap<String, Arc<Identity>>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<String, Arc<Identity>>,
    first: Arc<Identity>,
}

impl HostNames {
    fn new(identities: Vec<Identity>) -> Result<Self, TlsError> {
        let identities: Vec<_> = identities.into_iter().map(Arc::new).collect();
        let first = identities.first().map(Arc::clone).ok_or(TlsError::None)?;
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for identity in identities {
            match identity.host.strip_prefix("*.") {
                Some(parent) => wildcard.entry(parent.to_owned()).or_insert(identity),
                None => exact.entry(identity.host.clone()).or_insert(identity),
            };
        }
        Ok(Self { exact, wildcard, first })
    }

    fn choose(&self, asked: Option<&str>) -> &Identity {
        let Some(name) = asked.map(|n| n.trim_end_matches('.').to_ascii_lowercase()) else {
            return &self.first;
        };
        let parent = name.split_once('.').map_or("", |(_, parent)| parent);
        self.exact.get(&name).or_else(|| self.wildcard.get(parent)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for HostNames {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.choose(hello.server_name()).key))
    }
}

#[cfg(test)]
mod tests;
