//! The engine under the name qmail-send: log, signals, qmail-remote, one bounce a message, and a kill -9 between.

use super::house::{House, PATIENCE, postino, wait_for};
use postino_local::inject::{RawEnvelope, SOCKET_PATH, chunk_header, socket_head};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// An engine with its log; ended by its pid when dropped.
struct Engine {
    child: Child,
    log: PathBuf,
}

fn engine(home: &Path) -> Command {
    let mut command = postino();
    command.arg0("qmail-send").arg("./Maildir/").env("POSTINO_HOME", home);
    command
}

impl Engine {
    fn start(home: &Path, log: &str) -> Self {
        let log = home.parent().unwrap().join(log);
        let child = engine(home).stdout(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let engine = Self { child, log };
        wait_for("the first status", || engine.log().contains("status: local 0/10 remote 0/20\n"));
        wait_for("the door", || UnixStream::connect(home.join(SOCKET_PATH)).is_ok());
        engine
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait_log(&self, wanted: &str) {
        let start = std::time::Instant::now();
        while !self.log().contains(wanted) {
            assert!(start.elapsed() < PATIENCE, "no {wanted:?} in\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn inject(home: &Path, recipients: &[&str]) {
    let mut envelope = b"Fann@here.test\0".to_vec();
    for recipient in recipients {
        envelope.extend_from_slice(format!("T{recipient}\0").as_bytes());
    }
    envelope.push(0);
    let envelope = RawEnvelope::decode(&envelope).unwrap().encode();
    let mut socket = UnixStream::connect(home.join(SOCKET_PATH)).unwrap();
    let message = b"Subject: t\n\nbody\n";
    socket.write_all(&[&socket_head(&envelope).unwrap()[..], &chunk_header(message.len()), message, &chunk_header(0)].concat()).unwrap();
    let mut answer = [0u8; 1];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], 0);
}

/// A qmail-remote that answers by the recipient's name; `soft` is the answer for who is asked to wait.
fn remote(home: &Path, soft: &str) {
    let script = format!(
        "#!/bin/sh\ngrep -qx body || {{ printf 'r\\0DNo body.\\n\\0'; exit; }}\ncase \"$3\" in\n*soft*) printf '{soft}';;\n*bad*) printf 'hno %s\\n\\0DGiving up.\\n\\0' \"$3\";;\n\
         *) printf 'r\\0Kdone %s\\n\\0' \"$3\";;\nesac\n"
    );
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    std::fs::set_permissions(&bin, std::fs::Permissions::from_mode(0o755)).unwrap();
    let new = bin.join("new");
    std::fs::write(&new, script).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, bin.join("qmail-remote")).unwrap();
}

const LATER: &str = "slater\\n\\0DGiving up.\\n\\0";
const DONE: &str = "r\\0Kdone soft\\n\\0";

#[test]
fn one_bounce_at_the_end_and_nothing_is_lost_by_kill_9() {
    let house = House::new("");
    let home = house.home.clone();
    remote(&home, LATER);
    let mut first = Engine::start(&home, "first");
    inject(&home, &["bad@far.test", "soft@far.test", "good%x@far.test"]);
    for line in ["failure: no_bad@far.test/Giving_up./\n", "deferral: later/Giving_up./\n", "success: done_good_x@far.test/\n"] {
        first.wait_log(line);
    }
    first.wait_log("to remote good_x@far.test\n");
    assert!(!first.log().contains("bounce"), "the message is not finished:\n{}", first.log());

    let second = engine(&home).output().unwrap();
    assert_eq!((second.status.code(), second.stdout.as_slice()), (Some(111), &b"alert: cannot start: qmail-send is already running\n"[..]));

    // Alone without root the engine has only its spawner, which ends with it; below a supervisor the kernel ends all parts.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    remote(&home, DONE);

    // Its parts may still be ending: the next one waits for them.
    let mut third = Engine::start(&home, "third");
    third.signal(rustix::process::Signal::ALARM);
    third.wait_log("to remote ann@here.test\n");
    wait_for("two ends", || third.log().matches("\nend msg ").count() == 2);
    let log = third.log();
    let order = ["success: done_soft/", "bounce msg 1 qp ", "end msg 1\n", " from <> qp ", "success: done_ann@here.test/\n"]
        .map(|part| log.find(part));
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{log}");
    assert_eq!(log.matches("bounce msg").count(), 1, "{log}");
    third.signal(rustix::process::Signal::TERM);
    assert_eq!(third.child.wait().unwrap().code(), Some(0));
    assert!(third.log().ends_with("\nstatus: exiting\n"), "{}", third.log());
}

#[test]
fn a_home_without_me_and_locals_is_told_in_one_line() {
    let house = House::new("");
    for name in ["me", "locals"] {
        let _ = std::fs::remove_file(house.home.join("control").join(name));
    }
    let output = engine(&house.home).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(111), &b"alert: cannot start: unable to read controls\n"[..]));
}

#[test]
fn locals_alone_will_do() {
    let house = House::new("");
    let control = house.home.join("control");
    std::fs::remove_file(control.join("me")).unwrap();
    std::fs::write(control.join("locals"), "here.test\n").unwrap();
    let engine = Engine::start(&house.home, "log");
    remote(&house.home, LATER);
    inject(&house.home, &["bad@far.test", "nowhere"]);
    engine.wait_log("to remote nowhere@envnoathost\n");
    engine.wait_log("\nbounce msg 1 qp ");
}

#[test]
fn mail_is_held_for_a_link_here_too() {
    let house = House::new("");
    let home = house.home.clone();
    remote(&home, DONE);
    house.control("links", "isp far.test 192.0.2.9:2525 manual\n");
    let mut engine = Engine::start(&home, "held");
    inject(&home, &["ann@far.test"]);
    wait_for("it to be held", || house.cli(&["queue", "list"]).contains("held for link isp"));
    assert!(!engine.log().contains("to remote ann@far.test"), "{}", engine.log());
    house.cli(&["serialmail", "up", "isp"]);
    engine.wait_log("to remote ann@far.test\n");
    wait_for("its end", || engine.log().contains("\nend msg "));
    engine.signal(rustix::process::Signal::TERM);
    assert_eq!(engine.child.wait().unwrap().code(), Some(0));
}
