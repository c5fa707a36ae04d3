//! What lies in the file: Return-Path, Delivered-To, the lines of acceptance, the body unchanged. One write for small messages.

use bytes::Bytes;
use postino_ports::body::Body;
use postino_ports::disk::DiskFile;
use std::io;

/// A message with its lines in front.
#[derive(Debug)]
pub(super) struct Content {
    /// Return-Path and Delivered-To.
    pub(super) head: Vec<u8>,
    /// The queue entry's lines.
    pub(super) prepend: Bytes,
    /// The body.
    pub(super) body: Body,
}

impl Content {
    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        (self.head.len() as u64).saturating_add(self.message_bytes())
    }

    /// Length without the lines that delivery adds.
    pub(super) fn message_bytes(&self) -> u64 {
        (self.prepend.len() as u64).saturating_add(self.body.len())
    }

    /// Writes all of it.
    pub(super) fn write(&self, file: &mut dyn DiskFile) -> io::Result<()> {
        match &self.body {
            Body::Memory(body) => file.write_all(&[self.head.as_slice(), &self.prepend, body].concat()),
            Body::File { .. } => {
                file.write_all(&[self.head.as_slice(), &self.prepend].concat())?;
                self.body.for_each_chunk(|chunk| file.write_all(chunk))
            }
        }
    }
}
