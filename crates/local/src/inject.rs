//! The way in for programs of this machine: what `qmail-queue(8)` says to the server's socket, and the drop file that it leaves when no server
//! answers. Pure bytes, used by the program and by the server; the caller's uid is the kernel's word (SO_PEERCRED, the file's owner), never ours.
//!
//! ```text
//! socket, client:  "PIJ1" | envelope length, u32 LE | envelope | chunks: length, u32 LE (1..=65536) | bytes … | 0, u32 LE
//!         or:      "PIJ2" | letter, u64 LE | as above from the envelope length on
//! socket, server:  exit code, u8 (qmail-queue's table) | text, to the end of the stream
//! drop file:       "PDF1" | pid, u32 LE | arrival, s, i64 LE | envelope length, u32 LE | envelope | body to the end of the file
//! ```
//! A letter is the server's own number for a message that it gave a program; with it the server finds again what qmail-queue's envelope cannot say.
//! The envelope is qmail-queue's own: `F` sender NUL, then `T` recipient NUL for each recipient, then NUL.

use postino_types::{Address, ReversePath, Time, address::ADDRESS_BYTES_MAX};

/// First bytes on the socket.
pub const SOCKET_MAGIC: [u8; 4] = *b"PIJ1";
/// First bytes on the socket when a letter's number follows.
pub const LETTER_MAGIC: [u8; 4] = *b"PIJ2";
/// The variable that carries a letter's number through a program.
pub const LETTER_VARIABLE: &str = "POSTINO_LETTER";
/// First bytes of a drop file.
pub const DROP_MAGIC: [u8; 4] = *b"PDF1";
/// Longest envelope, bytes.
pub const ENVELOPE_BYTES_MAX: usize = 4 << 20;
/// Most recipients of one envelope: the shortest take two bytes on the way in and a hundred times as much in memory.
pub const RECIPIENTS_MAX: usize = 100_000;
/// Longest chunk of a body, bytes.
pub const CHUNK_BYTES_MAX: usize = 65_536;
/// The socket, below the home.
pub const SOCKET_PATH: &str = "run/queue.sock";
/// The drop directory, below the home.
pub const DROP_PATH: &str = "queue/drop";
/// Bytes of a drop file in front of the envelope.
pub const DROP_HEADER_BYTES: usize = 20;

/// What is wrong with an envelope; [`EnvelopeError::exit_code`] says it in qmail-queue's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// An address is longer than 1002 bytes, or the envelope than [`ENVELOPE_BYTES_MAX`].
    #[error("envelope address too long")]
    TooLong,
    /// More than [`RECIPIENTS_MAX`] recipients.
    #[error("too many recipients in one envelope")]
    TooMany,
    /// It ends too early.
    #[error("envelope ends too early")]
    Truncated,
    /// Another letter than `F` or `T`.
    #[error("envelope format error")]
    Format,
}

impl EnvelopeError {
    /// qmail-queue's exit code.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::TooLong => 11,
            Self::TooMany => 31,
            Self::Truncated => 54,
            Self::Format => 91,
        }
    }
}

/// An envelope as injected: raw addresses, not routed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEnvelope {
    /// Sender.
    pub sender: ReversePath,
    /// Recipients, in order; may be empty.
    pub recipients: Vec<Address>,
}

impl RawEnvelope {
    /// As qmail-queue reads it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![b'F'];
        out.extend_from_slice(self.sender.as_bytes());
        out.push(0);
        for recipient in &self.recipients {
            out.push(b'T');
            out.extend_from_slice(recipient.as_bytes());
            out.push(0);
        }
        out.push(0);
        out
    }

    /// Reads a whole envelope; bytes after its end are ignored, as qmail-queue does not read them.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let mut rest = bytes;
        let sender = match rest.split_first() {
            None => return Err(EnvelopeError::Truncated),
            Some((b'F', tail)) => {
                rest = tail;
                ReversePath::from_bytes(until_nul(&mut rest)?).map_err(|_| EnvelopeError::TooLong)?
            }
            Some(_) => return Err(EnvelopeError::Format),
        };
        let mut recipients = Vec::new();
        loop {
            match rest.split_first() {
                None => return Err(EnvelopeError::Truncated),
                Some((0, _)) => return Ok(Self { sender, recipients }),
                Some((b'T', _)) if recipients.len() >= RECIPIENTS_MAX => return Err(EnvelopeError::TooMany),
                Some((b'T', tail)) => {
                    rest = tail;
                    recipients.push(Address::from_bytes(until_nul(&mut rest)?).map_err(|_| EnvelopeError::TooLong)?);
                }
                Some(_) => return Err(EnvelopeError::Format),
            }
        }
    }
}

fn until_nul<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], EnvelopeError> {
    let window = rest.get(..ADDRESS_BYTES_MAX + 1).unwrap_or(rest);
    match window.iter().position(|&b| b == 0).and_then(|i| rest.split_at_checked(i)) {
        Some((address, tail)) => {
            *rest = tail.get(1..).unwrap_or_default();
            Ok(address)
        }
        None if window.len() > ADDRESS_BYTES_MAX => Err(EnvelopeError::TooLong),
        None => Err(EnvelopeError::Truncated),
    }
}

/// The head of a socket conversation: magic, envelope with its length. Chunks follow, see [`chunk_header`].
#[must_use]
pub fn socket_head(envelope: &[u8]) -> Option<Vec<u8>> {
    head(envelope, &SOCKET_MAGIC)
}

/// The same for a message that the server knows by a letter's number.
#[must_use]
pub fn letter_head(envelope: &[u8], letter: u64) -> Option<Vec<u8>> {
    head(envelope, &[&LETTER_MAGIC[..], &letter.to_le_bytes()].concat())
}

fn head(envelope: &[u8], front: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(envelope.len()).ok()?;
    let mut out = Vec::with_capacity(envelope.len() + front.len() + 4);
    out.extend_from_slice(front);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(envelope);
    Some(out)
}

/// The four bytes in front of a chunk of `bytes` bytes; zero bytes end the body.
#[must_use]
pub fn chunk_header(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes.min(CHUNK_BYTES_MAX)).unwrap_or(0).to_le_bytes()
}

/// What the server's reader is handed by [`SocketReader`].
#[derive(Debug, PartialEq, Eq)]
pub enum SocketPart {
    /// The envelope; comes first, once.
    Envelope(RawEnvelope),
    /// Some bytes of the body.
    Body(Vec<u8>),
    /// The end; whatever follows is no part of the message.
    End,
}

/// Why a conversation cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// Not our protocol.
    #[error("not an injection")]
    Magic,
    /// A length out of bounds.
    #[error("a length is out of bounds")]
    Length,
    /// The envelope is wrong.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl SocketError {
    /// qmail-queue's exit code.
    #[must_use]
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Magic | Self::Length => 81,
            Self::Envelope(e) => e.exit_code(),
        }
    }
}

/// The server's side: fed with whatever the socket gives, hands out parts. Keeps at most one envelope or one chunk.
#[derive(Debug, Default)]
pub struct SocketReader {
    buffer: Vec<u8>,
    stage: ReadStage,
    letter: Option<u64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum ReadStage {
    #[default]
    Head,
    Body,
    Ended,
}

impl SocketReader {
    /// A fresh reader.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The letter's number, when the client named one; known with the envelope.
    #[must_use]
    pub fn letter(&self) -> Option<u64> {
        self.letter
    }

    /// Takes bytes in. Feed at most [`CHUNK_BYTES_MAX`] at a time and call [`SocketReader::next_part`] until it gives `None`.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole part; `None` when more bytes are needed.
    pub fn next_part(&mut self) -> Result<Option<SocketPart>, SocketError> {
        match self.stage {
            ReadStage::Head => self.head(),
            ReadStage::Body => self.chunk(),
            ReadStage::Ended => Ok(None),
        }
    }

    fn head(&mut self) -> Result<Option<SocketPart>, SocketError> {
        let known = self.buffer.len().min(SOCKET_MAGIC.len());
        if self.letter.is_none() && self.buffer.starts_with(&LETTER_MAGIC) {
            let Some(number) = self.buffer.get(4..).and_then(|rest| rest.first_chunk::<8>()) else { return Ok(None) };
            self.letter = Some(u64::from_le_bytes(*number));
            self.buffer.splice(..12, SOCKET_MAGIC);
            return self.head();
        }
        if [SOCKET_MAGIC, LETTER_MAGIC].iter().all(|magic| self.buffer.get(..known) != magic.get(..known)) {
            return Err(SocketError::Magic);
        }
        let Some(length) = length_at(&self.buffer, SOCKET_MAGIC.len()) else { return Ok(None) };
        if length > ENVELOPE_BYTES_MAX {
            return Err(SocketError::Length);
        }
        let Some(envelope) = self.buffer.get(8..8 + length) else { return Ok(None) };
        let envelope = RawEnvelope::decode(envelope)?;
        self.buffer.drain(..8 + length);
        self.stage = ReadStage::Body;
        Ok(Some(SocketPart::Envelope(envelope)))
    }

    fn chunk(&mut self) -> Result<Option<SocketPart>, SocketError> {
        let Some(length) = length_at(&self.buffer, 0) else { return Ok(None) };
        if length == 0 {
            self.stage = ReadStage::Ended;
            self.buffer = Vec::new();
            return Ok(Some(SocketPart::End));
        }
        if length > CHUNK_BYTES_MAX {
            return Err(SocketError::Length);
        }
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let mut part: Vec<u8> = self.buffer.drain(..4 + length).collect();
        part.drain(..4);
        Ok(Some(SocketPart::Body(part)))
    }
}

fn length_at(buffer: &[u8], at: usize) -> Option<usize> {
    let raw = buffer.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*raw)).ok()
}

/// The front of a drop file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DropHead {
    /// The injector's pid, for the Received line.
    pub pid: u32,
    /// When it was dropped.
    pub arrived: Time,
    /// Envelope.
    pub envelope: RawEnvelope,
}

/// The front of a drop file; the body follows. `None` when the envelope is longer than [`ENVELOPE_BYTES_MAX`].
#[must_use]
pub fn encode_drop_head(pid: u32, arrived: Time, envelope: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(envelope.len()).ok().filter(|_| envelope.len() <= ENVELOPE_BYTES_MAX)?;
    let mut out = Vec::with_capacity(DROP_HEADER_BYTES + envelope.len());
    out.extend_from_slice(&DROP_MAGIC);
    out.extend_from_slice(&pid.to_le_bytes());
    out.extend_from_slice(&arrived.secs().to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(envelope);
    Some(out)
}

/// How many bytes of the file the head takes, by its first [`DROP_HEADER_BYTES`] bytes.
pub fn drop_head_bytes(start: &[u8]) -> Result<usize, SocketError> {
    if start.get(..4) != Some(&DROP_MAGIC[..]) {
        return Err(SocketError::Magic);
    }
    let length = length_at(start, 16).filter(|&n| n <= ENVELOPE_BYTES_MAX).ok_or(SocketError::Length)?;
    Ok(DROP_HEADER_BYTES + length)
}

/// Reads a head of exactly [`drop_head_bytes`] bytes.
pub fn decode_drop_head(head: &[u8]) -> Result<DropHead, SocketError> {
    let whole = drop_head_bytes(head)?;
    let pid = head.get(4..).and_then(|h| h.first_chunk::<4>()).ok_or(SocketError::Length)?;
    let seconds = head.get(8..).and_then(|h| h.first_chunk::<8>()).ok_or(SocketError::Length)?;
    let envelope = head.get(DROP_HEADER_BYTES..whole).ok_or(SocketError::Length)?;
    Ok(DropHead {
        pid: u32::from_le_bytes(*pid),
        arrived: Time::from_secs(i64::from_le_bytes(*seconds)),
        envelope: RawEnvelope::decode(envelope)?,
    })
}

/// What qmail's programs say when the queue refuses, by exit code: true = permanent, and the text (qmail.c's table).
#[must_use]
pub fn refusal(exit: i32) -> (bool, &'static str) {
    match exit {
        11 | 115 => (true, "envelope address too long for qq (#5.1.3)"),
        31 => (true, "mail server permanently rejected message (#5.3.0)"),
        12..=40 => (true, "qq permanent problem (#5.3.0)"),
        51 => (false, "qq out of memory (#4.3.0)"),
        52 => (false, "qq timeout (#4.3.0)"),
        53 => (false, "qq write error or disk full (#4.3.0)"),
        54 => (false, "qq read error (#4.3.0)"),
        55 => (false, "qq unable to read configuration (#4.3.0)"),
        56 => (false, "qq trouble making network connection (#4.3.0)"),
        61 => (false, "qq trouble in home directory (#4.3.0)"),
        62..=66 => (false, "qq trouble creating files in queue (#4.3.0)"),
        71 => (false, "mail server temporarily rejected message (#4.3.0)"),
        72 => (false, "connection to mail server timed out (#4.4.1)"),
        73 => (false, "connection to mail server rejected (#4.4.1)"),
        74 => (false, "communication with mail server failed (#4.4.2)"),
        81 | 91 => (false, "qq internal bug (#4.3.0)"),
        120 => (false, "unable to exec qq (#4.3.0)"),
        _ => (false, "qq temporary problem (#4.3.0)"),
    }
}

#[cfg(test)]
mod tests;
