//! Tests of the header scanner: qmail's rules, and that chunking makes no difference.

use super::*;
use proptest::prelude::*;

fn scan(wanted: &[u8], message: &[u8]) -> HeaderScanner {
    let mut scanner = HeaderScanner::watching(wanted);
    scanner.feed(message);
    scanner
}

#[test]
fn counts_hops_in_the_header_only() {
    let s = scan(b"", b"Received: a\nReCeIvEdX\n\tReceived: folded\nDelivered-To: b\nX: received\n\nReceived: body\n");
    assert_eq!(s.hops(), 3);
    assert!(s.is_done());
    assert_eq!(s.header_bytes(), 69);
}

#[test]
fn finds_exactly_the_wanted_line() {
    let want = b"Delivered-To: joe@x\n";
    assert!(scan(want, b"A: b\nDelivered-To: joe@x\n\n").found());
    assert!(!scan(want, b"A: b\ndelivered-To: joe@x\n\n").found());
    assert!(!scan(want, b"A: b\nDelivered-To: joe@x.y\n\n").found());
    assert!(!scan(want, b"A: b\nDelivered-To: joe@x").found(), "a line without its end is no line");
    assert!(!scan(want, b"A: b\n\nDelivered-To: joe@x\n").found());
}

#[test]
fn fields_with_folds_and_defects() {
    let header = b"From: a\n b\nSubject : x\nnonsense\nb\xffd: y\nEnd: z";
    let all: Vec<_> = fields(header).collect();
    assert_eq!(all.len(), 5);
    assert!(all[0].is("from"));
    assert_eq!(all[0].unfolded(), b"a b");
    assert_eq!(all[0].defect, None);
    assert_eq!((all[1].name, all[1].defect), (&b"Subject"[..], Some(Defect::BlankBeforeColon)));
    assert_eq!(all[2].defect, Some(Defect::NoName));
    assert_eq!(all[3].defect, Some(Defect::BadName));
    assert_eq!(all[4].defect, Some(Defect::Unterminated));
    assert_eq!(fields(b"A: b\n\nC: d\n").count(), 1);
    assert_eq!(fields(&b"A: b\n".repeat(20_000)).count(), FIELDS_MAX);
}

#[test]
fn every_single_cut_gives_the_same() {
    let message = b"Received: one\nDelivered-To: joe@x\n received\nDELIVERED\nReceive\n\nDelivered-To: body\n";
    let whole = scan(b"Delivered-To: joe@x\n", message);
    for at in 0..=message.len() {
        let mut cut = HeaderScanner::watching(&b"Delivered-To: joe@x\n"[..]);
        cut.feed(&message[..at]);
        cut.feed(&message[at..]);
        assert_eq!((cut.hops(), cut.found(), cut.header_bytes()), (whole.hops(), whole.found(), whole.header_bytes()), "cut at {at}");
    }
}

proptest! {
    #[test]
    fn chunking_makes_no_difference(lines in proptest::collection::vec("(received|Delivered-To: j@x|delivered|X: y|rec| |)", 0..12), cuts in proptest::collection::vec(1usize..9, 1..40)) {
        let message = lines.join("\n").into_bytes();
        let whole = scan(b"Delivered-To: j@x\n", &message);
        let mut cut = HeaderScanner::watching(&b"Delivered-To: j@x\n"[..]);
        let mut rest = &message[..];
        let mut sizes = cuts.iter().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            cut.feed(piece);
            rest = after;
        }
        prop_assert_eq!((cut.hops(), cut.found(), cut.header_bytes(), cut.is_done()), (whole.hops(), whole.found(), whole.header_bytes(), whole.is_done()));
    }

    #[test]
    fn fields_lose_no_byte(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..200)) {
        let total: usize = fields(&bytes).map(|f| f.raw.len()).sum();
        let rest = &bytes[total..];
        prop_assert!(rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n"));
    }
}
