//! The way in for local programs: the socket's reader gives the same whatever the pieces and holds little; envelopes and drop files come back.
#![no_main]

use postino_fuzz::{Source, pieces};
use postino_local::inject::{self, CHUNK_BYTES_MAX, RawEnvelope, SocketError, SocketPart, SocketReader};

#[derive(Debug, Default, PartialEq)]
struct Heard {
    envelope: Option<RawEnvelope>,
    body: Vec<u8>,
    ended: bool,
    error: Option<SocketError>,
}

fn hear(input: &[u8], seed: u8) -> Heard {
    let mut reader = SocketReader::new();
    let mut heard = Heard::default();
    'read: for piece in pieces(input, seed).flat_map(|p| p.chunks(CHUNK_BYTES_MAX)) {
        reader.feed(piece);
        loop {
            match reader.next_part() {
                Ok(None) => break,
                Ok(Some(SocketPart::Envelope(envelope))) => {
                    assert!(heard.envelope.is_none() && heard.body.is_empty(), "the envelope comes first, once");
                    heard.envelope = Some(envelope);
                }
                Ok(Some(SocketPart::Body(bytes))) => {
                    assert!(heard.envelope.is_some() && !heard.ended && !bytes.is_empty() && bytes.len() <= CHUNK_BYTES_MAX);
                    heard.body.extend_from_slice(&bytes);
                }
                Ok(Some(SocketPart::End)) => {
                    assert!(!heard.ended);
                    heard.ended = true;
                }
                Err(error) => {
                    heard.error = Some(error);
                    break 'read;
                }
            }
        }
    }
    heard
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let seed = source.byte();
    let input = source.rest();
    assert_eq!(hear(input, 1), hear(input, seed));

    if let Ok(envelope) = RawEnvelope::decode(input) {
        assert_eq!(RawEnvelope::decode(&envelope.encode()), Ok(envelope.clone()));
        // Said over the socket, and left in a drop file, it is the same.
        let said = [inject::socket_head(&envelope.encode()).expect("small").as_slice(), &inject::chunk_header(0)].concat();
        let heard = hear(&said, seed);
        assert_eq!((heard.envelope.as_ref(), heard.ended), (Some(&envelope), true));
        let head = inject::encode_drop_head(7, postino_types::Time::from_secs(9), &envelope.encode()).expect("small");
        assert_eq!(inject::drop_head_bytes(&head), Ok(head.len()));
        assert_eq!(inject::decode_drop_head(&head).expect("just made").envelope, envelope);
    }
    if let Ok(bytes) = inject::drop_head_bytes(input)
        && let Some(head) = input.get(..bytes)
    {
        let _ = inject::decode_drop_head(head);
    }
});
