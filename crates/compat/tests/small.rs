//! predate, datemail, elq, qreceipt, qbiff, maildirwatch, serialqmtp.

use super::{program, script};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn fed(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input); // a program may end without reading
    child.wait_with_output().unwrap()
}

/// Keeps message and envelope, if an envelope comes.
const KEEP: &str = "#!/bin/sh\ncat > m; exec 3<&1; cat <&3 | tr '\\000' '\\n' > e\nif [ -s e ]; then mv m message; mv e envelope; fi\n";

fn maildir(path: &Path) {
    for name in ["tmp", "new", "cur"] {
        fs::create_dir_all(path.join(name)).unwrap();
    }
}

#[test]
fn predate_tells_the_time_of_the_users_zone() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program("predate", home.path());
    let output = fed(command.args(["sh", "-c", "cat; exit 4"]).env("TZ", "XYZ-3:30"), b"To: x\n");
    let text = String::from_utf8(output.stdout).unwrap();
    let (date, rest) = text.split_once('\n').unwrap();
    assert!(date.starts_with("Date: ") && date.ends_with(" +0330") && date.split(' ').count() == 6, "{date}");
    assert_eq!((rest, output.status.code()), ("To: x\n", Some(4)));
    script(&home.path().join("bin/sendmail"), "#!/bin/sh\necho \"$@\"; cat\n");
    let output = fed(program("datemail", home.path()).args(["-t", "a@b"]), b"x\n");
    assert!(String::from_utf8(output.stdout).unwrap().starts_with("-t a@b\nDate: "));
}

#[test]
fn readers_find_their_mail_in_the_mbox() {
    let home = tempfile::tempdir().unwrap();
    maildir(&home.path().join("md"));
    fs::write(home.path().join("md/new/1.2.h"), "Subject: x\n\ny\n").unwrap();
    script(&home.path().join("tools/Mail"), "#!/bin/sh\necho \"$@\"; cat \"$MAIL\"\n");
    let mut command = program("qail", home.path());
    command.arg("-f").env("MAILDIR", home.path().join("md")).env("MAIL", home.path().join("mbox"));
    command.env("PATH", format!("{}:/usr/bin:/bin", home.path().join("tools").display()));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("-f\nFrom MAILER-DAEMON ") && text.ends_with("\nSubject: x\n\ny\n\n"), "{text}");
    let output = program("pinq", home.path()).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(111), &b"maildir2mbox: fatal: MAILDIR not set\n"[..]));
}

#[test]
fn qreceipt_answers_who_asks() {
    let home = tempfile::tempdir().unwrap();
    script(&home.path().join("bin/qmail-queue"), KEEP);
    let message = b"Message-ID: <1@x>\nNotice-Requested-Upon-Delivery-To: joe@here.test\n\nbody\n";
    let run = |sender: &str, message: &[u8]| {
        let _ = fs::remove_file(home.path().join("message"));
        let output = fed(program("qreceipt", home.path()).arg("joe@here.test").env("SENDER", sender), message);
        (output.status.code(), fs::read_to_string(home.path().join("message")).ok())
    };
    let (code, sent) = run("asks@far.test", message);
    let sent = sent.unwrap();
    assert_eq!(code, Some(0));
    assert!(sent.starts_with("From: DELIVERY NOTICE SYSTEM <joe@here.test>\nTo: <asks@far.test>\nSubject: success notice\n\n"), "{sent}");
    assert!(sent.contains("following address: joe@here.test.") && sent.contains("<1@x>"), "{sent}");
    assert_eq!(fs::read_to_string(home.path().join("envelope")).unwrap(), "F\nTasks@far.test\n\n");
    assert_eq!(run("", message), (Some(0), None));
    assert_eq!(run("asks@far.test", b"Subject: x\n\nNotice-Requested-Upon-Delivery-To: joe@here.test\n"), (Some(0), None));
    assert_eq!(program("qreceipt", home.path()).output().unwrap().status.code(), Some(100));
}

#[test]
fn qbiff_never_stands_in_the_way() {
    let home = tempfile::tempdir().unwrap();
    let mut command = program("qbiff", home.path());
    assert!(fed(command.env("USER", "nobody-is-this").env("SENDER", "a@b"), b"Subject: x\n\n").status.success());
    assert_eq!(program("qbiff", home.path()).output().unwrap().status.code(), Some(100));
}

#[test]
fn maildirwatch_shows_what_is_new() {
    let home = tempfile::tempdir().unwrap();
    maildir(&home.path().join("md"));
    fs::write(home.path().join("md/new/1.2.h"), "Return-Path: <a@b>\nDelivered-To: c@d\nSubject: hello\n\nwords\n").unwrap();
    let mut command = program("maildirwatch", home.path());
    let mut child = command.env("MAILDIR", home.path().join("md")).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let shown: Vec<String> = (0..3).map(|_| lines.next().unwrap().unwrap()).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(shown, ["\x1b[;H\x1b[;JTO <c@d> FROM <a@b>", "  hello", "  words"]);
}

#[test]
fn a_maildir_goes_out_by_qmtp() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pppdir");
    maildir(&dir);
    fs::create_dir(home.path().join("control")).unwrap();
    fs::write(home.path().join("control/me"), "here.test\n").unwrap();
    fs::write(home.path().join("control/rcpthosts"), "far.test\n").unwrap();
    script(&home.path().join("bin/qmail-queue"), KEEP);
    let file = |name: &str, to: &str| {
        let text = format!("Return-Path: <\"a b\"@x.test>\nDelivered-To: alias-ppp-{to}\nSubject: x\n\nlast line open");
        fs::write(dir.join("new").join(name), text).unwrap();
    };
    file("1.1.h", "joe@far.test");
    file("2.1.h", "joe@else.test");
    let mut server = program("tcpserver", home.path());
    let exe = env!("CARGO_BIN_EXE_postino-compat");
    server.args(["-1", "-l0", "-H", "-R", "127.0.0.1", "0", exe, "qmail-qmtpd"]);
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let mut command = program("maildirserial", home.path());
    command.arg(&dir).args(["alias-ppp-", exe, "tcpclient", "-RHl0", "127.0.0.1", port.trim(), exe, "serialqmtp", "alias-ppp-"]);
    let output = command.output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(log.contains("info: new/1.1.h succeeded: 127.0.0.1 to: joe@far.test said: ok "), "{log}");
    assert!(log.contains("info: new/2.1.h failed: 127.0.0.1 to: joe@else.test said: sorry, "), "{log}");
    let left: Vec<_> = fs::read_dir(dir.join("new")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!((left, output.status.code()), (vec!["2.1.h".into()], Some(111)));
    let mut message = String::new();
    fs::File::open(home.path().join("message")).unwrap().read_to_string(&mut message).unwrap();
    assert!(message.ends_with("\nSubject: x\n\nlast line open"), "{message}");
    assert_eq!(fs::read_to_string(home.path().join("envelope")).unwrap(), "Fa b@x.test\nTjoe@far.test\n\n");
}
