//! What a session speaks over. `net`'s stream is the one of the product; tests bring a pipe. Knows no SMTP.

use postino_net::{BoxedStream, ServerTls, Stream};
use postino_smtp::server::Binding;
use std::future::Future;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

/// A two-way byte stream that can turn to TLS.
pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send + Sync + Sized + 'static {
    /// Does the handshake. After an error the connection is gone.
    fn start_tls(self, tls: &ServerTls) -> impl Future<Output = io::Result<Self>> + Send;
    /// Version and cipher for Received (`TLSv1.3 TLS_AES_256_GCM_SHA384`); `None` in the clear.
    fn tls_text(&self) -> Option<String>;
    /// What binds a login to this connection.
    fn channel_binding(&self, _binding: Binding) -> Option<Vec<u8>> {
        None
    }
    /// Ends it so that the last reply arrives.
    fn close(self) -> impl Future<Output = ()> + Send;
}

impl Transport for Stream {
    fn start_tls(self, tls: &ServerTls) -> impl Future<Output = io::Result<Self>> + Send {
        Self::start_tls(self, tls)
    }

    fn tls_text(&self) -> Option<String> {
        let version = self.tls_version()?;
        Some(format!("{version} {}", self.cipher().unwrap_or_default()))
    }

    fn channel_binding(&self, binding: Binding) -> Option<Vec<u8>> {
        Self::channel_binding(self, binding)
    }

    fn close(self) -> impl Future<Output = ()> + Send {
        Self::close(self)
    }
}

/// A connection that somebody else opened and turned round (ATRN): whatever secures it is below it.
impl Transport for BoxedStream {
    async fn start_tls(self, _tls: &ServerTls) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn tls_text(&self) -> Option<String> {
        None
    }

    async fn close(mut self) {
        // The other side may be gone already.
        let _ = self.shutdown().await;
    }
}
