//! The injection codecs: what is written is read back, however the stream is cut, and qmail-queue's exit codes for broken envelopes.

use super::*;
use proptest::prelude::*;

fn envelope(sender: &[u8], recipients: &[&[u8]]) -> RawEnvelope {
    RawEnvelope {
        sender: ReversePath::from_bytes(sender).unwrap(),
        recipients: recipients.iter().map(|r| Address::from_bytes(r).unwrap()).collect(),
    }
}

#[test]
fn broken_envelopes_have_qmail_queues_exit_codes() {
    let code = |bytes: &[u8]| RawEnvelope::decode(bytes).map_err(EnvelopeError::exit_code);
    assert_eq!(code(b"Fs@a\0Tr@b\0Tr2@c\0\0"), Ok(envelope(b"s@a", &[b"r@b", b"r2@c"])));
    assert_eq!(code(b"Xs@a\0Tr@b\0\0"), Err(91));
    assert_eq!(code(b"Fs@a\0Rr@b\0\0"), Err(91));
    assert_eq!(code(b"Fs@a\0Tr@b\0"), Err(54));
    assert_eq!(code(b""), Err(54));
    assert_eq!(code(b"Fs@a"), Err(54));
    for (bytes, expected) in [(1002, Ok(())), (1003, Err(11))] {
        let long = [b"F", vec![b'a'; bytes].as_slice(), b"\0Tr\0\0"].concat();
        assert_eq!(code(&long).map(drop), expected, "sender of {bytes} bytes");
        let long = [b"F\0T", vec![b'a'; bytes].as_slice(), b"\0\0"].concat();
        assert_eq!(code(&long).map(drop), expected, "recipient of {bytes} bytes");
    }
}

#[test]
fn an_envelope_of_very_many_short_recipients_is_refused() {
    let envelope = |count: usize| [&b"F\0"[..], &b"T\0".repeat(count), b"\0"].concat();
    assert_eq!(RawEnvelope::decode(&envelope(RECIPIENTS_MAX)).map(|e| e.recipients.len()), Ok(RECIPIENTS_MAX));
    assert_eq!(RawEnvelope::decode(&envelope(RECIPIENTS_MAX + 1)), Err(EnvelopeError::TooMany));
}

#[test]
fn a_stranger_on_the_socket_is_told_at_its_first_byte() {
    let mut reader = SocketReader::new();
    reader.feed(b"E");
    assert_eq!(reader.next_part(), Err(SocketError::Magic));
    let mut reader = SocketReader::new();
    reader.feed(&[&SOCKET_MAGIC[..], &u32::MAX.to_le_bytes()].concat());
    assert_eq!(reader.next_part(), Err(SocketError::Length));
}

proptest! {
    #[test]
    fn socket_conversation_survives_any_cut(
        sender in proptest::collection::vec(1u8.., 0..40),
        recipients in proptest::collection::vec(proptest::collection::vec(1u8.., 0..40), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..3000),
        chunk in 1usize..500,
        cut in 1usize..700,
        letter in proptest::option::of(any::<u64>()),
    ) {
        let list: Vec<&[u8]> = recipients.iter().map(Vec::as_slice).collect();
        let sent = envelope(&sender, &list);
        let envelope = sent.encode();
        let mut stream = letter.map_or_else(|| socket_head(&envelope), |letter| letter_head(&envelope, letter)).unwrap();
        for part in body.chunks(chunk) {
            stream.extend_from_slice(&chunk_header(part.len()));
            stream.extend_from_slice(part);
        }
        stream.extend_from_slice(&chunk_header(0));
        let (mut reader, mut got, mut got_body, mut ended) = (SocketReader::new(), None, Vec::new(), false);
        for piece in stream.chunks(cut) {
            reader.feed(piece);
            while let Some(part) = reader.next_part().unwrap() {
                match part {
                    SocketPart::Envelope(e) => got = Some(e),
                    SocketPart::Body(b) => got_body.extend(b),
                    SocketPart::End => ended = true,
                }
            }
        }
        prop_assert_eq!(got, Some(sent));
        prop_assert_eq!(reader.letter(), letter);
        prop_assert_eq!(got_body, body);
        prop_assert!(ended);
    }

    #[test]
    fn drop_file_comes_back(sender in proptest::collection::vec(1u8.., 0..40), pid: u32, at in 0i64..1 << 40) {
        let sent = envelope(&sender, &[b"r@b"]);
        let head = encode_drop_head(pid, Time::from_secs(at), &sent.encode()).unwrap();
        prop_assert_eq!(drop_head_bytes(&head[..DROP_HEADER_BYTES]), Ok(head.len()));
        prop_assert_eq!(decode_drop_head(&head), Ok(DropHead { pid, arrived: Time::from_secs(at), envelope: sent }));
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        drop(RawEnvelope::decode(&bytes));
        drop(decode_drop_head(&bytes));
        let mut reader = SocketReader::new();
        reader.feed(&[&SOCKET_MAGIC[..], &bytes].concat());
        while let Ok(Some(_)) = reader.next_part() {}
    }
}
