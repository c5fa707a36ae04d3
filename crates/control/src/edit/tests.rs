//! Tests of the editors.

use super::*;
use proptest::prelude::*;

fn setting(name: &str) -> &'static Setting {
    table::find(name).unwrap()
}

fn set_text(name: &str, value: &str, old: &str) -> Result<String, EditError> {
    set(setting(name), value, Some(old.as_bytes())).map(|b| String::from_utf8(b).unwrap())
}

#[test]
fn classic_files() {
    assert_eq!(set_text("queuelifetime", "3600", "1").unwrap(), "3600\n");
    assert_eq!(set_text("locals", "a.test, b.test", "").unwrap(), "a.test\nb.test\n");
    assert_eq!(set_text("defaultdelivery", "./Mailbox\n|prog a", "").unwrap(), "./Mailbox\n|prog a\n");
    for (name, value) in [
        ("queuelifetime", "soon"),
        ("bounceformat", "html"),
        ("tcp.smtp", "127.:alow"),
        ("vpopmail-home", "rel/ative"),
        ("smtproutes", ":relay:x"),
        ("timeoutremote", "0"),
    ] {
        assert!(matches!(set_text(name, value, ""), Err(EditError::Value(_))), "{name}");
    }
    let told = |name, value| set_text(name, value, "").unwrap_err().to_string();
    assert_eq!(told("bounceformat", "html"), "holds \"html\" (write one of: both, qsbmf)");
    assert!(told("queuelifetime", "soon").starts_with("is no number"));
    assert!(told("me", "my host").contains("is no host name"));
    assert_eq!(set_text("smtproutes.auth", "x", ""), Err(EditError::NotEditable("smtproutes.auth")));
    assert_eq!(unset(setting("locals"), Some(b"x")), Ok(None));
    assert_eq!(unset(setting("me"), Some(b"x")), Err(EditError::NotEditable("me")));
}

const TOML: &str =
    "# my server\nminuid = 5 # low\n\n[limits] # tight\nerrors_max = 3\n\n[[tls]]\nhost = \"a\"\ncertificate = \"c\"\nkey = \"k\"\n";

#[test]
fn toml_keys_are_replaced_and_added_in_place() {
    assert_eq!(set_text("minuid", "7", TOML).unwrap(), TOML.replace("minuid = 5", "minuid = 7"));
    assert_eq!(set_text("limits.hops_max", "50", TOML).unwrap(), TOML.replace("# tight\n", "# tight\nhops_max = 50\n"));
    assert_eq!(set_text("sandbox", "off", TOML).unwrap(), TOML.replace("# my server\n", "# my server\nsandbox = \"off\"\n"));
    assert_eq!(set_text("listen.smtp", "127.0.0.1:25 [::1]:25", "").unwrap(), "[listen]\nsmtp = [\"127.0.0.1:25\", \"[::1]:25\"]\n");
    assert!(set_text("remote.starttls", "false", TOML).unwrap().ends_with("key = \"k\"\n\n[remote]\nstarttls = false\n"));
    for (name, value) in [
        ("minuid", "0"),
        ("minuid", "x"),
        ("sandbox", "maybe"),
        ("remote.starttls", "yes"),
        ("listen.smtp", "here"),
        ("remote.own_addresses", "300.1.1.1"),
    ] {
        assert!(matches!(set_text(name, value, TOML), Err(EditError::Value(_))), "{name}");
    }
    assert!(matches!(set_text("minuid", "7", "minuid = \n"), Err(EditError::File(_) | EditError::Value(_))));
}

#[test]
fn toml_keys_are_removed_with_their_line() {
    let text = |name: &str, old: &str| unset(setting(name), Some(old.as_bytes())).map(|b| String::from_utf8(b.unwrap()).unwrap());
    assert_eq!(text("minuid", TOML).unwrap(), TOML.replace("minuid = 5 # low\n", ""));
    assert_eq!(text("limits.errors_max", TOML).unwrap(), TOML.replace("errors_max = 3\n", ""));
    assert_eq!(text("sandbox", TOML).unwrap(), TOML);
    assert!(matches!(text("limits.errors_max", "limits = { errors_max = 3, hops_max = 50 }\n"), Err(EditError::File(_))));
}

#[test]
fn lines_of_list_files() {
    let added = add_line(b"# mine\nb.test\na.test", b"c.test");
    assert_eq!((added.bytes.as_slice(), added.changed), (&b"# mine\nb.test\na.test\nc.test\n"[..], true));
    assert!(!add_line(b"C.test \n", b"c.test").changed);
    let removed = remove_line(b"# mine\nA.test \nb.test\n", b"a.test");
    assert_eq!((removed.bytes.as_slice(), removed.changed), (&b"# mine\nb.test\n"[..], true));
    assert!(!remove_line(b"b.test\n", b"a.test").changed);
    assert_eq!(add_line(b"", b"x").bytes, b"x\n");
}

#[test]
fn sorted_files() {
    let sorted = add_sorted_line(b"# mine\na.test:a.test\nc.test:c.test\n", b"b.test:b.test");
    assert_eq!(
        sorted,
        Edited { bytes: b"# mine\na.test:a.test\nb.test:b.test\nc.test:c.test\n".to_vec(), changed: true, was_out_of_order: false }
    );
    let whole = add_sorted_line(b"z\n# c\na\n", b"m");
    assert_eq!(whole, Edited { bytes: b"# c\na\nm\nz\n".to_vec(), changed: true, was_out_of_order: true });
    assert!(!add_sorted_line(b"a\n", b"a").changed);
    let assign = add_assign_line(b"+a.test-:a:1:1:/a:-::\n.\n", b"+b.test-:b:1:1:/b:-::");
    assert_eq!(assign.bytes, b"+a.test-:a:1:1:/a:-::\n+b.test-:b:1:1:/b:-::\n.\n");
    assert_eq!(add_assign_line(b"", b"+b").bytes, b"+b\n.\n");
    assert_eq!(remove_assign_line(&assign.bytes, b"+a.test-:a:1:1:/a:-::").bytes, b"+b.test-:b:1:1:/b:-::\n.\n");
}

proptest! {
    #[test]
    fn adding_then_removing_gives_the_entries_back(mut hosts in proptest::collection::btree_set("[a-y]{1,6}", 0..20)) {
        hosts.remove("zz");
        let old: Vec<u8> = hosts.iter().flat_map(|h| format!("{h}\n").into_bytes()).collect();
        let added = add_sorted_line(&old, b"zz");
        prop_assert!(added.changed && lines(&added.bytes).is_sorted());
        prop_assert_eq!(remove_line(&added.bytes, b"zz").bytes, old);
    }

    #[test]
    fn setting_keeps_every_other_key(number in 1u64..1000, name in proptest::sample::select(vec!["limits.hops_max", "limits.errors_max", "minuid", "programs.processes"])) {
        if let Ok(new) = set_text(name, &number.to_string(), TOML) {
            let again = value_text(&new, name).map(str::to_owned);
            prop_assert_eq!(again, Some(number.to_string()));
            for other in ["limits.errors_max", "minuid"].iter().filter(|o| **o != name) {
                prop_assert_eq!(value_text(&new, other), value_text(TOML, other));
            }
        }
    }
}
