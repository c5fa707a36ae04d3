//! setlock, config-fast, qmail-showctl, maildir2mbox, mailsubj.

use super::{copy_program, program, script};
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
    script(&inject, "#!/bin/sh\ncat; exit 3\n");
    fs::write(home.path().join("text"), "hello\n").unwrap();
    let input = |path: &Path| File::open(path).unwrap();
    let output = program("mailsubj", home.path()).args(["a subject", "r@x.test"]).stdin(input(&home.path().join("text"))).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "Subject: a subject\nTo: r@x.test\n\nhello\n");
    let bad = program("mailsubj", home.path()).args(["a\nBcc: x", "r@x.test"]).stdin(input(&home.path().join("text"))).output().unwrap();
    assert_eq!(bad.status.code(), Some(100));
}

#[test]
fn the_table_of_timeouts_is_shown_and_cleared() {
    let home = home();
    assert_eq!(program("qmail-tcpok", home.path()).output().unwrap().status.code(), Some(111));
    fs::create_dir_all(home.path().join("queue/lock")).unwrap();
    let mut table = vec![0u8; 1024];
    table[16..32].copy_from_slice(&[192, 0, 2, 7, 3, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    let path = home.path().join("queue/lock/tcpto");
    fs::write(&path, &table).unwrap();
    let shown = String::from_utf8(program("qmail-tcpto", home.path()).output().unwrap().stdout).unwrap();
    assert!(shown.starts_with("192.0.2.7 timed out ") && shown.ends_with(" seconds ago; # recent timeouts: 3\n"), "{shown}");
    assert!(program("qmail-tcpok", home.path()).status().unwrap().success());
    assert_eq!(fs::read(&path).unwrap(), vec![0u8; 1024]);
}

#[test]
fn qread_and_qstat_ask_postino() {
    let home = home();
    fs::create_dir(home.path().join("bin")).unwrap();
    let postino = home.path().join("bin/postino");
    script(&postino, "#!/bin/sh\necho \"$@\"\n");
    // A copy of the program, so that no postino of the build directory lies beside it.
    let copy = home.path().join("bin/qmail-qstat");
    copy_program(&copy);
    let output = std::process::Command::new(&copy).env("POSTINO_HOME", home.path()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "queue stat --qmail\n");
}

#[test]
fn pw2u_makes_an_assignment_that_newu_takes() {
    let home = home();
    let users = home.path().join("users");
    fs::create_dir(&users).unwrap();
    for (name, text) in [("exclude", "no\n"), ("mailnames", "two:a:b\n"), ("subusers", "list:joe:l:\n"), ("append", "=x:y:1:1:/::")] {
        fs::write(users.join(name), text).unwrap();
    }
    let passwd = "root:x:0:0::/root:\njoe:x:5:6:Joe:/h/joe:/bin/sh\nno:x:7:7::/h:\nBig:x:8:8::/h:\ntwo:x:9:9::/h/two:\nalias:x:3:3::/a:\n";
    fs::write(home.path().join("passwd"), passwd).unwrap();
    let input = File::open(home.path().join("passwd")).unwrap();
    let output = program("qmail-pw2u", home.path()).arg("-O").stdin(input).output().unwrap();
    let want = "=joe:joe:5:6:/h/joe:::\n+joe-:joe:5:6:/h/joe:-::\n=a:two:9:9:/h/two:::\n+a-:two:9:9:/h/two:-::\n=b:two:9:9:/h/two:::\n\
                +b-:two:9:9:/h/two:-::\n=alias:alias:3:3:/a:::\n+alias-:alias:3:3:/a:-::\n+:alias:3:3:/a:-::\n=list:joe:5:6:/h/joe:-:l:\n\
                +list-:joe:5:6:/h/joe:-:l-:\n=x:y:1:1:/::\n.\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), want);
    fs::remove_file(users.join("append")).unwrap();
    let input = File::open(home.path().join("passwd")).unwrap();
    let output = program("qmail-pw2u", home.path()).arg("-O").stdin(input).output().unwrap();
    fs::write(users.join("assign"), output.stdout).unwrap();
    assert!(program("qmail-newu", home.path()).status().unwrap().success());
    let input = File::open(home.path().join("passwd")).unwrap();
    let output = program("qmail-pw2u", home.path()).stdin(input).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), ".\n", "no homes");
}
