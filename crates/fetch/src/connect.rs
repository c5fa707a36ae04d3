//! The connection to the other server: TCP to one of its addresses, TLS when the session says so, every wait bounded. Used by `run`; knows neither
//! protocol.

use crate::run::Trouble;
use postino_control::fetch::{FetchAccount, FetchTls, FetchTrust};
use postino_net::tls::client::{ClientTls, Trust, system_roots};
use postino_ports::dns::Dns;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// Addresses of a server that are tried.
const ADDRESSES_MAX: usize = 8;
/// One TCP connection.
const CONNECT: Duration = Duration::from_secs(30);

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Lost in a handshake that failed.
    Gone,
}

/// A connection.
pub(crate) struct Connection {
    stream: Stream,
    idle: Duration,
    host: String,
    tls: Option<ClientTls>,
    /// The address that answered.
    pub(crate) peer: IpAddr,
    /// Bytes read.
    pub(crate) bytes: u64,
}

impl Connection {
    /// Connects, and does the handshake with implicit TLS.
    pub(crate) async fn open(account: &FetchAccount, dns: &dyn Dns) -> Result<Self, Trouble> {
        let tls = match account.tls {
            FetchTls::None => None,
            _ => Some(client_tls(account.trust.clone()).await?),
        };
        let (socket, peer) = connect(account, dns).await?;
        let _ = socket.set_nodelay(true); // without it only slower
        let (idle, host) = (account.idle, account.host.clone());
        let mut connection = Self { stream: Stream::Clear(socket), idle, host, tls, peer, bytes: 0 };
        if account.tls == FetchTls::Implicit {
            connection.start_tls().await?;
        }
        Ok(connection)
    }

    /// The handshake.
    pub(crate) async fn start_tls(&mut self) -> Result<(), Trouble> {
        let Stream::Clear(socket) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(Trouble::Tls("TLS within TLS".into()));
        };
        let tls = self.tls.as_ref().ok_or_else(|| Trouble::Tls("not wanted".into()))?;
        match timeout(self.idle, tls.connect(&self.host, self.peer, socket)).await {
            Ok(Ok(stream)) => {
                self.stream = Stream::Tls(Box::new(stream));
                Ok(())
            }
            Ok(Err(error)) => Err(Trouble::Tls(postino_types::printable::printable(error.to_string().as_bytes()))),
            Err(_) => Err(Trouble::Silent),
        }
    }

    /// Sends all of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let sent = match &mut self.stream {
            Stream::Clear(stream) => timeout(self.idle, stream.write_all(bytes)).await,
            Stream::Tls(stream) => {
                timeout(self.idle, async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                })
                .await
            }
            Stream::Gone => return Err(Trouble::Closed),
        };
        outcome(sent)
    }

    /// Reads what is there, at least one byte.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Trouble> {
        let read = match &mut self.stream {
            Stream::Clear(stream) => timeout(self.idle, stream.read(buffer)).await,
            Stream::Tls(stream) => timeout(self.idle, stream.read(buffer)).await,
            Stream::Gone => return Err(Trouble::Closed),
        };
        match outcome(read)? {
            0 => Err(Trouble::Closed),
            n => {
                self.bytes = self.bytes.saturating_add(n as u64);
                Ok(n)
            }
        }
    }
}

fn outcome<T>(result: Result<io::Result<T>, tokio::time::error::Elapsed>) -> Result<T, Trouble> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Trouble::Closed),
        Ok(Err(error)) => Err(Trouble::Broken(postino_types::printable::printable(error.to_string().as_bytes()))),
        Err(_) => Err(Trouble::Silent),
    }
}

async fn client_tls(trust: FetchTrust) -> Result<ClientTls, Trouble> {
    let made = tokio::task::spawn_blocking(move || {
        let trust = match trust {
            FetchTrust::System => Trust::Roots(system_roots().next().unwrap_or_default()),
            FetchTrust::Roots(path) => {
                Trust::Roots(std::fs::read(&path).map_err(|e| Trouble::Tls(format!("cannot read {}: {e}", path.display())))?)
            }
            FetchTrust::Pinned(sha256) => Trust::Pinned(sha256),
        };
        ClientTls::new(&trust).map_err(|e| Trouble::Tls(e.to_string()))
    });
    made.await.map_err(|e| Trouble::Tls(e.to_string()))?
}

async fn connect(account: &FetchAccount, dns: &dyn Dns) -> Result<(TcpStream, IpAddr), Trouble> {
    let ips = match account.host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => dns.addresses(&account.host).await.map_err(|e| Trouble::Name(account.host.clone(), e.to_string()))?,
    };
    let mut last = Trouble::Name(account.host.clone(), "no address".into());
    for ip in ips.into_iter().take(ADDRESSES_MAX) {
        match timeout(CONNECT.min(account.idle), TcpStream::connect(SocketAddr::new(ip, account.port))).await {
            Ok(Ok(socket)) => return Ok((socket, ip)),
            Ok(Err(error)) => last = Trouble::Connect(ip, account.port, error.to_string()),
            Err(_) => last = Trouble::Connect(ip, account.port, "timed out".into()),
        }
    }
    Err(last)
}
