//! Frames between the worker (crate local) and the spawner (crate spawn), and between the spawner and its child. Pure bytes, no I/O.
//! A request names a local part, a host, a sender and the default delivery: there is no field for a uid, a home or a command.

/// Largest packet either way, bytes.
pub const PACKET_BYTES_MAX: usize = 65_536;
/// Largest whole report (text and forwards), bytes; it travels in several packets.
pub const REPORT_BYTES_MAX: usize = 4 << 20;
/// Most forwards in one report.
pub const FORWARDS_MAX: usize = 4096;
/// Most addresses in all forwards of one report: a child is its user's, and short addresses take many times their bytes in memory.
pub const ADDRESSES_MAX: usize = 100_000;
/// Longest text of a report, bytes.
pub const TEXT_BYTES_MAX: usize = 10_000;

const REQUEST_MAGIC: &[u8; 4] = b"PSQ1";
const REMOTE_REQUEST_MAGIC: &[u8; 4] = b"PSQ2";
const QUEUE_REQUEST_MAGIC: &[u8; 4] = b"PSQ3";
const SECRET_REQUEST_MAGIC: &[u8; 4] = b"PSQ4";
const REPORT_MAGIC: &[u8; 4] = b"PSR1";
const PACKET_HEADER_BYTES: usize = 13;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not one of our frames.
    #[error("not a spawner frame")]
    Magic,
    /// Ends in the middle of a field, or goes on after the last.
    #[error("spawner frame of a wrong length")]
    Length,
    /// A field holds a NUL byte.
    #[error("spawner frame with a NUL byte")]
    Nul,
    /// Longer than a frame may be.
    #[error("spawner frame is too long")]
    TooLong,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A delivery to an account of this machine: `qmail-local`.
    #[default]
    Local,
    /// A delivery to another host by `qmail-remote`: `local` is the whole recipient, `host` where to. Only the engine under qmail's names asks so.
    Remote,
    /// A message on its way into the queue, through somebody's program: `local` says which of those that the spawner knows, `default_delivery`
    /// is what that program is told of the client, `NAME=value` lines.
    Queue,
    /// The password or token of a `[[fetch]]` account: `local` is the account's name. Which file or program it comes from, the spawner knows.
    Secret,
}

/// What the worker asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Chosen by the worker, repeated in the report.
    pub id: u64,
    /// Which child.
    pub kind: Kind,
    /// Local part.
    pub local: Vec<u8>,
    /// Host.
    pub host: Vec<u8>,
    /// Envelope sender.
    pub sender: Vec<u8>,
    /// Default delivery instructions.
    pub default_delivery: Vec<u8>,
    /// What a Maildir delivery calls its file (`ports::spawn::Once` as a word).
    pub once: Vec<u8>,
}

/// A forward asked for by a child.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forward {
    /// Sender of the new message.
    pub sender: Vec<u8>,
    /// `Delivered-To: …\n`.
    pub delivered_to: Vec<u8>,
    /// Raw addresses.
    pub to: Vec<Vec<u8>>,
}

/// How a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Exit code, as `qmail-lspawn(8)` counts them.
    pub exit: i32,
    /// The uid that the child had; `u32::MAX` when there was none.
    pub uid: u32,
    /// Output.
    pub text: Vec<u8>,
    /// Forwards.
    pub forwards: Vec<Forward>,
}

impl Request {
    /// The packet. Fails when it would be longer than [`PACKET_BYTES_MAX`] or a field holds a NUL.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let fields = [&self.local, &self.host, &self.sender, &self.default_delivery, &self.once];
        let mut out = Vec::with_capacity(64 + fields.iter().map(|f| f.len() + 4).sum::<usize>());
        out.extend_from_slice(match self.kind {
            Kind::Local => REQUEST_MAGIC,
            Kind::Remote => REMOTE_REQUEST_MAGIC,
            Kind::Queue => QUEUE_REQUEST_MAGIC,
            Kind::Secret => SECRET_REQUEST_MAGIC,
        });
        out.extend_from_slice(&self.id.to_le_bytes());
        for field in fields {
            refuse_nul(field)?;
            put(&mut out, field)?;
        }
        if out.len() > PACKET_BYTES_MAX { Err(FrameError::TooLong) } else { Ok(out) }
    }

    /// The inverse of [`Request::encode`].
    pub fn decode(packet: &[u8]) -> Result<Self, FrameError> {
        if packet.len() > PACKET_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let kinds = [
            (REQUEST_MAGIC, Kind::Local),
            (REMOTE_REQUEST_MAGIC, Kind::Remote),
            (QUEUE_REQUEST_MAGIC, Kind::Queue),
            (SECRET_REQUEST_MAGIC, Kind::Secret),
        ];
        let found = kinds.into_iter().find_map(|(magic, kind)| Some((kind, packet.strip_prefix(magic)?)));
        let (kind, mut rest) = found.ok_or(FrameError::Magic)?;
        let id = take_u64(&mut rest)?;
        let mut field = || -> Result<Vec<u8>, FrameError> {
            let bytes = take(&mut rest)?;
            refuse_nul(bytes)?;
            Ok(bytes.to_vec())
        };
        let request = Self { id, kind, local: field()?, host: field()?, sender: field()?, default_delivery: field()?, once: field()? };
        if rest.is_empty() { Ok(request) } else { Err(FrameError::Length) }
    }
}

impl Report {
    /// The packets that carry this report, in order. A report that would be too long loses its forwards and becomes exit 111.
    #[must_use]
    pub fn packets(&self, id: u64) -> Vec<Vec<u8>> {
        let body = self.body().unwrap_or_else(|_| {
            let text = b"Too many forwards in one delivery. (#4.3.0)\n".to_vec();
            Self { exit: crate::exit::SOFT, uid: self.uid, text, forwards: Vec::new() }.body().unwrap_or_default()
        });
        let chunks: Vec<&[u8]> = body.chunks(PACKET_BYTES_MAX - PACKET_HEADER_BYTES).collect();
        let last = chunks.len().saturating_sub(1);
        chunks
            .iter()
            .enumerate()
            .map(|(i, chunk)| {
                let mut packet = Vec::with_capacity(PACKET_HEADER_BYTES + chunk.len());
                packet.extend_from_slice(REPORT_MAGIC);
                packet.extend_from_slice(&id.to_le_bytes());
                packet.push(u8::from(i == last));
                packet.extend_from_slice(chunk);
                packet
            })
            .collect()
    }

    fn body(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::with_capacity(self.text.len() + 64);
        out.extend_from_slice(&self.exit.to_le_bytes());
        out.extend_from_slice(&self.uid.to_le_bytes());
        put(&mut out, self.text.get(..TEXT_BYTES_MAX).unwrap_or(&self.text))?;
        out.extend_from_slice(&encode_forwards(&self.forwards)?);
        if out.len() > REPORT_BYTES_MAX { Err(FrameError::TooLong) } else { Ok(out) }
    }

    /// Reads the joined chunks of one report.
    pub fn decode(body: &[u8]) -> Result<Self, FrameError> {
        let mut rest = body;
        let exit = i32::from_le_bytes(take_array(&mut rest)?);
        let uid = u32::from_le_bytes(take_array(&mut rest)?);
        let text = take(&mut rest)?.to_vec();
        Ok(Self { exit, uid, text, forwards: decode_forwards(rest)? })
    }
}

/// One packet of a report, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportPacket<'a> {
    /// Which request it answers.
    pub id: u64,
    /// The last one of its report.
    pub last: bool,
    /// Its part of the report.
    pub chunk: &'a [u8],
}

/// Takes a packet of a report apart.
pub fn report_packet(packet: &[u8]) -> Result<ReportPacket<'_>, FrameError> {
    let mut rest = packet.strip_prefix(REPORT_MAGIC).ok_or(FrameError::Magic)?;
    let id = take_u64(&mut rest)?;
    match rest.split_first() {
        Some((&flag @ (0 | 1), chunk)) => Ok(ReportPacket { id, last: flag == 1, chunk }),
        _ => Err(FrameError::Length),
    }
}

/// Forwards as a child writes them for the spawner.
pub fn encode_forwards(forwards: &[Forward]) -> Result<Vec<u8>, FrameError> {
    if forwards.len() > FORWARDS_MAX {
        return Err(FrameError::TooLong);
    }
    let mut out = Vec::new();
    for forward in forwards {
        put(&mut out, &forward.sender)?;
        put(&mut out, &forward.delivered_to)?;
        let count = u32::try_from(forward.to.len()).map_err(|_| FrameError::TooLong)?;
        out.extend_from_slice(&count.to_le_bytes());
        for to in &forward.to {
            refuse_nul(to)?;
            put(&mut out, to)?;
        }
    }
    if out.len() > REPORT_BYTES_MAX { Err(FrameError::TooLong) } else { Ok(out) }
}

/// The inverse of [`encode_forwards`].
pub fn decode_forwards(bytes: &[u8]) -> Result<Vec<Forward>, FrameError> {
    if bytes.len() > REPORT_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let mut rest = bytes;
    let mut forwards = Vec::new();
    let mut addresses = 0usize;
    while !rest.is_empty() {
        if forwards.len() >= FORWARDS_MAX {
            return Err(FrameError::TooLong);
        }
        let sender = take(&mut rest)?.to_vec();
        let delivered_to = take(&mut rest)?.to_vec();
        let count = u32::from_le_bytes(take_array(&mut rest)?);
        let mut to = Vec::new();
        for _ in 0..count {
            let address = take(&mut rest)?;
            addresses += 1;
            if addresses > ADDRESSES_MAX {
                return Err(FrameError::TooLong);
            }
            refuse_nul(address)?;
            to.push(address.to_vec());
        }
        refuse_nul(&sender)?;
        forwards.push(Forward { sender, delivered_to, to });
    }
    Ok(forwards)
}

fn refuse_nul(field: &[u8]) -> Result<(), FrameError> {
    if field.contains(&0) { Err(FrameError::Nul) } else { Ok(()) }
}

fn put(out: &mut Vec<u8>, field: &[u8]) -> Result<(), FrameError> {
    let bytes = u32::try_from(field.len()).map_err(|_| FrameError::TooLong)?;
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(field);
    Ok(())
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], FrameError> {
    let bytes = u32::from_le_bytes(take_array(rest)?);
    let (field, tail) = usize::try_from(bytes).ok().and_then(|n| rest.split_at_checked(n)).ok_or(FrameError::Length)?;
    *rest = tail;
    Ok(field)
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], FrameError> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(FrameError::Length)?;
    *rest = tail;
    Ok(*head)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, FrameError> {
    take_array(rest).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request() -> Request {
        Request {
            kind: Kind::Local,
            id: 7,
            local: b"joe-x".to_vec(),
            host: b"h.test".to_vec(),
            sender: b"s@x".to_vec(),
            default_delivery: b"./Maildir/".to_vec(),
            once: b"f1.M2".to_vec(),
        }
    }

    #[test]
    fn request_comes_back_and_no_prefix_of_it_does() {
        let packet = request().encode().unwrap();
        assert_eq!(Request::decode(&packet), Ok(request()));
        for n in 0..packet.len() {
            assert!(Request::decode(&packet[..n]).is_err(), "prefix of {n} bytes was taken");
        }
        let mut longer = packet;
        longer.push(0);
        assert_eq!(Request::decode(&longer), Err(FrameError::Length));
    }

    #[test]
    fn request_with_nul_or_too_long_is_refused() {
        assert_eq!(Request { local: b"a\0b".to_vec(), ..request() }.encode(), Err(FrameError::Nul));
        assert_eq!(Request { default_delivery: vec![b'x'; 65_536], ..request() }.encode(), Err(FrameError::TooLong));
        let mut packet = request().encode().unwrap();
        let n = packet.len();
        packet[n - 1] = 0;
        assert_eq!(Request::decode(&packet), Err(FrameError::Nul));
    }

    #[test]
    fn long_report_travels_in_several_packets() {
        let to: Vec<Vec<u8>> = (0..5000).map(|i| format!("user{i}@list.test").into_bytes()).collect();
        let forward = Forward { sender: b"s@x".to_vec(), delivered_to: b"Delivered-To: l@x\n".to_vec(), to };
        let report = Report { exit: 0, uid: 1000, text: b"did 0+5000+0\n".to_vec(), forwards: vec![forward] };
        let packets = report.packets(9);
        assert!(packets.len() > 1);
        let mut body = Vec::new();
        for (i, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= PACKET_BYTES_MAX);
            let part = report_packet(packet).unwrap();
            assert_eq!((part.id, part.last), (9, i + 1 == packets.len()));
            body.extend_from_slice(part.chunk);
        }
        assert_eq!(Report::decode(&body), Ok(report));
    }

    #[test]
    fn very_many_short_addresses_are_too_long() {
        let forward = |count: usize| [Forward { to: vec![Vec::new(); count], ..Forward::default() }];
        let decoded = |count| decode_forwards(&encode_forwards(&forward(count)).unwrap());
        assert_eq!(decoded(ADDRESSES_MAX), Ok(forward(ADDRESSES_MAX).to_vec()));
        assert_eq!(decoded(ADDRESSES_MAX + 1), Err(FrameError::TooLong));
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(1u8.., 0..40)
    }

    proptest! {
        #[test]
        fn forwards_come_back(list in proptest::collection::vec((bytes(), bytes(), proptest::collection::vec(bytes(), 0..5)), 0..5)) {
            let forwards: Vec<Forward> = list.into_iter().map(|(sender, delivered_to, to)| Forward { sender, delivered_to, to }).collect();
            prop_assert_eq!(decode_forwards(&encode_forwards(&forwards).unwrap()), Ok(forwards));
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
            for magic in [&b""[..], REQUEST_MAGIC, REPORT_MAGIC] {
                let packet = [magic, tail.as_slice()].concat();
                drop(Request::decode(&packet));
                let _ = report_packet(&packet);
                drop(Report::decode(&packet));
                drop(decode_forwards(&packet));
            }
        }
    }
}
