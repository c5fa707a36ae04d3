//! qmail-newu, qmail-newmrh, maildirmake, qmail-getpw, and how a program is picked.

use super::program;
use postino_control::cdb::Cdb;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn records(path: &std::path::Path) -> Vec<(String, String)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace('\0', "\\0");
    let records = Cdb::new(fs::read(path).unwrap()).unwrap().records().unwrap();
    records.into_iter().map(|(key, data)| (text(key), text(data))).collect()
}

#[test]
fn newu_compiles_and_keeps_the_old_file_on_an_error() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("users")).unwrap();
    let assign = home.path().join("users/assign");
    let cdb = home.path().join("users/cdb");
    fs::write(&assign, "=Joe:alice:5000:5000:/home/alice:-:Joe:\n+joe-:alice:5000:5000:/home/alice:-::\n+x:u:1:2:/h:-:p:extra:stuff\n.\n")
        .unwrap();
    let output = program("qmail-newu", home.path()).output().unwrap();
    assert_eq!(said(&output), (Some(0), String::new()));
    let record = |key: &str, data: &str| (key.to_owned(), data.to_owned());
    let want = vec![
        record("!joe\\0", "alice\\05000\\05000\\0/home/alice\\0-\\0Joe"),
        record("!joe-", "alice\\05000\\05000\\0/home/alice\\0-\\0"),
        record("!x", "u\\01\\02\\0/h\\0-\\0p"),
        record("", "-x"),
    ];
    assert_eq!(records(&cdb), want);
    for bad in ["=a:b:1:1:/x:-:\n.\n", "=a:b:1:1:/x:-:ext:\n"] {
        fs::write(&assign, bad).unwrap();
        let output = program("qmail-newu", home.path()).output().unwrap();
        assert_eq!(said(&output), (Some(111), "qmail-newu: fatal: bad format in users/assign\n".to_owned()));
        assert_eq!(records(&cdb), want);
    }
}

#[test]
fn newmrh_compiles_hosts_in_lower_case() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("control")).unwrap();
    fs::write(home.path().join("control/morercpthosts"), "More.test \n.sub.more.test\n# c\n\n").unwrap();
    let output = program("qmail-newmrh", home.path()).output().unwrap();
    assert_eq!(said(&output), (Some(0), String::new()));
    let want = ["more.test", ".sub.more.test"].map(|key| (key.to_owned(), String::new()));
    assert_eq!(records(&home.path().join("control/morercpthosts.cdb")), want);
}

#[test]
fn maildirmake_makes_four_directories_once() {
    let home = tempfile::tempdir().unwrap();
    let maildir = home.path().join("mm");
    let run = || program("maildirmake", home.path()).arg(&maildir).output().unwrap();
    assert_eq!(said(&run()), (Some(0), String::new()));
    for part in ["", "tmp", "new", "cur"] {
        assert_eq!(fs::metadata(maildir.join(part)).unwrap().permissions().mode() & 0o7777, 0o700, "{part}");
    }
    let text = format!("maildirmake: fatal: unable to mkdir {}: file already exists\n", maildir.display());
    assert_eq!(said(&run()), (Some(111), text));
}

#[test]
fn a_program_is_picked_by_its_own_name_too() {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_postino-compat")).arg0("/var/qmail/bin/qmail-local").output().unwrap();
    assert_eq!(output.status.code(), Some(100));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("qmail-local: usage: "));
    assert_eq!(program("no-such-program", home.path()).output().unwrap().status.code(), Some(2));
}

#[test]
fn qmail_local_delivers_by_hand() {
    let home = tempfile::tempdir().unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.path().join("Maildir").join(part)).unwrap();
    }
    let message = home.path().join("message");
    fs::write(&message, "A: b\n\nc\n").unwrap();
    let output = program("qmail-local", home.path())
        .args(["--", "joe"])
        .arg(home.path())
        .args(["joe", "", "", "here.test", "s@x", "./Maildir/"])
        .stdin(fs::File::open(&message).unwrap())
        .output()
        .unwrap();
    assert_eq!(said(&output), (Some(0), String::new()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "did 1+0+0\n");
    let file = fs::read_dir(home.path().join("Maildir/new")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read_to_string(&file).unwrap(), "Return-Path: <s@x>\nDelivered-To: joe@here.test\nA: b\n\nc\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}
