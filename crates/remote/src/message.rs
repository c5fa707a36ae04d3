//! A message as a transaction needs it: what it holds, and its bytes on the wire. Called by `deliver` and `transact`; files are read on
//! blocking threads, never on the runtime's.

use crate::connection::{Broken, Connection};
use bytes::Bytes;
use postino_control::Config;
use postino_message::masquerade::{Fields, HeaderRewriter};
use postino_ports::body::Body;
use postino_ports::queue::QueueEntry;
use postino_smtp::client::BodyEncoder;
use std::io;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Bytes of a file read at once.
const FILE_CHUNK_BYTES: usize = 256 * 1024;
/// Bytes of memory encoded at once.
const MEMORY_CHUNK_BYTES: usize = 128 * 1024;
/// Bytes of a file looked at before MAIL, for 8-bit content and the header.
const HEAD_BYTES: usize = 64 * 1024;

/// The message.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    prepend: Bytes,
    body: Body,
    /// `control/masquerade` has rules.
    masquerade: Option<Arc<Config>>,
    /// Bytes above 127 were seen.
    pub(crate) eight_bit: bool,
    /// The header holds bytes above 127.
    pub(crate) header_is_utf8: bool,
    /// Bytes as stored.
    pub(crate) stored_bytes: u64,
    /// Bytes on the wire as far as known: exact in memory, a little short for files.
    pub(crate) wire_bytes: u64,
}

impl Message {
    /// Looks at a message, which will go out as `config` wants it. Fails when it cannot be read.
    pub(crate) async fn examine(entry: &QueueEntry, body: Body, config: &Arc<Config>) -> io::Result<Self> {
        let head = match &body {
            Body::Memory(bytes) => bytes.clone(),
            Body::File { .. } => Bytes::from(read_chunk(body.clone(), 0, Vec::new(), HEAD_BYTES).await?),
        };
        let parts = [&entry.prepend[..], &head[..]];
        let lines: usize = parts.iter().map(|part| memchr::memchr_iter(b'\n', part).count()).sum();
        let stored_bytes = body.len().saturating_add(entry.prepend.len() as u64);
        Ok(Self {
            eight_bit: parts.iter().any(|part| !part.is_ascii()),
            header_is_utf8: !entry.prepend.is_ascii() || !header_of(&head).is_ascii(),
            stored_bytes,
            wire_bytes: stored_bytes.saturating_add(lines as u64),
            prepend: entry.prepend.clone(),
            body,
            masquerade: (!config.masquerade.is_empty()).then(|| config.clone()),
        })
    }

    /// Sends the message and its final dot, which shares a write with the last bytes.
    pub(crate) async fn send(&self, connection: &mut Connection) -> Result<(), Broken> {
        let mut encoder = Outgoing::new(self.masquerade.clone());
        connection.wire.clear();
        encoder.encode(&self.prepend, &mut connection.wire);
        match &self.body {
            Body::Memory(bytes) => {
                let mut chunks = bytes.chunks(MEMORY_CHUNK_BYTES).peekable();
                while let Some(chunk) = chunks.next() {
                    encoder.encode(chunk, &mut connection.wire);
                    if chunks.peek().is_some() {
                        connection.send_wire().await?;
                    }
                }
            }
            Body::File { .. } => self.send_file(&mut encoder, connection).await?,
        }
        encoder.finish(&mut connection.wire);
        connection.session.body_ending();
        connection.send_wire().await?;
        connection.session.body_sent();
        Ok(())
    }

    async fn send_file(&self, encoder: &mut Outgoing, connection: &mut Connection) -> Result<(), Broken> {
        let mut offset = 0u64;
        let mut buffer = Vec::new();
        while offset < self.body.len() {
            if !connection.wire.is_empty() && offset > 0 {
                connection.send_wire().await?;
            }
            buffer = read_chunk(self.body.clone(), offset, buffer, FILE_CHUNK_BYTES).await.map_err(|_| Broken::Body)?;
            if buffer.is_empty() {
                return Err(Broken::Body); // the file is shorter than the queue says: no dot, no half message
            }
            offset = offset.saturating_add(buffer.len() as u64);
            encoder.encode(&buffer, &mut connection.wire);
        }
        Ok(())
    }
}

/// The message on its way onto the wire: masqueraded, then encoded.
struct Outgoing {
    encoder: BodyEncoder,
    /// While the header lasts.
    header: Option<(HeaderRewriter, Arc<Config>)>,
}

impl Outgoing {
    fn new(masquerade: Option<Arc<Config>>) -> Self {
        let header = masquerade.map(|config| {
            let fields = if config.masquerade.rewrites_recipients() { Fields::All } else { Fields::Senders };
            (HeaderRewriter::new(fields), config)
        });
        Self { encoder: BodyEncoder::new(), header }
    }

    fn encode(&mut self, chunk: &[u8], wire: &mut Vec<u8>) {
        let Some((rewriter, config)) = &mut self.header else { return self.encoder.encode(chunk, wire) };
        let mut rewritten = Vec::with_capacity(chunk.len() + 256);
        rewriter.feed(chunk, &|address| config.masquerade.outside(address), &mut rewritten);
        if rewriter.is_done() {
            self.header = None;
        }
        self.encoder.encode(&rewritten, wire);
    }

    fn finish(&mut self, wire: &mut Vec<u8>) {
        if let Some((mut rewriter, config)) = self.header.take() {
            let mut rest = Vec::new();
            rewriter.finish(&|address| config.masquerade.outside(address), &mut rest);
            self.encoder.encode(&rest, wire);
        }
        self.encoder.finish(wire);
    }
}

async fn read_chunk(body: Body, offset: u64, mut buffer: Vec<u8>, bytes_max: usize) -> io::Result<Vec<u8>> {
    let read = spawn_blocking(move || {
        buffer.resize(bytes_max, 0);
        let n = body.read_at(offset, &mut buffer)?;
        buffer.truncate(n);
        Ok(buffer)
    });
    read.await.map_err(io::Error::other)?
}

fn header_of(head: &[u8]) -> &[u8] {
    if head.first() == Some(&b'\n') {
        return &[];
    }
    let end = memchr::memmem::find(head, b"\n\n").unwrap_or(head.len());
    head.get(..end).unwrap_or(head)
}
