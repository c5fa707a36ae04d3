//! What the recorded cases do not reach: printing, locks, traversal, hostile senders, forwards through an injector, several Maildirs at once.

use postino_local::qmail_local::{Action, Delivery, Ended, Forwarding, QueueProgram, Surroundings, run};
use postino_ports::spawn::Once;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

struct Home(tempfile::TempDir);

impl Home {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["Maildir/cur", "Maildir/new", "Maildir/tmp"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn delivery(&self, dash: &str, ext: &[u8], sender: &[u8]) -> Delivery {
        Delivery {
            user: b"joe".to_vec(),
            home: self.path().to_path_buf(),
            local: [b"joe", dash.as_bytes(), ext].concat(),
            dash: dash.into(),
            ext: ext.to_vec(),
            domain: b"here.test".to_vec(),
            sender: sender.to_vec(),
            default_delivery: b"./Maildir/".to_vec(),
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    fn new_count(&self) -> usize {
        fs::read_dir(self.path().join("Maildir/new")).unwrap().count()
    }
}

fn go(delivery: &Delivery, body: &str, action: Action, forwarding: Forwarding) -> (Ended, String, String) {
    go_within(Duration::from_secs(60), delivery, body, (action, forwarding))
}

fn go_within(maildir_time: Duration, delivery: &Delivery, body: &str, how: (Action, Forwarding)) -> (Ended, String, String) {
    let (action, forwarding) = how;
    let mut message = tempfile::tempfile().unwrap();
    message.write_all(body.as_bytes()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let open = |name: &str| fs::OpenOptions::new().create(true).append(true).open(dir.path().join(name)).unwrap();
    let (out, err) = (open("out"), open("err"));
    let around = Surroundings {
        message: &message,
        out: &out,
        err: &err,
        action,
        forwarding,
        lock_wait: Duration::ZERO,
        maildir_time,
        program_file_bytes: 1 << 20,
        once: Once::None,
    };
    let ended = run(delivery, &around);
    let said = |name: &str| String::from_utf8_lossy(&fs::read(dir.path().join(name)).unwrap()).into_owned();
    (ended, said("out"), said("err"))
}

fn deliver(delivery: &Delivery, body: &str) -> (i32, String) {
    let (ended, _, err) = go(delivery, body, Action::Deliver, Forwarding::Collect);
    (ended.exit, err)
}

#[test]
fn print_says_what_would_be_done_and_does_nothing() {
    let home = Home::new(&[(".qmail", "#c\n./Maildir/\n./mbox\n|prog arg\n&fwd@x.test\nplain@y.test\n")]);
    let (ended, out, err) = go(&home.delivery("", b"", b"s@x.test"), "", Action::Print, Forwarding::Collect);
    assert_eq!(ended, Ended { exit: 0, forwards: Vec::new() });
    assert_eq!(out, "maildir ./Maildir/\nmbox ./mbox\nprogram prog arg\nforward fwd@x.test\nforward plain@y.test\ndid 2+2+1\n");
    assert_eq!((err.as_str(), home.new_count()), ("", 0));
    assert!(!home.path().join("mbox").try_exists().unwrap());
}

#[test]
fn a_maildir_delivery_that_takes_too_long_leaves_nothing() {
    let home = Home::new(&[]);
    let delivery = home.delivery("", b"", b"s@x.test");
    let (ended, _, err) = go_within(Duration::ZERO, &delivery, "x\n", (Action::Deliver, Forwarding::Collect));
    assert_eq!((ended.exit, err.as_str()), (111, "Timeout on maildir delivery. (#4.3.0)\n"));
    assert_eq!((home.new_count(), fs::read_dir(home.path().join("Maildir/tmp")).unwrap().count()), (0, 0));
    assert_eq!(go(&delivery, "x\n", Action::Deliver, Forwarding::Collect).0.exit, 0);
    assert_eq!(home.new_count(), 1);
}

#[test]
fn a_locked_mbox_is_left_alone() {
    let home = Home::new(&[(".qmail", "./mbox\n"), ("mbox", "old\n")]);
    let held = File::open(home.path().join("mbox")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (exit, text) = deliver(&home.delivery("", b"", b"s@x"), "b\n");
    assert_eq!((exit, text.as_str()), (111, "File has been locked for 30 seconds straight. (#4.3.0)\n"));
    assert_eq!(home.read("mbox"), "old\n");
}

#[test]
fn mbox_grows_by_quoted_messages() {
    let home = Home::new(&[(".qmail", "./mbox\n")]);
    for body in ["A: b\n\nFrom x\n>From y\nno end", "second\n"] {
        assert_eq!(deliver(&home.delivery("", b"", b"s@x"), body).0, 0);
    }
    let text = home.read("mbox");
    let parts: Vec<&str> = text.split("\n\nFrom s@x ").collect();
    assert_eq!(parts.len(), 2, "{text}");
    assert!(parts[0].ends_with("Return-Path: <s@x>\nDelivered-To: joe@here.test\nA: b\n\n>From x\n>>From y\nno end"), "{text}");
    assert!(parts[1].ends_with("Delivered-To: joe@here.test\nsecond\n\n"), "{text}");
    assert_eq!(fs::metadata(home.path().join("mbox")).unwrap().permissions().mode() & 0o777, 0o600);
}

// Attack 20: nothing in an extension leads to a file outside the dot-qmail names of the home.
#[test]
fn extensions_never_leave_the_home() {
    let trap = "|touch trapped\n";
    let home = Home::new(&[(".qmail-x/evil", trap), ("evil", trap), (".qmail-a/b/default", trap)]);
    for ext in ["x/evil", "x/../evil", "/../evil", "../evil", "a/b/default", "a/b/c", "x/..", "..", "/", "x/./evil"] {
        let (exit, text) = deliver(&home.delivery("-", ext.as_bytes(), b"s@x"), "b\n");
        assert_eq!((exit, text.as_str()), (100, "Sorry, no mailbox here by that name. (#5.1.1)\n"), "{ext}");
    }
    assert!(!home.path().join("trapped").try_exists().unwrap());
    let long = vec![b'x'; 900];
    assert_eq!(deliver(&home.delivery("-", &long, b"s@x"), "b\n").0, 100, "a name longer than a file name may be");
}

// Attack 10: a shell that imports functions from its environment finds none in mail data.
#[test]
fn programs_get_no_function_and_no_second_line_by_environment() {
    let home = Home::new(&[(".qmail-default", "|env > env.out; printf %s \"$SENDER\" > sender.out\n")]);
    let sender = b"() { :; }; touch pwned\nX=y@x.test";
    let (exit, text) = deliver(&home.delivery("-", b"() { :; }; touch pwned", sender), "b\n");
    assert_eq!((exit, text.as_str()), (0, ""));
    let env = home.read("env.out");
    assert!(!env.contains("=() {"), "{env}");
    assert!(!env.lines().any(|l| l.starts_with("X=")), "{env}");
    assert_eq!(home.read("sender.out"), "_) { :; }; touch pwned_X=y@x.test");
    assert!(!home.path().join("pwned").try_exists().unwrap());
}

#[test]
fn every_instruction_reads_the_message_from_its_start() {
    let home = Home::new(&[(".qmail", "|head -c 3 > a\n./Maildir/\n|cat > b\n./Maildir/\n./mbox\n")]);
    let (ended, out, _) = go(&home.delivery("", b"", b"s@x"), "whole\nmessage\n", Action::Deliver, Forwarding::Collect);
    assert_eq!((ended.exit, out.as_str()), (0, "did 3+0+2\n"));
    assert_eq!((home.read("a").as_str(), home.read("b").as_str()), ("who", "whole\nmessage\n"));
    assert_eq!(home.new_count(), 2, "two lines, two files");
    assert!(home.read("mbox").ends_with("whole\nmessage\n\n"));
}

#[test]
fn a_named_pipe_as_instructions_or_mbox_does_not_hang() {
    let home = Home::new(&[(".qmail-b", "./pipe\n")]);
    for name in [".qmail-a", "pipe"] {
        let made = std::process::Command::new("mkfifo").arg(home.path().join(name)).status().unwrap();
        assert!(made.success());
    }
    assert_eq!(deliver(&home.delivery("-", b"a", b"s@x"), "b\n").0, 100, "not a regular file: passed over");
    let (exit, text) = deliver(&home.delivery("-", b"b", b"s@x"), "b\n");
    assert_eq!((exit, text.as_str()), (111, "Unable to open ./pipe: device not configured. (#4.2.1)\n"));
}

fn injector(home: &Home, exit: i32) -> Forwarding {
    let program = home.path().join("inject.sh");
    fs::write(&program, format!("#!/bin/sh\ncat > got.message\ncat <&1 > got.envelope\nexit {exit}\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Forwarding::Inject(QueueProgram { program, directory: home.path().to_path_buf() })
}

#[test]
fn forwards_of_the_historical_program_go_through_qmail_queue() {
    let home = Home::new(&[(".qmail", "&a@x.test\n&b\n"), (".qmail-owner", "")]);
    let delivery = home.delivery("", b"", b"s@x");
    let (ended, out, err) = go(&delivery, "m\n", Action::Deliver, injector(&home, 0));
    assert_eq!((ended.exit, err.as_str()), (0, ""));
    assert!(out.starts_with("did 0+2+0\nqp "), "{out}");
    assert_eq!(home.read("got.message"), "Delivered-To: joe@here.test\nm\n");
    assert_eq!(home.read("got.envelope"), "Fjoe-owner@here.test\0Ta@x.test\0Tb\0\0");
    for (code, exit, text) in [
        (31, 100, "Unable to forward message: mail server permanently rejected message (#5.3.0).\n"),
        (53, 111, "Unable to forward message: qq write error or disk full (#4.3.0).\n"),
    ] {
        let (ended, _, err) = go(&delivery, "m\n", Action::Deliver, injector(&home, code));
        assert_eq!((ended.exit, err.as_str()), (exit, text));
    }
}
