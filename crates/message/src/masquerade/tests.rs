//! Tests of the header rewriter: which bytes change, and that all others do not, however the message is cut.

use super::*;
use proptest::prelude::*;

/// `@fake.test` becomes `@real.test`, `joe@fake.test` becomes `j.doe@isp.test`, `sp ace@fake.test` stays with its quotes.
fn map(address: &Address) -> Option<Address> {
    let lower = address.as_bytes().to_ascii_lowercase();
    match lower.as_slice() {
        b"joe@fake.test" => Address::from_bytes(b"j.doe@isp.test").ok(),
        _ if address.host_lower() == b"fake.test" => Address::from_parts(address.local(), b"real.test").ok(),
        _ => None,
    }
}

fn rewritten(fields: Fields, message: &[u8], cut: usize) -> Vec<u8> {
    let mut rewriter = HeaderRewriter::new(fields);
    let mut out = Vec::new();
    for chunk in message.chunks(cut.max(1)) {
        rewriter.feed(chunk, &map, &mut out);
    }
    rewriter.finish(&map, &mut out);
    out
}

fn both(message: &str) -> String {
    let whole = rewritten(Fields::All, message.as_bytes(), usize::MAX);
    for cut in 1..8 {
        assert_eq!(rewritten(Fields::All, message.as_bytes(), cut), whole, "cut at {cut}: {message:?}");
    }
    String::from_utf8(whole).unwrap()
}

#[test]
fn forms_of_addresses() {
    for (value, want) in [
        ("joe@fake.test", "j.doe@isp.test"),
        ("JOE@Fake.TEST", "j.doe@isp.test"),
        ("Joe <joe@fake.test>", "Joe <j.doe@isp.test>"),
        ("joe@fake.test (Joe \\) joe@fake.test)", "j.doe@isp.test (Joe \\) joe@fake.test)"),
        ("\"joe@fake.test\" <ann@fake.test>", "\"joe@fake.test\" <ann@real.test>"),
        ("joe@fake.test <ann@fake.test>", "joe@fake.test <ann@real.test>"),
        ("ann@far.test, joe@fake.test,\n\tbob@fake.test", "ann@far.test, j.doe@isp.test,\n\tbob@real.test"),
        ("us: ann@fake.test, Bob <bob@fake.test>;", "us: ann@real.test, Bob <bob@real.test>;"),
        ("<@fake.test,@b.test:ann@fake.test>", "<@fake.test,@b.test:ann@real.test>"),
        ("\"sp ace\"@fake.test", "\"sp ace\"@real.test"),
        ("\"jo\\e\"@fake.test", "j.doe@isp.test"),
        ("joe @ fake . test (x)", "j.doe @ isp.test (x)"),
        ("a (c) . b (d) @ (e) fake.test", "a.b (d) @ (e) real.test"),
        ("ann@[10.0.0.1], ann@sub.fake.test, ann", "ann@[10.0.0.1], ann@sub.fake.test, ann"),
        ("=?utf-8?q?J=C3=B6?= <joe@fake.test>", "=?utf-8?q?J=C3=B6?= <j.doe@isp.test>"),
        ("J\u{f6}rg <ann@fake.test>", "J\u{f6}rg <ann@real.test>"),
        ("<>", "<>"),
        ("joe@fake.test (never closed", "j.doe@isp.test (never closed"),
        ("(never closed joe@fake.test", "(never closed joe@fake.test"),
        ("joe@@fake.test", "joe@@fake.test"),
        ("joe\"x\"@fake.test", "joex@real.test"),
        ("@fake.test", "@fake.test"),
        ("joe@fake.test ann@fake.test", "j.doe@isp.test ann@fake.test"),
    ] {
        assert_eq!(both(&format!("From: {value}\n\n")), format!("From: {want}\n\n"));
    }
}

#[test]
fn only_the_fields_that_are_asked_for_and_never_the_body() {
    let message = "Received: from joe@fake.test\nfrom : joe@fake.test\nX-From: joe@fake.test\nTo: joe@fake.test\nSubject: a\n From: joe@fake.test\n\
        FROM:\n joe@fake.test\nDKIM-Signature: i=joe@fake.test\n\nFrom: joe@fake.test\n";
    let want =
        message.replacen("from : joe@fake.test", "from : j.doe@isp.test", 1).replacen("FROM:\n joe@fake.test", "FROM:\n j.doe@isp.test", 1);
    let got = rewritten(Fields::Senders, message.as_bytes(), 3);
    assert_eq!(String::from_utf8(got).unwrap(), want);
    let got = rewritten(Fields::All, message.as_bytes(), 3);
    assert_eq!(String::from_utf8(got).unwrap(), want.replacen("To: joe@fake.test", "To: j.doe@isp.test", 1));
}

#[test]
fn odd_ends() {
    assert_eq!(both("From: joe@fake.test"), "From: j.doe@isp.test");
    assert_eq!(both("From: a\r\n\r\nFrom: joe@fake.test\n"), "From: a\r\n\r\nFrom: joe@fake.test\n");
    assert_eq!(both("\nFrom: joe@fake.test\n"), "\nFrom: joe@fake.test\n");
    assert_eq!(both(" x\nno field\nFrom: joe@fake.test\n"), " x\nno field\nFrom: j.doe@isp.test\n");
    let long = format!("From: {}joe@fake.test\n\n", "a@b.test, ".repeat(FIELD_BYTES_MAX / 10));
    assert_eq!(rewritten(Fields::All, long.as_bytes(), 4096), long.as_bytes());
}

proptest! {
    /// What no rule names goes through byte for byte, whatever it is and however it is cut.
    #[test]
    fn no_rule_no_change(message in proptest::collection::vec(prop_oneof![
        8 => proptest::sample::select(&b"From: To\n \t\r,;:<>@()[]\"\\.ab\xc3\xa4"[..]),
        1 => any::<u8>(),
    ], 0..300), cut in 1usize..40) {
        let none = |_: &Address| None;
        let mut rewriter = HeaderRewriter::new(Fields::All);
        let mut out = Vec::new();
        for chunk in message.chunks(cut) {
            rewriter.feed(chunk, &none, &mut out);
        }
        rewriter.finish(&none, &mut out);
        prop_assert_eq!(out, message);
        prop_assert!(!rewriter.has_changed());
    }

    /// Cuts make no difference, and a second pass finds nothing more to do.
    #[test]
    fn cuts_and_a_second_pass(value in "[a<>@, ;:()\"\\\\\n\t.]{0,40}(joe@fake\\.test|ann@fake\\.test)[a<>@, ;:()\"\\\\\n\t.]{0,40}", cut in 1usize..20) {
        let message = format!("From: {value}\n\n");
        let once = rewritten(Fields::All, message.as_bytes(), usize::MAX);
        prop_assert_eq!(&rewritten(Fields::All, message.as_bytes(), cut), &once);
        prop_assert_eq!(&rewritten(Fields::All, &once, cut), &once);
    }
}
