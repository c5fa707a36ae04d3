//! vpasswd lines and names in a Maildir: total; a record written again is the same line, and none can hold another. The second is included by
//! path: crate `store` as a whole would pull tokio in.
#![no_main]
#![allow(dead_code)]

#[path = "../../crates/store/src/maildir/name.rs"]
mod name;

use postino_types::account::Record;

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let unique = name::unique(input);
    assert!(!unique.contains(&b':'));
    let uidl = name::uidl(unique);
    assert!((1..=70).contains(&uidl.len()) && uidl.bytes().all(|b| (0x21..=0x7e).contains(&b)), "RFC 1939 7: {uidl:?}");
    let _ = (name::seconds(unique), name::file_bytes(unique), name::wire_bytes(unique));

    for line in input.split(|&b| b == b'\n') {
        let Some(record) = Record::parse(line) else { continue };
        let printed = record.line();
        assert_eq!(printed.iter().filter(|b| **b == b'\n').count(), usize::from(printed.ends_with(b"\n")));
        let back = Record::parse(printed.strip_suffix(b"\n").unwrap_or(&printed)).expect("just made");
        assert!(back == record, "{record:?} became {back:?}");
    }
});
