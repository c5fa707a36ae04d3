//! A connection that changes its roles: whoever served it hands it over to a client's hands, or the other way round. Knows no protocol.

use tokio::io::{AsyncRead, AsyncWrite};

/// Bytes in both directions, in clear or under TLS.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for T {}

/// Such a connection, whatever it is made of.
pub type BoxedStream = Box<dyn Duplex>;
