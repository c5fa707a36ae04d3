//! Content on the wire, both ways. The DATA and BDAT decoders give the same whatever the pieces, and the same as a slow model written from
//! RFC 5321 4.5.2; the encoder lets no bare CR or LF out and its output holds one end of data.
#![no_main]

use postino_fuzz::pieces;
use postino_smtp::client::BodyEncoder;
use postino_smtp::data::{BdatDecoder, DataDecoder, HopCounter};

/// Decoded bytes, bytes used, whether a bare CR or LF was met, whether the end was met.
#[derive(Debug, PartialEq)]
struct Outcome {
    decoded: Option<Vec<u8>>,
    used: usize,
    done: bool,
}

fn data(input: &[u8], seed: u8) -> Outcome {
    let mut decoder = DataDecoder::default();
    let (mut decoded, mut used, mut done) = (Vec::new(), 0, false);
    for piece in pieces(input, seed) {
        let mut buffer = piece.to_vec();
        let step = decoder.decode(&mut buffer);
        assert!(step.bytes <= step.consumed && step.consumed <= buffer.len());
        decoded.extend_from_slice(&buffer[..step.bytes]);
        used += step.consumed;
        done = step.done;
        if done {
            break;
        }
        assert_eq!(step.consumed, buffer.len(), "everything is used up before the end");
    }
    assert!(!decoded.contains(&b'\r') || decoder.bare().is_some());
    Outcome { decoded: decoder.bare().is_none().then_some(decoded), used, done }
}

/// The same by search, line by line.
fn model(input: &[u8]) -> Outcome {
    let (mut decoded, mut at, mut bare) = (Vec::new(), 0, false);
    loop {
        let rest = &input[at..];
        let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else {
            // A CR at the very end may still become a line end; what stands before it is judged.
            let (text, waits) = match rest.strip_suffix(b"\r") {
                Some(text) => (text, true),
                None => (rest, false),
            };
            bare |= text.contains(&b'\r') || text.contains(&b'\n');
            let held = waits && text == b"."; // the dot of an end that is not whole yet
            let text = if held { b"".as_slice() } else { text.strip_prefix(b".").unwrap_or(text) };
            decoded.extend_from_slice(text);
            return Outcome { decoded: (!bare).then_some(decoded), used: input.len(), done: false };
        };
        let line = &rest[..end];
        at += end + 2;
        if line == b"." {
            return Outcome { decoded: (!bare).then_some(decoded), used: at, done: true };
        }
        bare |= line.contains(&b'\r') || line.contains(&b'\n');
        decoded.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        decoded.push(b'\n');
    }
}

fn bdat(input: &[u8], seed: u8) -> Option<Vec<u8>> {
    let mut decoder = BdatDecoder::default();
    let mut decoded = Vec::new();
    for piece in pieces(input, seed) {
        let mut buffer = piece.to_vec();
        let step = decoder.decode(&mut buffer);
        assert_eq!(step.consumed, buffer.len());
        decoded.extend_from_slice(&buffer[..step.bytes]);
    }
    decoder.finish();
    decoder.bare().is_none().then_some(decoded)
}

fn bdat_model(input: &[u8]) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    let mut rest = input;
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    let bare = lines.iter().any(|line| line.contains(&b'\r') || line.contains(&b'\n'));
    (!bare).then(|| lines.join(&b'\n'))
}

fn encode(input: &[u8], seed: u8) -> Vec<u8> {
    let (mut encoder, mut wire) = (BodyEncoder::new(), Vec::new());
    for piece in pieces(input, seed) {
        encoder.encode(piece, &mut wire);
    }
    encoder.finish(&mut wire);
    wire
}

fn hops(input: &[u8], seed: u8) -> usize {
    let mut counter = HopCounter::default();
    pieces(input, seed).for_each(|piece| counter.feed(piece));
    counter.hops()
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let Some((&seed, input)) = input.split_first() else { return };
    let whole = data(input, 1);
    assert_eq!(whole, data(input, seed), "pieces make a difference");
    assert_eq!(whole, model(input), "not as RFC 5321 says");

    assert_eq!(bdat(input, 1), bdat(input, seed));
    assert_eq!(bdat(input, 1), bdat_model(input));
    assert_eq!(hops(input, 1), hops(input, seed));

    let wire = encode(input, 1);
    assert_eq!(wire, encode(input, seed), "pieces make a difference");
    let back = data(&wire, 1);
    assert!(back.done && back.used == wire.len(), "the end of data is the last thing on the wire");
    let normal = back.decoded.expect("no bare CR or LF goes out");
    // Encoding what arrived gives the same wire again: nothing is lost but the spelling of line ends.
    assert_eq!(encode(&normal, seed), wire);
});
