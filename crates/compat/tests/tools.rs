//! setlock, config-fast, qmail-showctl, maildir2mbox, mailsubj.

use super::program;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("control")).unwrap();
    home
}

#[test]
fn setlock_gives_its_lock_to_the_program() {
    let home = home();
    let lock = home.path().join("lock");
    let inner = |options: &str| {
        let me = env!("CARGO_BIN_EXE_postino-compat");
        let mut command = program("setlock", home.path());
        command.arg("-n").arg(&lock).args(["sh", "-c", &format!("'{me}' setlock {options} lock echo run")]).current_dir(home.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(inner("-n"), (Some(111), String::new(), "setlock: fatal: unable to lock lock: temporary failure\n".into()));
    assert_eq!(inner("-nx"), (Some(0), String::new(), String::new()));
    let after = program("setlock", home.path()).arg(&lock).args(["sh", "-c", "exit 7"]).status().unwrap();
    assert_eq!(after.code(), Some(7));
    assert_eq!(program("setlock", home.path()).arg(&lock).status().unwrap().code(), Some(100));
}

#[test]
fn config_fast_writes_the_first_files() {
    let home = home();
    let read = |name: &str| fs::read_to_string(home.path().join("control").join(name)).unwrap();
    fs::write(home.path().join("control/locals"), "old.test").unwrap();
    for _ in 0..2 {
        assert!(program("config-fast", home.path()).arg("mail.sub.example.test").output().unwrap().status.success());
    }
    assert_eq!((read("me").as_str(), read("defaultdomain").as_str()), ("mail.sub.example.test\n", "sub.example.test\n"));
    assert_eq!((read("plusdomain").as_str(), read("rcpthosts").as_str()), ("example.test\n", "mail.sub.example.test\n"));
    assert_eq!(read("locals"), "old.test\nmail.sub.example.test\n");
    assert_eq!(fs::metadata(home.path().join("control/me")).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(home.path().join("control")).unwrap().count(), 5);
    let shown = program("qmail-showctl", home.path()).output().unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    assert!(String::from_utf8(shown.stdout).unwrap().contains("\n  mail.sub.example.test\n"));
    assert!(program("config-fast", home.path()).arg("two.test").output().unwrap().status.success());
    assert_eq!((read("defaultdomain").as_str(), read("plusdomain").as_str()), ("two.test\n", "two.test\n"));
    assert_eq!(program("config-fast", home.path()).arg("no name").output().unwrap().status.code(), Some(100));
}

#[test]
fn maildir2mbox_moves_messages_in_order() {
    let home = home();
    let maildir = home.path().join("md");
    for dir in ["", "new", "cur", "tmp"] {
        fs::create_dir(maildir.join(dir)).unwrap();
    }
    fs::write(maildir.join("new/20.1.h"), "Subject: second\n\n>From x\nFrom y\nFromage\nend").unwrap();
    fs::write(maildir.join("cur/10.1.h:2,S"), "Return-Path: <a b@c>\nSubject: first\n\n").unwrap();
    fs::write(maildir.join("new/.hidden"), "").unwrap();
    fs::write(home.path().join("mbox"), "From old\n\nx\n\n").unwrap();
    let mut command = program("maildir2mbox", home.path());
    command.env("MAILDIR", &maildir).env("MAIL", home.path().join("mbox")).env("MAILTMP", home.path().join("t"));
    assert!(command.status().unwrap().success());
    let mbox = fs::read_to_string(home.path().join("mbox")).unwrap();
    let lines: Vec<&str> =
        mbox.lines().filter(|line| !line.starts_with("From a-b@c ") && !line.starts_with("From MAILER-DAEMON ")).collect();
    let want = "From old\n\nx\n\nReturn-Path: <a b@c>\nSubject: first\n\n\nSubject: second\n\n>>From x\n>From y\nFromage\nend\n";
    assert_eq!(lines, want.lines().chain([""]).collect::<Vec<_>>());
    assert_eq!(fs::read_dir(maildir.join("new")).unwrap().count() + fs::read_dir(maildir.join("cur")).unwrap().count(), 1);
}

#[test]
fn mailsubj_gives_a_header_to_qmail_inject() {
    let home = home();
    fs::create_dir(home.path().join("bin")).unwrap();
    let inject = home.path().join("bin/qmail-inject");
    fs::write(&inject, "#!/bin/sh\ncat; exit 3\n").unwrap();
    fs::set_permissions(&inject, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(home.path().join("text"), "hello\n").unwrap();
    let input = |path: &Path| File::open(path).unwrap();
    let output = program("mailsubj", home.path()).args(["a subject", "r@x.test"]).stdin(input(&home.path().join("text"))).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Subject: a subject\nTo: r@x.test\n\nhello\n");
    let bad = program("mailsubj", home.path()).args(["a\nBcc: x", "r@x.test"]).stdin(input(&home.path().join("text"))).output().unwrap();
    assert_eq!(bad.status.code(), Some(100));
}
