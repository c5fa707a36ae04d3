//! One connection, plain or under TLS. Daemons read and write it; STARTTLS turns one into the other. It buffers nothing of its own, so
//! a plain connection costs no memory here and no byte can be carried across the handshake.

use crate::tls::{Encrypted, ServerTls};
use postino_sasl::Binding;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// A connection that we accepted.
#[derive(Debug)]
pub enum Stream {
    /// Clear text.
    Plain(TcpStream),
    /// TLS; boxed, so that a plain session does not carry the room of an encrypted one.
    Tls(Box<Encrypted>),
}

/// How long [`Stream::close`] waits for the peer to finish.
const LINGER: Duration = Duration::from_secs(2);
/// How much [`Stream::close`] reads and throws away.
const LINGER_BYTES_MAX: usize = 256 * 1024;

impl Stream {
    /// Does the handshake of STARTTLS or of implicit TLS within the limit of `tls`. The caller throws away whatever it read before
    /// (RFC 3207 4.2, RFC 2595 4). An error means that the connection is of no more use.
    pub async fn start_tls(self, tls: &ServerTls) -> io::Result<Self> {
        match self {
            Self::Plain(socket) => Ok(Self::Tls(Box::new(tls.accept(socket).await?))),
            Self::Tls(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is already active")),
        }
    }

    /// The client's address; an IPv4 address mapped into IPv6 comes out as IPv4.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr().map(crate::listener::normal)
    }

    /// Our address, normal as [`Self::peer_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().local_addr().map(crate::listener::normal)
    }

    /// True under TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// `TLSv1.2` or `TLSv1.3`; `None` in clear text.
    #[must_use]
    pub fn tls_version(&self) -> Option<&'static str> {
        match self.session()?.protocol_version()? {
            rustls::ProtocolVersion::TLSv1_2 => Some("TLSv1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("TLSv1.3"),
            _ => Some("TLS"),
        }
    }

    /// The cipher suite by its IANA name (`TLS_AES_256_GCM_SHA384`); `None` in clear text.
    #[must_use]
    pub fn cipher(&self) -> Option<String> {
        let name = format!("{:?}", self.session()?.negotiated_cipher_suite()?.suite());
        Some(name.replacen("TLS13_", "TLS_", 1))
    }

    /// What this connection alone has, for channel binding; `None` in clear text, or where TLS has nothing of that kind.
    #[must_use]
    pub fn channel_binding(&self, binding: Binding) -> Option<Vec<u8>> {
        match binding {
            Binding::EndPoint => match self {
                Self::Plain(_) => None,
                Self::Tls(tls) => tls.end_point.as_deref().map(<[u8]>::to_vec),
            },
            Binding::Exporter => {
                let session = self.session()?;
                // RFC 9266 4: before TLS 1.3 it is only good with the extended master secret, of which rustls does not tell.
                if session.protocol_version()? != rustls::ProtocolVersion::TLSv1_3 {
                    return None;
                }
                session.export_keying_material(vec![0u8; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok()
            }
        }
    }

    /// The host name that the client asked for; `None` in clear text or without SNI.
    #[must_use]
    pub fn sni(&self) -> Option<&str> {
        self.session()?.server_name()
    }

    /// Ends the connection so that the last reply arrives: says goodbye, then reads on for a short while. Closing a socket with
    /// unread bytes makes the kernel send a reset, which may destroy the reply on its way.
    pub async fn close(mut self) {
        if self.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            let mut buffer = [0u8; 1024];
            let mut total = 0usize;
            while total < LINGER_BYTES_MAX {
                match self.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => total = total.saturating_add(n),
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drain).await;
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.stream.get_ref().0,
        }
    }

    fn session(&self) -> Option<&rustls::ServerConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls.stream.get_ref().1),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(context, buffer),
            Self::Tls(s) => Pin::new(&mut s.stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(context, bytes),
            Self::Tls(s) => Pin::new(&mut s.stream).poll_write(context, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(context),
            Self::Tls(s) => Pin::new(&mut s.stream).poll_flush(context),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(context),
            Self::Tls(s) => Pin::new(&mut s.stream).poll_shutdown(context),
        }
    }
    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write_vectored(context, parts),
            Self::Tls(s) => Pin::new(&mut s.stream).poll_write_vectored(context, parts),
        }
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(s) => s.is_write_vectored(),
            Self::Tls(s) => s.stream.is_write_vectored(),
        }
    }
}
