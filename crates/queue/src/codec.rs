//! The queue's records as bytes: hand-written, versioned, every field length-prefixed, so nothing in an address can end a record early.
//! Used by the writer, the readers and `check`. Decoding takes any bytes: it fails, it never panics, and it never allocates more than it was given.

use bytes::Bytes;
use postino_types::{
    Address, BodyKind, Channel, DsnWish, Envelope, Notify, Orcpt, Origin, PeerInfo, PermStatus, QueueId, Recipient, RecipientState,
    ReportText, Ret, ReversePath, Routed, TempStatus, Time,
};

/// The only version so far; a reader refuses others.
const VERSION: u8 = 1;
/// Most recipients a record may claim.
const RECIPIENTS_MAX: u32 = 1_000_000;

/// A record that cannot be read; the text says which field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("damaged record: {0}")]
pub struct Damaged(pub &'static str);

/// What never changes in an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Meta {
    /// Envelope.
    pub envelope: Envelope,
    /// Origin.
    pub origin: Origin,
    /// Lines in front of the body.
    pub prepend: Bytes,
    /// Accepted at.
    pub arrived: Time,
    /// Gives up at.
    pub expires: Time,
}

/// Encodes what never changes.
#[must_use]
pub fn encode_meta(envelope: &Envelope, origin: &Origin, prepend: &[u8], times: (Time, Time)) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + prepend.len() + envelope.recipients.len() * 64);
    out.push(VERSION);
    put_i64(&mut out, times.0.0);
    put_i64(&mut out, times.1.0);
    put(&mut out, envelope.sender.as_bytes());
    let eight = u8::from(envelope.body == BodyKind::EightBit);
    out.push(eight | u8::from(envelope.utf8) << 1 | u8::from(envelope.require_tls) << 2);
    out.push(match envelope.dsn.ret {
        Ret::Unset => 0,
        Ret::Full => 1,
        Ret::Headers => 2,
    });
    put_optional(&mut out, envelope.dsn.envid.as_deref());
    put_origin(&mut out, origin);
    put(&mut out, prepend);
    put_count(&mut out, envelope.recipients.len());
    for recipient in &envelope.recipients {
        put_recipient(&mut out, recipient);
    }
    out
}

fn put_origin(out: &mut Vec<u8>, origin: &Origin) {
    match origin {
        Origin::Smtp(peer) => {
            out.push(0);
            put(out, peer.ip.as_bytes());
            put(out, peer.helo.as_bytes());
            put_optional(out, peer.login.as_deref().map(str::as_bytes));
        }
        Origin::Local { uid } => {
            out.push(1);
            out.extend_from_slice(&uid.to_be_bytes());
        }
        Origin::Forward { of, uid } => {
            out.push(2);
            out.extend_from_slice(&of.0.to_be_bytes());
            out.extend_from_slice(&uid.to_be_bytes());
        }
        Origin::Bounce { of } => {
            out.push(3);
            out.extend_from_slice(&of.0.to_be_bytes());
        }
    }
}

fn put_recipient(out: &mut Vec<u8>, recipient: &Recipient) {
    put(out, recipient.address.as_bytes());
    out.push(match recipient.routed.channel {
        Channel::Local => 0,
        Channel::Remote => 1,
    });
    // Mostly both addresses are one: say so in a byte.
    let same = recipient.routed.address == recipient.address;
    put_optional(out, (!same).then(|| recipient.routed.address.as_bytes()));
    let n = recipient.notify;
    out.push(u8::from(n.explicit) | u8::from(n.success) << 1 | u8::from(n.failure) << 2 | u8::from(n.delay) << 3);
    out.push(u8::from(recipient.original.is_some()));
    if let Some(original) = &recipient.original {
        put(out, original.kind.as_bytes());
        put(out, &original.address);
    }
}

/// Decodes what [`encode_meta`] made.
///
/// # Errors
/// [`Damaged`] for anything else, also for bytes that follow.
pub fn decode_meta(bytes: &[u8]) -> Result<Meta, Damaged> {
    let mut r = Reader(bytes);
    if r.byte("version")? != VERSION {
        return Err(Damaged("version"));
    }
    let (arrived, expires) = (Time(r.i64("arrived")?), Time(r.i64("expires")?));
    let sender = ReversePath::from_bytes(r.bytes("sender")?).map_err(|_| Damaged("sender"))?;
    let flags = r.byte("flags")?;
    let body = if flags & 1 == 0 { BodyKind::SevenBit } else { BodyKind::EightBit };
    let ret = match r.byte("ret")? {
        0 => Ret::Unset,
        1 => Ret::Full,
        2 => Ret::Headers,
        _ => return Err(Damaged("ret")),
    };
    let envid = r.optional("envid")?.map(<[u8]>::to_vec);
    let origin = origin(&mut r)?;
    let prepend = Bytes::copy_from_slice(r.bytes("prepend")?);
    let count = r.count()?;
    let mut recipients = Vec::with_capacity(count.min(bytes.len() / 8));
    for _ in 0..count {
        recipients.push(recipient(&mut r)?);
    }
    r.end()?;
    let dsn = DsnWish { ret, envid };
    let envelope = Envelope { sender, recipients, body, utf8: flags & 2 != 0, dsn, require_tls: flags & 4 != 0 };
    Ok(Meta { envelope, origin, prepend, arrived, expires })
}

fn origin(r: &mut Reader<'_>) -> Result<Origin, Damaged> {
    Ok(match r.byte("origin")? {
        0 => Origin::Smtp(PeerInfo {
            ip: r.text("peer ip")?,
            helo: r.text("peer helo")?,
            login: r.optional("peer login")?.map(text).transpose()?,
        }),
        1 => Origin::Local { uid: r.u32("uid")? },
        2 => Origin::Forward { of: QueueId(r.u64("parent")?), uid: r.u32("uid")? },
        3 => Origin::Bounce { of: QueueId(r.u64("parent")?) },
        _ => return Err(Damaged("origin")),
    })
}

fn recipient(r: &mut Reader<'_>) -> Result<Recipient, Damaged> {
    let address = r.address("recipient")?;
    let channel = match r.byte("channel")? {
        0 => Channel::Local,
        1 => Channel::Remote,
        _ => return Err(Damaged("channel")),
    };
    let routed = match r.optional("routed")? {
        None => address.clone(),
        Some(bytes) => Address::from_bytes(bytes).map_err(|_| Damaged("routed"))?,
    };
    let n = r.byte("notify")?;
    let notify = Notify { explicit: n & 1 != 0, success: n & 2 != 0, failure: n & 4 != 0, delay: n & 8 != 0 };
    let original = match r.byte("orcpt")? {
        0 => None,
        1 => Some(Orcpt { kind: r.text("orcpt kind")?, address: r.bytes("orcpt")?.to_vec() }),
        _ => return Err(Damaged("orcpt")),
    };
    Ok(Recipient { address, routed: Routed { channel, address: routed }, notify, original })
}

/// Encodes the states; no bytes at all when every recipient is fresh, which is the rule.
#[must_use]
pub fn encode_states(states: &[RecipientState]) -> Vec<u8> {
    if states.iter().all(is_fresh) {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(5 + states.len() * 32);
    out.push(VERSION);
    put_count(&mut out, states.len());
    for state in states {
        put_state(&mut out, state);
    }
    out
}

fn is_fresh(state: &RecipientState) -> bool {
    matches!(state, RecipientState::Pending { attempts: 0, last: None, delay_told: false })
}

fn put_state(out: &mut Vec<u8>, state: &RecipientState) {
    match state {
        fresh if is_fresh(fresh) => out.push(0),
        RecipientState::Pending { attempts, last, delay_told } => {
            out.push(1 | u8::from(last.is_some()) << 4 | u8::from(*delay_told) << 5);
            out.extend_from_slice(&attempts.to_be_bytes());
            if let Some((status, detail)) = last {
                let code = status.enhanced();
                put_code(out, code.subject, code.detail);
                put(out, detail.as_bytes());
            }
        }
        RecipientState::Delivered { at, detail } => {
            out.push(2);
            put_i64(out, at.0);
            put(out, detail.as_bytes());
        }
        RecipientState::Failed { at, status, detail } => {
            out.push(3);
            put_i64(out, at.0);
            let code = status.enhanced();
            put_code(out, code.subject, code.detail);
            put(out, detail.as_bytes());
        }
    }
}

/// Decodes what [`encode_states`] made for an envelope with `recipients` recipients.
///
/// # Errors
/// [`Damaged`] for anything else, also for another number of states.
pub fn decode_states(bytes: &[u8], recipients: usize) -> Result<Vec<RecipientState>, Damaged> {
    if bytes.is_empty() {
        return Ok(vec![RecipientState::fresh(); recipients]);
    }
    let mut r = Reader(bytes);
    if r.byte("version")? != VERSION {
        return Err(Damaged("version"));
    }
    if r.count()? != recipients {
        return Err(Damaged("number of states"));
    }
    let mut states = Vec::with_capacity(recipients.min(bytes.len()));
    for _ in 0..recipients {
        states.push(state(&mut r)?);
    }
    r.end()?;
    Ok(states)
}

fn state(r: &mut Reader<'_>) -> Result<RecipientState, Damaged> {
    let tag = r.byte("state")?;
    Ok(match tag & 0x0f {
        0 if tag == 0 => RecipientState::fresh(),
        1 if tag & 0xc0 == 0 => {
            let attempts = r.u16("attempts")?;
            let last = if tag & 0x10 == 0 {
                None
            } else {
                Some((TempStatus::new(r.u16("subject")?, r.u16("detail")?), ReportText::from(r.bytes("last answer")?)))
            };
            RecipientState::Pending { attempts, last, delay_told: tag & 0x20 != 0 }
        }
        2 if tag == 2 => RecipientState::Delivered { at: Time(r.i64("at")?), detail: ReportText::from(r.bytes("detail")?) },
        3 if tag == 3 => RecipientState::Failed {
            at: Time(r.i64("at")?),
            status: PermStatus::new(r.u16("subject")?, r.u16("detail")?),
            detail: ReportText::from(r.bytes("detail")?),
        },
        _ => return Err(Damaged("state")),
    })
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("invariant: every field is far below 4 GiB");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put(out, bytes);
    }
}

fn put_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_code(out: &mut Vec<u8>, subject: u16, detail: u16) {
    out.extend_from_slice(&subject.to_be_bytes());
    out.extend_from_slice(&detail.to_be_bytes());
}

fn text(bytes: &[u8]) -> Result<String, Damaged> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Damaged("text"))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Damaged> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Damaged(what))?;
        self.0 = rest;
        Ok(head)
    }
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Damaged> {
        self.take(N, what)?.try_into().map_err(|_| Damaged(what))
    }
    fn byte(&mut self, what: &'static str) -> Result<u8, Damaged> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }
    fn u16(&mut self, what: &'static str) -> Result<u16, Damaged> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }
    fn u32(&mut self, what: &'static str) -> Result<u32, Damaged> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }
    fn u64(&mut self, what: &'static str) -> Result<u64, Damaged> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }
    fn i64(&mut self, what: &'static str) -> Result<i64, Damaged> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }
    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], Damaged> {
        let n = self.u32(what)?;
        self.take(usize::try_from(n).map_err(|_| Damaged(what))?, what)
    }
    fn optional(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, Damaged> {
        match self.byte(what)? {
            0 => Ok(None),
            1 => self.bytes(what).map(Some),
            _ => Err(Damaged(what)),
        }
    }
    fn text(&mut self, what: &'static str) -> Result<String, Damaged> {
        text(self.bytes(what)?).map_err(|_| Damaged(what))
    }
    fn address(&mut self, what: &'static str) -> Result<Address, Damaged> {
        Address::from_bytes(self.bytes(what)?).map_err(|_| Damaged(what))
    }
    fn count(&mut self) -> Result<usize, Damaged> {
        let n = self.u32("count")?;
        if n > RECIPIENTS_MAX { Err(Damaged("count")) } else { usize::try_from(n).map_err(|_| Damaged("count")) }
    }
    fn end(&self) -> Result<(), Damaged> {
        if self.0.is_empty() { Ok(()) } else { Err(Damaged("bytes after the end")) }
    }
}

#[cfg(test)]
mod tests;
