//! Tests of tidy: each rule passes what is right and catches what is wrong.

use super::*;

fn file(path: &str, text: &str) -> TextFile {
    TextFile { path: path.into(), text: text.into() }
}

#[test]
fn functions_are_measured_without_comments() {
    let source = "//! x\nfn a() {\n    // only a comment }\n    let s = \"}\";\n\n    b(|| { 1 });\n}\ntrait T { fn d(x: [u8; 2]); fn e() { f() } }\nstruct S { fn_: u8 }\n";
    assert_eq!(functions(&mask(source)), [("a".to_owned(), 4), ("e".to_owned(), 1)]);
}

#[test]
fn test_modules_do_not_count() {
    let source =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {\n    }\n}\nfn c() {}\n#[cfg(test)]\nmod more;\n#[cfg(test)]\nfn d() {}\n";
    let masked = without_tests(mask(source));
    assert_eq!(functions(&masked).iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["a", "c", "d"]);
    assert_eq!(code_lines(&masked), 4);
}

#[test]
fn the_ratchet_only_shrinks() {
    let mut ratchet = Ratchet::parse("a.rs\t900\nb.rs\tlong\t80\nc.rs\t850\n");
    assert_eq!(ratchet.judge("a.rs", 900, 800), None);
    assert!(ratchet.judge("a.rs", 901, 800).is_some());
    assert_eq!(ratchet.judge("b.rs long", 75, 70), None);
    assert!(ratchet.judge("b.rs other", 75, 70).is_some());
    assert_eq!(ratchet.judge("c.rs", 700, 800), None);
    assert_eq!(ratchet.stale().len(), 1);
}

#[test]
fn first_lines() {
    assert!(first_line(&file("a.rs", "//! What this file is.\n")).is_none());
    assert!(first_line(&file("a.rs", "//! x\n")).is_some());
    assert!(first_line(&file("a.rs", "use x;\n")).is_some());
}

#[test]
fn banned_words() {
    let path = ["see ", "/wo", "rk/x"].concat();
    assert_eq!(banned(&file("a", &path)).len(), 1);
    assert_eq!(banned(&file("a", &["../sha", "red/x\n// FIX", "ME\n"].concat())).len(), 2);
    assert!(banned(&file("a", "rework/x unshared/x XXXL network/y")).is_empty());
}

#[test]
fn rfc_references() {
    for good in ["RFC 5321 4.5.3", "RFC 5321, RFC 3464", "RFC 1939", "Content-Type: RFC822", "RFCs", "RFC 5321 and section"] {
        assert!(rfc_spelling(&file("a", good)).is_empty(), "{good}");
    }
    for bad in ["5321", "-5321", " 5321 section 4.5", " 5321, Section 4", " 5321 §4"] {
        let bad = ["RFC", bad].concat(); // in two halves, so that this file passes its own check
        assert_eq!(rfc_spelling(&file("a", &bad)).len(), 1, "{bad}");
    }
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = |text: &str| links(root, &file("src/x.md", text));
    assert!(page("[a](main.rs) [b](../Cargo.toml#x) [c](https://x/y) [d](#e)\n```\n[f](nowhere)\n```\n").is_empty());
    assert_eq!(page("[a](nowhere.md)").len(), 1);
}
