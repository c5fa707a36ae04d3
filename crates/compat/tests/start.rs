//! qmail-start: what the engine is started with, and where its log goes. The engine here is a script that tells what it got.

use super::{program, script};
use std::fs;
use std::path::Path;

fn home_with_engine() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("bin")).unwrap();
    let engine = home.path().join("bin/qmail-send");
    script(&engine, "#!/bin/sh\nprintf '<%s>' \"$@\"\n");
    home
}

fn started(home: &Path, words: &[&str]) -> String {
    let output = program("qmail-start", home).args(words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_delivery_instruction_is_handed_on_as_it_is() {
    let home = home_with_engine();
    assert_eq!(started(home.path(), &[]), "<./Mailbox>");
    assert_eq!(started(home.path(), &["|one\n./Two/ x"]), "<|one\n./Two/ x>");
}

#[test]
fn the_log_program_hears_the_engine() {
    if rustix::process::geteuid().is_root() && nix::unistd::User::from_name("qmaill").unwrap().is_none() {
        // As root it runs as that account only.
        let home = home_with_engine();
        let output = program("qmail-start", home.path()).args(["x", "cat"]).output().unwrap();
        assert_eq!(output.status.code(), Some(111));
        assert!(String::from_utf8_lossy(&output.stderr).contains("the account qmaill"), "{output:?}");
        return;
    }
    let home = home_with_engine();
    assert_eq!(started(home.path(), &["./Maildir/", "sed", "s/^/log: /"]), "log: <./Maildir/>");
}

#[test]
fn the_other_daemons_explain_themselves() {
    let home = tempfile::tempdir().unwrap();
    for name in ["qmail-lspawn", "qmail-rspawn", "qmail-clean"] {
        let output = program(name, home.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(111));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with(&format!("{name}: fatal: a part of the engine")));
    }
}
