//! Headers: the scanner sees the same whatever the pieces; the fields, put together, are the header; `Received` and dates are total.
#![no_main]

use postino_fuzz::{Source, pieces};
use postino_local::loop_check::{Compare, LineSearch, Search};
use postino_message::header::{FIELDS_MAX, HeaderScanner, Progress, fields};

fn scan(wanted: &[u8], message: &[u8], seed: u8) -> (usize, bool, u64, bool) {
    let mut scanner = HeaderScanner::watching(wanted);
    for piece in pieces(message, seed) {
        if scanner.feed(piece) == Progress::Done {
            break;
        }
    }
    (scanner.hops(), scanner.found(), scanner.header_bytes(), scanner.is_done())
}

fn search(wanted: &[u8], message: &[u8], seed: u8) -> Search {
    let mut search = LineSearch::new(wanted, Compare::Exact);
    let mut last = Search::Going;
    for piece in pieces(message, seed) {
        last = search.feed(piece);
    }
    last
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let seed = source.byte();
    let mut wanted = source.bytes().to_vec();
    wanted.retain(|b| *b != b'\n');
    wanted.push(b'\n');
    let message = source.rest();
    let whole = scan(&wanted, message, 1);
    assert_eq!(whole, scan(&wanted, message, seed));
    assert_eq!(search(&wanted, message, 1), search(&wanted, message, seed));
    if wanted.len() > 1 {
        // Two ways to find the Delivered-To line: a mail loop is seen by both or by neither.
        assert_eq!(whole.1, search(&wanted, message, 1) == Search::Found);
    }
    let mut at = 0;
    let mut count = 0;
    for field in fields(message) {
        assert_eq!(&message[at..at + field.raw.len()], field.raw);
        assert!(!field.raw.is_empty());
        let _ = (field.unfolded(), field.is("received"));
        at += field.raw.len();
        count += 1;
    }
    assert!(count <= FIELDS_MAX);
    let rest = &message[at..];
    assert!(count == FIELDS_MAX || rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n"));
});
