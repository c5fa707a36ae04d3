//! The socket of one session: reads, bounded writes, the change to TLS. The shell uses it; it counts what it sends.

use postino_net::{ServerTls, Stream};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) struct Wire {
    /// `None` only during a handshake and after a failed one.
    stream: Option<Stream>,
    /// A client that takes nothing for so long is given up.
    pub(super) write_limit: Duration,
    /// Bytes sent, before encryption.
    pub(super) sent: u64,
}

impl Wire {
    pub(super) fn new(stream: Stream, write_limit: Duration) -> Self {
        Self { stream: Some(stream), write_limit, sent: 0 }
    }

    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Some(stream) => stream.read(buffer).await,
            None => Ok(0),
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let all = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        tokio::time::timeout(self.write_limit, all).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.sent = self.sent.saturating_add(bytes.len() as u64);
        Ok(())
    }

    pub(super) async fn start_tls(&mut self, tls: &ServerTls) -> io::Result<()> {
        let stream = self.stream.take().ok_or(io::ErrorKind::NotConnected)?;
        self.stream = Some(stream.start_tls(tls).await?);
        Ok(())
    }

    pub(super) fn tls_version(&self) -> &'static str {
        self.stream.as_ref().and_then(Stream::tls_version).unwrap_or("")
    }

    pub(super) fn channel_binding(&self, binding: postino_sasl::Binding) -> Option<Vec<u8>> {
        self.stream.as_ref()?.channel_binding(binding)
    }

    pub(super) async fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.close().await;
        }
    }
}
