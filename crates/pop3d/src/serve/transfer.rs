//! RETR and TOP: a message from the maildrop to the wire in large pieces. Called by the shell; memory is two buffers, whatever the size.

use super::Shell;
use super::record::End;
use crate::session::Send;
use crate::transmission::Transmission;
use postino_ports::body::Body;
use std::io;

/// Read from a file, and turned into wire form, at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Written as soon as so much is ready. Less waits for the next replies of a pipelined batch.
const WRITE_BYTES: usize = 48 * 1024;

impl Shell {
    /// Sends one message, or says that it cannot be opened. An error in the middle ends the connection: the client must not take half
    /// a message for a whole one.
    pub(super) async fn send(&mut self, send: Send) -> Result<(), End> {
        let Some(maildrop) = &self.maildrop else { return Ok(()) };
        let body = match maildrop.open(send.index).await {
            Ok(body) => body,
            Err(error) => {
                self.record.warn("cannot open a message", &error.to_string());
                self.session.unavailable(&mut self.out);
                return Ok(());
            }
        };
        self.session.sending(send, maildrop.messages(), &mut self.out);
        let mut transmission = send.body_lines.map_or_else(Transmission::whole, Transmission::top);
        match body {
            Body::Memory(bytes) => {
                for chunk in bytes.chunks(CHUNK_BYTES) {
                    self.pass(&mut transmission, chunk).await?;
                }
            }
            file @ Body::File { .. } => self.send_file(file, &mut transmission).await?,
        }
        transmission.finish(&mut self.out);
        if send.body_lines.is_none() {
            self.record.messages = self.record.messages.saturating_add(1);
        }
        Ok(())
    }

    async fn send_file(&mut self, body: Body, transmission: &mut Transmission) -> Result<(), End> {
        let mut buffer = Vec::new();
        let mut offset = 0u64;
        while offset < body.len() && !transmission.is_done() {
            let count;
            (buffer, count) = self.read_file(&body, offset, buffer).await?;
            if count == 0 {
                // Somebody shortened the file: less than was promised.
                return Err(End::Closed);
            }
            offset = offset.saturating_add(count as u64);
            self.pass(transmission, buffer.get(..count).unwrap_or_default()).await?;
        }
        Ok(())
    }

    /// Fills `buffer` from `offset` on a blocking thread.
    async fn read_file(&self, body: &Body, offset: u64, mut buffer: Vec<u8>) -> io::Result<(Vec<u8>, usize)> {
        let body = body.clone();
        let _turn = self.context.reads.acquire().await;
        let work = move || {
            buffer.resize(CHUNK_BYTES, 0);
            let count = body.read_at(offset, &mut buffer)?;
            Ok((buffer, count))
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }

    async fn pass(&mut self, transmission: &mut Transmission, chunk: &[u8]) -> Result<(), End> {
        transmission.push(chunk, &mut self.out);
        if self.out.len() >= WRITE_BYTES { self.write().await } else { Ok(()) }
    }
}
