//! `control/masquerade` in qmail-remote, and qmail-masq before qmail-queue and before qmail-remote.

use super::program;
use super::sink::Sink;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

const TABLE: &str = "joe@fake.test:j.doe@isp.test\n@fake.test:@isp.test\n!root@fake.test\n";
const MESSAGE: &str = "From: Joe\n <joe@fake.test>\nTo: ann@fake.test\n\nFrom: joe@fake.test\n";

fn home(port: u16) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("control")).unwrap();
    fs::create_dir_all(home.path().join("queue/drop")).unwrap();
    fs::create_dir_all(home.path().join("bin")).unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join("control").join(name), text).unwrap();
    write("me", "fake.test\n");
    write("smtproutes", &format!(":127.0.0.1:{port}\n"));
    write("masquerade", TABLE);
    home
}

fn script(home: &Path, name: &str, text: &str) {
    super::script(&home.join("bin").join(name), &format!("#!/bin/sh\n{text}\n"));
}

fn out(name: &str, home: &Path, args: &[&str]) {
    let mut child = program(name, home).args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(MESSAGE.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn remote_mail_leaves_under_the_address_that_the_world_knows() {
    for name in ["qmail-remote", "qmail-masq"] {
        let sink = Sink::new(&json!({}), 1);
        let home = home(sink.port);
        let exe = env!("CARGO_BIN_EXE_postino-compat");
        std::os::unix::fs::symlink(exe, home.path().join("bin/qmail-remote")).unwrap();
        out(name, home.path(), &["far.test", "joe@fake.test", "r@far.test"]);
        let session = sink.sessions().remove(0);
        assert_eq!(session.commands[1], "MAIL FROM:<j.doe@isp.test>", "{name}");
        let want = MESSAGE.replacen("joe@fake.test", "j.doe@isp.test", 1).replace('\n', "\r\n");
        assert_eq!(session.data.unwrap(), format!("{want}.\r\n"), "{name}");
    }
}

#[test]
fn a_table_that_is_wrong_sends_nothing() {
    let home = home(9);
    fs::write(home.path().join("control/masquerade"), "joe\n").unwrap();
    let output = program("qmail-remote", home.path()).args(["a.test", "s", "r@a.test"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"ZUnable to read control files. (#4.3.0)\n\0");
    let output = program("qmail-masq", home.path()).args(["a.test", "s", "r@a.test"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(111));
    assert!(String::from_utf8(output.stderr).unwrap().contains("control/masquerade: line 1 is not KEY"));
}

fn queued(home: &Path, envelope: &str) -> (Option<i32>, String) {
    let file = |name: &str, text: &str| {
        fs::write(home.join(name), text).unwrap();
        File::open(home.join(name)).unwrap()
    };
    let (message, envelope) = (file("m", MESSAGE), file("e", envelope));
    let code = program("qmail-masq", home).stdin(message).stdout(envelope).status().unwrap().code();
    (code, fs::read_to_string(home.join("got")).unwrap_or_default())
}

#[test]
fn before_the_queue_only_the_copy_that_leaves_is_changed() {
    let home = home(9);
    script(home.path(), "qmail-queue", "exec 3<&1; (cat; cat <&3 | tr '\\0' '|'; echo) >> got");
    let changed = MESSAGE.replacen("joe@fake.test", "j.doe@isp.test", 1);
    let (code, got) = queued(home.path(), "Fjoe@fake.test\0Tann@fake.test\0Tr@far.test\0Tbob\0\0");
    assert_eq!(code, Some(0));
    assert_eq!(got, format!("{changed}Fj.doe@isp.test|Tr@far.test||\n{MESSAGE}Fjoe@fake.test|Tann@fake.test|Tbob||\n"));
    fs::remove_file(home.path().join("got")).unwrap();
    let (code, got) = queued(home.path(), "Froot@fake.test\0Tr@far.test\0\0");
    assert_eq!((code, got), (Some(0), format!("{changed}Froot@fake.test|Tr@far.test||\n")));
    // The program that was moved aside is the one that is asked.
    script(home.path(), "qmail-queue-real", "exit 53");
    assert_eq!(queued(home.path(), "Froot@fake.test\0Tr@far.test\0\0").0, Some(71));
    script(home.path(), "qmail-queue-real", "exit 31");
    assert_eq!(queued(home.path(), "Froot@fake.test\0Tann@fake.test\0\0").0, Some(31));
    assert_eq!(queued(home.path(), "junk").0, Some(91));
}

#[test]
fn put_under_the_name_of_what_it_runs_it_ends_and_says_so() {
    let home = home(9);
    let exe = env!("CARGO_BIN_EXE_postino-compat");
    for (name, words) in [("qmail-queue", ""), ("qmail-remote", " \"$@\"")] {
        script(home.path(), name, &format!("echo x >> starts; exec {exe} qmail-masq{words}"));
    }
    let starts = || fs::read_to_string(home.path().join("starts")).unwrap().lines().count();
    assert_eq!(queued(home.path(), "Froot@fake.test\0Tr@far.test\0\0").0, Some(71));
    assert_eq!(starts(), 4);
    let mut masq = program("qmail-masq", home.path());
    let output = masq.current_dir(home.path()).args(["a.test", "s", "r@a.test"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!((output.status.code(), starts()), (Some(111), 8));
    assert!(String::from_utf8(output.stderr).unwrap().contains("keep the original as bin/qmail-remote-real"));
}
