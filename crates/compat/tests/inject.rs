//! qmail-inject, sendmail and the programs for dot-qmail files, on the recorded cases.

use super::{program, script};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

/// A queue that keeps what it is given, with what `qmail-queue` would put before it.
const QUEUE: &str = "#!/bin/sh\n{ echo 'Received: (qmail <PID> invoked by uid <OQBOB>); <DATE>'; cat; } >\"$POSTINO_HOME/message\"\ncat <&1 >\"$POSTINO_HOME/envelope\"\n";

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["bin", "control"] {
        fs::create_dir(home.path().join(dir)).unwrap();
    }
    fs::write(home.path().join("control/me"), "oracle.test\n").unwrap();
    script(&home.path().join("bin/qmail-queue"), QUEUE);
    home
}

fn with_input(mut command: Command, home: &Path, input: &str) -> Output {
    fs::write(home.join("input"), input).unwrap();
    command.stdin(File::open(home.join("input")).unwrap()).output().unwrap()
}

/// Numbers and dates as the cases write them.
fn masked(text: &str) -> String {
    let mask = |line: &str| {
        if line.starts_with("Date: ") && line.ends_with(" -0000") {
            "Date: <DATE>".to_owned()
        } else if let Some((before, host)) = line.strip_prefix("Message-ID: <").and_then(|id| id.split_once(".qmail@")) {
            assert_eq!(before.split_once('.').map(|(stamp, _)| stamp.len()), Some(14), "{line}");
            format!("Message-ID: <<STAMP>.<PID>.qmail@{host}")
        } else if let Some((name, _)) = line.split_once(": qp ") {
            format!("{name}: qp <PID>")
        } else {
            line.to_owned()
        }
    };
    text.split('\n').map(mask).collect::<Vec<_>>().join("\n")
}

fn check(path: &Path) {
    let case: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let id = case["id"].as_str().unwrap().to_owned();
    let (Some(input), expected) = (case["input"]["stdin"].as_str(), &case["expected"]) else { return };
    let home = home();
    let mut argv: Vec<String> = vec!["qmail-inject".into()];
    if let Some(given) = case["input"]["argv"].as_array() {
        argv = given
            .iter()
            .map(|word| word.as_str().unwrap().rsplit_once("qmail/bin/").map_or(word.as_str().unwrap(), |w| w.1).to_owned())
            .collect();
    }
    let mut command = program(&argv[0], home.path());
    command.args(&argv[1..]);
    for (name, value) in case["setup"].as_object().unwrap() {
        if name.starts_with("control/") {
            fs::write(home.path().join(name), value.as_str().unwrap()).unwrap();
        } else if name == "env" {
            command.envs(value.as_object().unwrap().iter().map(|(name, value)| (name, value.as_str().unwrap())));
        }
    }
    fs::write(home.path().join("mft"), "List@L.test\n").unwrap();
    if case["setup"]["env"].get("QMAILMFTFILE").is_some() {
        command.env("QMAILMFTFILE", home.path().join("mft"));
    }
    let output = with_input(command, home.path(), input);
    let text = |bytes: &[u8]| masked(&String::from_utf8_lossy(bytes));
    let read = |name: &str| fs::read(home.path().join(name)).ok();
    assert_eq!(output.status.code().map(i64::from), expected["exit"].as_i64(), "{id}: {}", text(&output.stderr));
    for (stream, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if let Some(want) = expected[stream].as_str() {
            assert_eq!(text(bytes), want, "{id}");
        }
    }
    let queued = expected["queued"].get(0);
    assert_eq!(queued.is_some(), read("message").is_some(), "{id}");
    let Some(queued) = queued else { return };
    assert_eq!(text(&read("message").unwrap()), queued["message"].as_str().unwrap(), "{id}");
    let envelope = String::from_utf8(read("envelope").unwrap()).unwrap();
    let envelope: Vec<&str> = envelope.strip_suffix("\0\0").unwrap().split('\0').collect();
    let want: Vec<&str> = queued["envelope"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    if id == "in22" {
        assert!(envelope[0].starts_with("Fjoe-") && envelope[0].ends_with("@oracle.test"), "{envelope:?}");
        assert_eq!(envelope[1..], want[1..], "{id}");
    } else {
        assert_eq!(envelope, want, "{id}");
    }
}

#[test]
fn recorded_cases() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut count = 0;
    for entry in fs::read_dir(cases).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("in") || name.starts_with("he") {
            check(&path);
            count += 1;
        }
    }
    assert!(count > 20, "{count} cases");
}

#[test]
fn refusals_of_the_queue() {
    let home = home();
    for (code, exit, text) in
        [(31, 100, "mail server permanently rejected message (#5.3.0)"), (53, 111, "qq write error or disk full (#4.3.0)")]
    {
        let queue = home.path().join("refuse");
        script(&queue, &format!("#!/bin/sh\ncat >/dev/null\nexit {code}\n"));
        let mut command = program("qmail-inject", home.path());
        command.env("QMAILQUEUE", &queue);
        let output = with_input(command, home.path(), "To: a@x.test\n\nhi\n");
        assert_eq!(output.status.code(), Some(exit));
        assert_eq!(String::from_utf8_lossy(&output.stderr), format!("qmail-inject: fatal: {text}\n"));
    }
}

fn printed(args: &[&str], input: &str) -> String {
    let home = home();
    let mut command = program("qmail-inject", home.path());
    command.env("USER", "joe").arg("-n").args(args);
    let output = with_input(command, home.path(), input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    masked(&String::from_utf8_lossy(&output.stdout))
}

#[test]
fn headers_that_are_not_whole() {
    let added = "Date: <DATE>\nMessage-ID: <<STAMP>.<PID>.qmail@oracle.test>\nFrom: joe@oracle.test\n";
    assert_eq!(printed(&[], "To: a@x.test"), format!("Return-Path: <joe@oracle.test>\n{added}To: a@x.test\n\n"));
    assert_eq!(printed(&["-f", ""], "To: (open\n\nx"), format!("Return-Path: <>\n{added}To: (open\n\nx\n"));
    assert_eq!(printed(&[], ""), format!("Return-Path: <joe@oracle.test>\n{added}Cc: recipient list not shown: ;\n\n"));
    let resent = printed(&["-fa b@c.d"], "Resent-To: x@y.z\nFrom: f@g.h\nBcc: b@b.b\n\n");
    assert!(resent.starts_with("Return-Path: <\"a b\"@c.d>\nResent-Date: "), "{resent}");
    assert!(resent.ends_with("Resent-From: joe@oracle.test\nResent-To: x@y.z\nFrom: f@g.h\n\n"), "{resent}");
}

#[test]
fn sendmail_takes_what_other_programs_say_to_it() {
    let home = home();
    let sent = |words: &[&str]| {
        let mut command = program("sendmail", home.path());
        command.args(words);
        assert!(with_input(command, home.path(), "\n").status.success(), "{words:?}");
        fs::read_to_string(home.path().join("envelope")).unwrap().replace('\0', "|")
    };
    assert_eq!(sent(&["-oem", "-oi", "-f", "s@y.test", "--", "a@x.test", "-t"]), "Fs@y.test|Ta@x.test|T-t@oracle.test||");
    assert_eq!(sent(&["-vi", "-F", "Joe", "-rs@y.test", "-odb", "b@x.test", "-v"]), "Fs@y.test|Tb@x.test|T-v@oracle.test||");
}

#[test]
fn newaliases_and_unknown_options_are_refused() {
    let home = home();
    assert_eq!(program("newaliases", home.path()).output().unwrap().status.code(), Some(100));
    assert_eq!(program("sendmail", home.path()).arg("-Q").output().unwrap().status.code(), Some(100));
}
