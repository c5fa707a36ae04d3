//! The recorded cases of the originals' queue manager, run against `qmail-start` with the historical names in place: each in a world of its own
//! (mounts, processes, network), and once more with names, domain and text varied by a seed (`POSTINO_CASE_SEED`). Called by the test harness;
//! asks nothing of a case but its group and its fields. Needs root and util-linux; without them it says so.

mod masks;
mod world;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// Groups whose cases go through the queue manager.
const GROUPS: [&str; 10] =
    ["dot-qmail", "users/assign", "bounce", "queue", "HOWTO recipes", "remote", "percenthack", "rewrite", "virtualdomains", "signals"];
/// Cases known not to pass, with the reason: `id TAB reason`. The list may only shrink.
const EXPECTED: &str = include_str!("qmail_cases/expected_failures.tsv");
const SEED: &str = "POSTINO_CASE_SEED";
const CASE: &str = "POSTINO_CASE";
/// Worlds at the same time.
const WORLDS: usize = 4;

/// A message in, a log and files out, nothing on other hosts: what a world holds.
fn runs_here(case: &Value) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let keys = || case["setup"].as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    GROUPS.contains(&text(&case["group"]).as_str())
        && case["input"]["recipients"].is_array()
        && case["expected"]["log"].is_array()
        && case["expected"].get("remote sessions").is_none()
        && keys().all(|key| key.starts_with('~') || key.starts_with("control/") || key == "users/assign")
        && !case["expected"]["log"].to_string().contains(" to remote ")
}

fn cases() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../compat/tests/cases");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json") && runs_here(&read(path, 0)));
    paths.sort();
    assert!(paths.len() > 60, "where are the cases?");
    paths
}

/// The case; a seed other than 0 gives its users, its domain and its texts other names.
fn read(path: &std::path::Path, seed: u64) -> Value {
    serde_json::from_str(&world::Names::new(seed).varied(&std::fs::read_to_string(path).unwrap())).unwrap()
}

fn outcome(path: &std::path::Path, seed: u64) -> Result<(), String> {
    let output = Command::new("unshare")
        .args(["-m", "-p", "-n", "-f", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["qmail_cases::one_case_in_its_world", "--exact", "--ignored", "--nocapture"])
        .env(CASE, path)
        .env(SEED, seed.to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.success() { Ok(()) } else { Err(super::house::text(&output.stderr)) }
}

/// Runs all; the ids that failed, with what was seen.
fn failures(seed: u64) -> BTreeMap<String, String> {
    let waiting = Mutex::new(cases());
    let failed = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                loop {
                    let Some(path) = waiting.lock().unwrap().pop() else { break };
                    if let Err(seen) = outcome(&path, seed) {
                        failed.lock().unwrap().insert(path.file_stem().unwrap().to_string_lossy().into_owned(), seen);
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

#[test]
fn recorded_cases_of_the_queue_manager() {
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
    let seed = seed.parse().unwrap();
    let names = world::Names::new(seed);
    let case = read(&PathBuf::from(path), seed);
    let want = &case["expected"];
    let lines = want["log"].as_array().unwrap();
    let seen = world::World::new(&names, &case["setup"]).run(&names, &case["input"], lines.len());
    assert_eq!(i64::from(seen.queue_exit), want["qmail-queue exit"].as_i64().unwrap_or(0), "qmail-queue's exit code");
    let wanted: Vec<String> = lines.iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    let log = masks::log(&seen.log, &names);
    assert!(masks::same(&log, &wanted), "the log\n{}\nwanted\n{}", log.join("\n"), wanted.join("\n"));
    let files = want["delivered files"].as_object().into_iter().flatten();
    let mut wanted: Vec<(String, String)> =
        files.map(|(name, content)| (masks::plain(name), masks::settled(content.as_str().unwrap_or_default()))).collect();
    wanted.sort();
    assert_eq!(masks::files(&seen.files, &names), wanted, "delivered files");
}
