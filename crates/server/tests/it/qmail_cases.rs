//! The recorded cases of the originals, each run by its group against the historical names in a world of its own (mounts, processes, network), and
//! once more with names, addresses, dates and texts varied by a seed (`POSTINO_CASE_SEED`). Called by the test harness; asks nothing of a case but
//! its group and its shape. Needs root and util-linux; without them it says so.

mod accounts;
mod deliveries;
mod dns;
mod engine;
mod masks;
mod names;
mod pattern;
mod programs;
mod sessions;
mod sink;
mod vchkpw;
mod virtual_mail;
mod world;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use world::World;

/// Groups of programs that are not the server's yet.
const LATER: [&str; 1] = ["courier"];
/// Cases known not to pass, with the reason: `id TAB reason`. The list may only shrink.
const EXPECTED: &str = include_str!("qmail_cases/expected_failures.tsv");
const SEED: &str = "POSTINO_CASE_SEED";
const CASE: &str = "POSTINO_CASE";
const ID: &str = "POSTINO_CASE_ID";
/// Worlds at the same time.
const WORLDS: usize = 6;

/// Runs one case in its world; panics when it sees something else than the case wants.
type Driver = fn(&mut World, &Value);

/// Who runs a case, by its group and its shape.
fn driver(case: &Value) -> Option<Driver> {
    let (input, want) = (&case["input"], &case["expected"]);
    let delivers = input["recipients"].is_array() && want["log"].is_array();
    Some(match case["group"].as_str()? {
        "qmail-queue" if input["fd1"].is_string() => programs::qmail_queue,
        "qmail-local" if input["argv"].is_string() => deliveries::qmail_local,
        "users/assign" if input["command"] == "qmail-newu" => deliveries::newu,
        "queue tools" if input["recipients"].is_array() => deliveries::queue_tools,
        "queue" if input["command"].is_string() => deliveries::starting,
        "queue" if want["result"].as_str().is_some_and(|result| result.contains("never delivered")) => deliveries::half_injected,
        "bounce" if want["log"].is_string() => deliveries::bounce_that_fails,
        "retry" => deliveries::retries,
        "dot-qmail" if want["tmp file"].is_string() => deliveries::slow_maildir,
        "remote" if input["argv"].is_array() => programs::qmail_remote,
        "remote" if case["setup"]["queue/lock/tcpto"].is_string() => programs::timed_out,
        "inject" if case["setup"]["QMAILQUEUE"].is_string() => programs::refused,
        "helpers" if want["modes"].is_object() => programs::maildirmake,
        "inject" | "helpers" if input["stdin"].is_string() => programs::injector,
        "smtpd" if want["replies"].is_array() => sessions::smtpd,
        "pop3" if case["setup"]["subprogram"].is_array() || input["argv"][0] == "qmail-popup" => sessions::popup,
        "pop3" | "HOWTO recipes" if !delivers => sessions::pop3d,
        "checkpassword" if input["fd3"].is_string() => programs::checkpassword,
        "tcprules" => programs::tcprules,
        "tcpserver" => sessions::tcpserver,
        "rblsmtpd" => sessions::rblsmtpd,
        "vpopmail" if input["commands"].is_array() => accounts::commands,
        "vchkpw" if input["fd3"].is_string() => vchkpw::login,
        "vchkpw" if input["command"] == "clearopensmtp" => vchkpw::clears,
        "vchkpw" if input["order"].is_array() => vchkpw::sessions,
        "vchkpw" if case["setup"]["vpasswd"].is_string() => vchkpw::learns,
        "serialmail" if input["argv"].is_string() => programs::maildirserial,
        "serialmail" => programs::setlock,
        "vpopmail delivery" if delivers => virtual_mail::run,
        "vpopmail delivery" => virtual_mail::database,
        _ if delivers => deliveries::run,
        _ => return None,
    })
}

/// Where a case stands: a file of its own, or an item of a list.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    id: String,
}

impl Place {
    fn read(&self) -> Value {
        let content: Value = serde_json::from_slice(&std::fs::read(&self.path).unwrap()).unwrap();
        match content.as_array() {
            Some(items) => items.iter().find(|item| item["id"] == self.id.as_str()).cloned().expect("a case of that name"),
            None => content,
        }
    }
}

/// The recorded cases, and ours for rules that no recorded case tries.
fn all() -> Vec<Place> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places = Vec::new();
    for folder in [here.join("../compat/tests/cases"), here.join("tests/it/qmail_cases/rules")] {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let content: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let cases = content.as_array().cloned().unwrap_or_else(|| vec![content]);
            let wanted = cases.iter().filter(|case| !LATER.contains(&case["group"].as_str().unwrap()));
            places.extend(wanted.map(|case| Place { path: path.clone(), id: case["id"].as_str().unwrap().to_owned() }));
        }
    }
    places
}

fn outcome(place: &Place, seed: u64) -> Result<(), String> {
    let output = Command::new("unshare")
        .args(["-m", "-p", "-n", "-f", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["qmail_cases::one_case_in_its_world", "--exact", "--ignored", "--nocapture"])
        .env(CASE, &place.path)
        .env(ID, &place.id)
        .env(SEED, seed.to_string())
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() { Ok(()) } else { Err(super::house::text(&output.stderr)) }
}

/// Runs all; the ids that failed, with what was seen.
fn failures(seed: u64) -> BTreeMap<String, String> {
    let waiting = Mutex::new(all());
    let failed = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                loop {
                    let Some(place) = waiting.lock().unwrap().pop() else { break };
                    if let Err(seen) = outcome(&place, seed) {
                        failed.lock().unwrap().insert(place.id, seen);
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap()
}

fn possible() -> bool {
    let able = super::house::is_root()
        && Command::new("unshare")
            .args(["-m", "-p", "-n", "-f", "--mount-proc", "mount", "-t", "tmpfs", "none", "/home"])
            .status()
            .is_ok_and(|s| s.success());
    if !able {
        println!("skipped: the worlds of the cases need root and unshare");
    }
    able
}

fn check(seed: u64) {
    if !possible() {
        return;
    }
    println!("seed {seed}");
    let expected: BTreeSet<&str> =
        EXPECTED.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('\t').next()).collect();
    let failed = failures(seed);
    let new: Vec<String> =
        failed.iter().filter(|(id, _)| !expected.contains(id.as_str())).map(|(id, seen)| format!("== {id}\n{seen}")).collect();
    assert!(new.is_empty(), "{} cases failed with seed {seed}:\n{}", new.len(), new.join("\n"));
    let passing: Vec<&&str> = expected.iter().filter(|id| !failed.contains_key(**id)).collect();
    assert!(passing.is_empty(), "these pass and must leave expected_failures.tsv: {passing:?}");
}

/// Every case of the programs that exist has somebody who runs it, here and with a seed.
#[test]
fn every_case_is_run() {
    let idle: Vec<String> = all().into_iter().filter(|place| driver(&place.read()).is_none()).map(|place| place.id).collect();
    assert!(idle.is_empty(), "nobody runs {idle:?}");
    assert!(all().len() > 380, "where are the cases?");
}

#[test]
fn recorded_cases() {
    check(0);
}

#[test]
fn the_same_cases_with_other_names() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    check(seed.unwrap_or_else(|| u64::from(std::process::id())).max(1));
}

/// One case; only in the namespaces that [`outcome`] makes.
#[test]
#[ignore = "started by the tests above"]
fn one_case_in_its_world() {
    let (Some(path), Ok(seed)) = (std::env::var_os(CASE), std::env::var(SEED)) else { return };
    let id = std::env::var(ID).unwrap_or_default();
    let case = Place { path: path.into(), id }.read();
    let names = names::Names::new(seed.parse().unwrap(), case["group"].as_str().unwrap());
    let run = driver(&case).expect("somebody who runs it");
    let case = names.varied(&case);
    run(&mut World::new(names, &case["setup"]), &case);
}
