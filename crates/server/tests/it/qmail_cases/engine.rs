//! The queue manager of a world: started, handed messages, asked what waits, ended. Called by the drivers of `qmail_cases`.

use super::super::house::{run, text};
use super::names::QMAIL;
use super::pattern::assert_fits;
use super::world::{MESSAGE, World, read_text};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a case may take to settle (a lock is waited for 30 s); a case that leaves a message waiting settles when its lines are there.
const SETTLED: Duration = Duration::from_secs(40);
const LOG: &str = "/var/log.txt";

pub(super) struct Engine {
    child: Child,
}

impl Engine {
    /// `qmail-start DELIVERY`, ready when it has said its first status.
    pub(super) fn start(delivery: &str, env: &[(&str, &str)]) -> Self {
        let mut engine = command(delivery);
        engine.envs(env.iter().copied()).stdout(File::create(LOG).unwrap());
        let mut engine = Self { child: engine.spawn().unwrap() };
        engine.until(|log| log.contains("status: "));
        engine
    }

    /// Started, but no delivery is: what programs queue can be looked at.
    pub(super) fn holding() -> Self {
        for name in ["concurrencylocal", "concurrencyremote"] {
            fs::write(format!("{QMAIL}/control/{name}"), "0\n").unwrap();
        }
        Self::start("./Maildir/", &[])
    }

    /// Waits; a case that never gets there shows in what it left.
    pub(super) fn until(&mut self, there: impl Fn(&str) -> bool) {
        let start = Instant::now();
        while !there(&log()) && start.elapsed() < SETTLED && self.child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(super) fn until_lines(&mut self, count: usize) {
        self.until(|log| log.lines().count() >= count);
    }

    pub(super) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// TERM; the whole log.
    pub(super) fn end(mut self) -> String {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let start = Instant::now();
        while self.child.try_wait().unwrap().is_none() && start.elapsed() < SETTLED {
            std::thread::sleep(Duration::from_millis(5));
        }
        log()
    }
}

/// What waits: sender and recipients as qmail-queue takes them, and the message.
pub(super) fn queued() -> Vec<(Vec<String>, String)> {
    let list: Value = serde_json::from_slice(&postino(&["queue", "list", "--json"])).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let entries = list.as_array().unwrap().iter().map(|entry| {
        let recipients = entry["recipients"].as_array().unwrap().iter().map(|to| format!("T{}", word(&to["address"])));
        let envelope = std::iter::once(format!("F{}", word(&entry["sender"]))).chain(recipients).collect();
        (envelope, read_text(&postino(&["queue", "show", &entry["id"].to_string(), "--raw"])))
    });
    entries.collect()
}

/// The queue holds what the case wants and nothing else. A message for nobody is gone already: the log has seen it.
pub(super) fn assert_queued(world: &World, engine: &mut Engine, wanted: &Value) {
    let (nobody, wanted): (Vec<&Value>, Vec<&Value>) =
        wanted.as_array().unwrap().iter().partition(|wanted| wanted["envelope"].as_array().unwrap().len() == 1);
    for wanted in &nobody {
        let sender = wanted["envelope"][0].as_str().unwrap().trim_start_matches('F');
        engine.until(|log| log.contains("\nend msg "));
        assert!(log().contains(&format!(" from <{sender}> ")), "{}", log());
    }
    let seen = queued();
    assert_eq!(seen.len(), wanted.len(), "messages queued: {seen:?}");
    for ((envelope, message), wanted) in seen.iter().zip(wanted) {
        // The queue shows a recipient as routed: with a host.
        let host = |line: &str| if line.starts_with('T') && !line.contains('@') { world.names.text("@oracle.test") } else { String::new() };
        let lines = wanted["envelope"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
        let lines: Vec<String> = lines.map(|line| format!("{line}{}", host(line))).collect();
        assert_fits("the envelope", &envelope.join("\n"), &lines.join("\n"), &world.names);
        assert_fits("the message", message, wanted["message"].as_str().unwrap(), &world.names);
    }
}

fn postino(words: &[&str]) -> Vec<u8> {
    run(Command::new(format!("{QMAIL}/bin/postino")).args(words).env("POSTINO_HOME", QMAIL)).stdout
}

pub(super) fn command(delivery: &str) -> Command {
    let mut engine = Command::new(format!("{QMAIL}/bin/qmail-start"));
    engine.arg(delivery).env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    engine
}

fn log() -> String {
    text(&fs::read(LOG).unwrap())
}

/// Hands qmail-queue the message of a case; its exit code.
pub(super) fn inject(world: &World, input: &Value) -> i32 {
    let given = |value: &Value, usual: &str| value.as_str().map_or_else(|| world.names.text(usual), ToOwned::to_owned);
    let recipients: String = input["recipients"].as_array().unwrap().iter().map(|to| format!("T{}\0", to.as_str().unwrap())).collect();
    fs::write("/var/envelope", format!("F{}\0{recipients}\0", given(&input["sender"], "oqbob@oracle.test"))).unwrap();
    fs::write("/var/message", given(&input["message"], MESSAGE)).unwrap();
    let by = given(&input["injected by"], "oqbob");
    let user = (by != "root").then_some(by.as_str());
    let mut queue = world.program("qmail-queue", user);
    queue.stdin(File::open("/var/message").unwrap()).stdout(File::open("/var/envelope").unwrap());
    queue.status().unwrap().code().unwrap_or(-1)
}
