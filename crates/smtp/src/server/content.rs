//! The content of one message while it comes in: decoder, size, hops, and the refusal that waits for the end. Used by the session only.

use super::replies;
use crate::data::{BareByte, BdatDecoder, DataDecoder, Decoded, HopCounter};
use crate::reply::Reply;

/// How the content is framed.
pub(super) enum Framing {
    /// DATA: ended by CRLF `.` CRLF.
    Dot(DataDecoder),
    /// BDAT: counted chunks.
    Chunks {
        decoder: BdatDecoder,
        /// Bytes of the running chunk still to come.
        left: u64,
        /// Bytes of the running chunk, for the reply.
        chunk: u64,
        /// The running chunk is the last one.
        last: bool,
    },
}

/// Content under way.
pub(super) struct Content {
    pub(super) framing: Framing,
    bytes: u64,
    hops: HopCounter,
    refusal: Option<Reply>,
    told: bool,
}

/// What a stretch of input came to.
pub(super) struct Taken {
    pub(super) consumed: usize,
    /// Decoded bytes at the start of the buffer, to be kept.
    pub(super) keep: usize,
    /// DATA's end, or the end of a chunk.
    pub(super) done: bool,
}

impl Content {
    pub(super) fn new(framing: Framing) -> Self {
        Self { framing, bytes: 0, hops: HopCounter::default(), refusal: None, told: false }
    }

    /// The refusal that waits.
    pub(super) fn refusal(&self) -> Option<&Reply> {
        self.refusal.as_ref()
    }

    /// Refuses; the first reason stays.
    pub(super) fn refuse(&mut self, reply: Reply) {
        self.refusal.get_or_insert(reply);
    }

    /// The refusal, the first time it is asked for.
    pub(super) fn news(&mut self) -> Option<Reply> {
        if self.told {
            return None;
        }
        self.told = self.refusal.is_some();
        self.refusal.clone()
    }

    /// Refused by the shell, who knows already.
    pub(super) fn refuse_quietly(&mut self, reply: Reply) {
        self.refuse(reply);
        self.told = true;
    }

    /// Decodes in place and keeps the counts.
    pub(super) fn take(&mut self, input: &mut [u8], message_bytes_max: u64, hops_max: usize) -> Taken {
        let (decoded, bare, done) = match &mut self.framing {
            Framing::Dot(decoder) => {
                let decoded = decoder.decode(input);
                (decoded, decoder.bare(), decoded.done)
            }
            Framing::Chunks { decoder, left, last, .. } => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let decoded = decoder.decode(input.get_mut(..n).unwrap_or_default());
                *left = left.saturating_sub(n as u64);
                if *left == 0 && *last {
                    decoder.finish();
                }
                (decoded, decoder.bare(), *left == 0)
            }
        };
        match bare {
            Some(BareByte::Lf) => self.refuse(replies::BARE_LF),
            Some(BareByte::Cr) => self.refuse(replies::BARE_CR),
            None => {}
        }
        self.count(input, decoded, message_bytes_max, hops_max);
        let keep = if self.refusal.is_some() { 0 } else { decoded.bytes };
        Taken { consumed: decoded.consumed, keep, done }
    }

    fn count(&mut self, input: &[u8], decoded: Decoded, message_bytes_max: u64, hops_max: usize) {
        if self.refusal.is_some() {
            return;
        }
        self.bytes = self.bytes.saturating_add(decoded.bytes as u64);
        if self.bytes > message_bytes_max {
            return self.refuse(replies::TOO_BIG);
        }
        self.hops.feed(input.get(..decoded.bytes).unwrap_or_default());
        if self.hops.hops() >= hops_max {
            self.refuse(replies::LOOP);
        }
    }
}
