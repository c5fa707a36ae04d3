//! A connection's bytes, in clear or under TLS. Called by `connection` and `open`; knows no SMTP.

use postino_net::BoxedStream;
use std::io;
use std::task::{Context, Waker};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Clear or TLS.
pub(crate) enum Stream {
    /// Clear.
    Clear(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// Made by the other side and turned round.
    Turned(BoxedStream),
}

impl Stream {
    /// Reads what is there; 0 at the end.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(buffer).await,
            Self::Tls(stream) => stream.read(buffer).await,
            Self::Turned(stream) => stream.read(buffer).await,
        }
    }

    /// Writes at least one byte.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.write(bytes).await,
            Self::Tls(stream) => stream.write(bytes).await,
            Self::Turned(stream) => stream.write(bytes).await,
        }
    }

    /// Pushes out what TLS still holds.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Clear(_) => Ok(()),
            Self::Tls(stream) => stream.flush().await,
            Self::Turned(stream) => stream.flush().await,
        }
    }

    /// For whoever goes on with it.
    pub(crate) fn into_boxed(self) -> BoxedStream {
        match self {
            Self::Clear(stream) => Box::new(stream),
            Self::Tls(stream) => stream,
            Self::Turned(stream) => stream,
        }
    }

    /// True while the other side has neither closed nor said anything. Never blocks.
    pub(crate) fn is_quiet(&self) -> bool {
        let tcp = match self {
            Self::Clear(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            // Never rests in the pool: whether it lives is found out when it is used.
            Self::Turned(_) => return true,
        };
        let mut byte = [0u8; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = Context::from_waker(Waker::noop());
        tcp.poll_peek(&mut context, &mut buffer).is_pending()
    }
}
