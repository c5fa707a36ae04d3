//! Cases in which the queue manager delivers: a message in, a log, files and sessions with other hosts out. Called by `qmail_cases`.

use super::engine::{Engine, command, inject, queued};
use super::names::QMAIL;
use super::sink::Sink;
use super::world::{SINK_PORT, World, fed, script};
use super::{masks, pattern};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

/// A message delivered, deferred or bounced.
pub(super) fn run(world: &mut World, case: &Value) {
    let told = told_by_title(world, case);
    if Path::new(QMAIL).join("users/assign").is_file() {
        assert!(world.program("qmail-newu", None).status().unwrap().success());
    }
    let sink = sink(case);
    let want = &case["expected"];
    let wanted = lines(&want["log"]);
    let mut engine = Engine::start(&told.delivery, &[]);
    hup(world, &engine, &case["setup"]["after HUP"]);
    let exit = inject(world, &case["input"]);
    assert_eq!(i64::from(exit), want["qmail-queue exit"].as_i64().unwrap_or(0), "qmail-queue's exit code");
    if case["setup"]["timing"].as_str().is_some_and(|timing| timing.contains("SIGALRM")) {
        engine.until(|log| log.contains(": deferral: ") && log.trim_end().ends_with("remote 0/20"));
        // The lifetime itself has to pass.
        std::thread::sleep(Duration::from_secs(2));
        engine.signal(Signal::ALARM);
    }
    engine.until_lines(wanted.len());
    let log = masks::log(&engine.end(), &world.names);
    assert!(masks::same(&log, &wanted), "the log\n{}\nwanted\n{}", log.join("\n"), wanted.join("\n"));
    let several = wanted.iter().any(|line| line.starts_with("status: local 2/"));
    files(world, &want["delivered files"], if several { Order::Any } else { Order::AsWritten });
    sessions(world, &sink, &want["remote sessions"]);
    drop(told.lock);
}

fn lines(log: &Value) -> Vec<String> {
    let lines = log.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
    lines.filter(|line| line != "status: exiting").collect()
}

/// The other host of the case.
fn sink(case: &Value) -> Sink {
    let sink = Sink::default();
    sink.listen(([127, 0, 0, 1], SINK_PORT).into(), &case["setup"]["remote server replies"], "250 accepted");
    sink
}

/// What a set-up has that only the title of the case tells.
struct Told {
    delivery: String,
    lock: Option<File>,
}

fn told_by_title(world: &mut World, case: &Value) -> Told {
    let title = case["title"].as_str().unwrap();
    let mut told = Told { delivery: "./Maildir/".to_owned(), lock: None };
    let alice = world.names.account("oqalice");
    if title.contains("home is not owned by him") {
        chown(&alice.home, Some(world.uid("oqbob")), None).unwrap();
    }
    if title.contains("several lines incl. a program") {
        told.delivery = "|cat > prog.out\n./Maildir/".to_owned();
    }
    if title.contains("mbox locked elsewhere") {
        let path = alice.home.join("mbox");
        world.give(&path, "", alice.uid);
        let lock = File::open(&path).unwrap();
        lock.lock().unwrap();
        told.lock = Some(lock);
    }
    if case["group"] == "signals" {
        world.give(&alice.home.join(".qmail-default"), "./Maildir/\n", alice.uid);
    }
    told
}

/// Writes what changes, asks the engine to reread, and knows by the files' times that it has.
fn hup(world: &World, engine: &Engine, changes: &Value) {
    let Some(changes) = changes.as_object() else { return };
    let control = |name: &str| PathBuf::from(QMAIL).join("control").join(name);
    for (name, content) in changes {
        fs::write(control(name), world.names.text(content.as_str().unwrap())).unwrap();
    }
    // The second is read when the first is in force.
    for _ in 0..2 {
        let old = SystemTime::now() - Duration::from_secs(60);
        let watched = File::options().write(true).open(control("locals")).unwrap();
        watched.set_times(FileTimes::new().set_accessed(old).set_modified(old)).unwrap();
        engine.signal(Signal::HUP);
        while watched.metadata().unwrap().accessed().unwrap() == old {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Lines of one file written by programs of deliveries at the same time come in any order.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    AsWritten,
    Any,
}

fn in_order((name, content): (String, String), order: Order) -> (String, String) {
    let mut lines: Vec<&str> = content.split_inclusive('\n').collect();
    if order == Order::Any && name.ends_with(".out") {
        lines.sort_unstable();
    }
    let content = lines.concat();
    (name, content)
}

fn files(world: &World, want: &Value, order: Order) {
    if want.is_null() {
        return;
    }
    let files = want.as_object().into_iter().flatten();
    let mut wanted: Vec<(String, String)> =
        files.map(|(name, content)| in_order((masks::plain(name), masks::settled(content.as_str().unwrap_or_default())), order)).collect();
    wanted.sort();
    // A file of the set-up that the case lists all the same.
    let mut seen = world.files();
    for (name, _) in wanted
        .iter()
        .filter(|(name, content)| content.is_empty() && !seen.iter().any(|(seen, _)| seen == name))
        .cloned()
        .collect::<Vec<_>>()
    {
        let (user, rest) = name.trim_start_matches('~').split_once('/').unwrap();
        let home = world.owners().into_iter().find(|account| account.name == user).unwrap().home;
        seen.extend(fs::read_to_string(home.join(rest)).ok().map(|content| (name, content)));
    }
    let seen: Vec<_> = masks::files(&seen, &world.names).into_iter().map(|file| in_order(file, order)).collect();
    assert_eq!(seen, wanted, "delivered files");
}

/// Connections may come in any order.
fn sessions(world: &World, sink: &Sink, want: &Value) {
    let Some(want) = want.as_array() else { return };
    let mut seen = sink.sessions(want.len());
    assert_eq!(seen.len(), want.len(), "sessions: {seen:?}");
    for wanted in want {
        let commands = wanted.get("commands").unwrap_or(wanted);
        let at = seen.iter().position(|session| serde_json::json!(session.commands) == *commands);
        let session = seen.remove(at.unwrap_or_else(|| panic!("no session {wanted} among {seen:?}")));
        if let Some(data) = wanted.get("data") {
            pattern::assert_fits("the data", session.data.as_deref().unwrap_or("(none)"), data.as_str().unwrap_or("(none)"), &world.names);
        }
    }
}

/// qmail-qread and qmail-qstat on one message that waits for both channels.
pub(super) fn queue_tools(world: &mut World, case: &Value) {
    let _sink = sink(case);
    let mut engine = Engine::start("./Maildir/", &[]);
    assert_eq!(inject(world, &case["input"]), 0);
    let waiting = case["input"]["recipients"].as_array().unwrap().len();
    engine.until(|log| log.matches(": deferral: ").count() == waiting && log.trim_end().ends_with("local 0/10 remote 0/20"));
    for (name, want) in case["expected"].as_object().unwrap() {
        let output = world.program(name, None).output().unwrap();
        pattern::assert_fits(name, &super::world::read_text(&output.stdout), want.as_str().unwrap(), &world.names);
    }
    engine.end();
}

/// A second qmail-start, or one without controls.
pub(super) fn starting(_: &mut World, case: &Value) {
    let text = case["input"]["command"].as_str().unwrap();
    let first = text.contains("while running").then(|| Engine::start("./Maildir/", &[]));
    let output = command("./Maildir/").output().unwrap();
    let want = &case["expected"];
    assert_eq!(output.status.code().map(i64::from), want["exit"].as_i64());
    assert_eq!(super::world::read_text(&output.stdout), want["stdout"].as_str().unwrap());
    if let Some(first) = first {
        first.end();
    }
}

/// A bounce that cannot be queued is told, and the message stays.
pub(super) fn bounce_that_fails(world: &mut World, case: &Value) {
    script("/tmp/run/refuse", "cat > /dev/null; exit 53");
    let mut engine = Engine::start("./Maildir/", &[("QMAILQUEUE", "/tmp/run/refuse")]);
    let input = serde_json::json!({"recipients": [world.names.text("nobody-here@oracle.test")]});
    assert_eq!(inject(world, &input), 0);
    let line = case["expected"]["log"].as_str().unwrap();
    engine.until(|log| log.contains(line));
    let waiting = queued();
    let log = engine.end();
    assert!(log.lines().any(|seen| seen == line) && !log.contains("end msg"), "{log}");
    assert_eq!(waiting.len(), 1, "the message stays");
}

/// qmail-queue killed between message and envelope: nobody gets anything.
pub(super) fn half_injected(world: &mut World, _: &Value) {
    let engine = Engine::start("./Maildir/", &[]);
    let mut queue = world.program("qmail-queue", Some("oqbob"));
    let (reader, writer) = std::io::pipe().unwrap();
    fs::write("/var/message", world.names.text(super::world::MESSAGE)).unwrap();
    let mut child = queue.stdin(File::open("/var/message").unwrap()).stdout(Stdio::from(reader)).spawn().unwrap();
    let whole = fs::metadata("/var/message").unwrap().len();
    // Its place in the file says that the message has been read; the half envelope that follows is never finished.
    let position = format!("/proc/{}/fdinfo/0", child.id());
    while !fs::read_to_string(&position).unwrap().contains(&format!("pos:\t{whole}\n")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::io::Write::write_all(&mut &writer, b"Fs@a.test\0Toqalice@").unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(queued().is_empty());
    let log = engine.end();
    assert!(!log.contains("new msg") && world.files().is_empty(), "{log}");
    // After a start too.
    let again = Engine::start("./Maildir/", &[]);
    assert!(queued().is_empty());
    again.end();
}

/// The ages of attempts when each pass begins exactly on time.
pub(super) fn retries(_: &mut World, case: &Value) {
    use postino_types::{Channel, Time};
    let config = postino_control::Config { queue_lifetime_s: case["input"]["queuelifetime"].as_i64().unwrap(), ..Default::default() };
    let ages = |channel| {
        std::iter::successors(Some(0), move |age| {
            Some(postino_policy::retry::next_attempt(&config, channel, Time(0), Time::from_secs(*age)).secs())
        })
    };
    for (key, want) in case["expected"].as_object().unwrap() {
        let channel = if key.contains("local") { Channel::Local } else { Channel::Remote };
        match want.as_array() {
            Some(first) => assert_eq!(
                ages.clone()(channel).take(first.len()).collect::<Vec<_>>(),
                first.iter().map(|age| age.as_i64().unwrap()).collect::<Vec<_>>(),
                "{key}"
            ),
            None => {
                let last = ages.clone()(channel).find(|age| *age > case["input"]["queuelifetime"].as_i64().unwrap()).unwrap();
                assert!(want.as_str().unwrap().contains(&format!("{last} s")), "{key}: {last}");
            }
        }
    }
}

/// qmail-newu on good and bad files.
pub(super) fn newu(world: &mut World, case: &Value) {
    let output = world.program("qmail-newu", None).output().unwrap();
    let want = &case["expected"];
    assert_eq!(output.status.code().map(i64::from), want["exit"].as_i64());
    assert_eq!(super::world::read_text(&output.stderr), want["stderr"].as_str().unwrap_or_default());
    let cdb = PathBuf::from(QMAIL).join("users/cdb");
    match want["cdb dump (NUL as \\0)"].as_str() {
        Some(dump) => assert_eq!(dumped(world, &cdb), dump),
        None => assert!(!cdb.is_file()),
    }
}

/// A cdb as `cdbdump` shows it, NUL as `\0`.
pub(super) fn dumped(world: &World, path: &Path) -> String {
    let output = world.program("cdbdump", None).stdin(File::open(path).unwrap()).output().unwrap();
    super::world::read_text(&output.stdout).replace('\0', "\\0")
}

/// `qmail-local -n`, as a shell reads its line.
pub(super) fn qmail_local(world: &mut World, case: &Value) {
    let alice = world.uid("oqalice");
    let mut shell = std::process::Command::new("/bin/sh");
    shell.env_clear().env("PATH", format!("{QMAIL}/bin:/usr/bin:/bin")).arg("-c").arg(case["input"]["argv"].as_str().unwrap());
    shell.uid(alice).gid(alice);
    let output = fed(&mut shell, &world.names.text(super::world::MESSAGE));
    super::programs::assert_output(world, &output, &case["expected"]);
    assert!(world.files().is_empty(), "something was done");
}

/// A delivery that runs into the limit of 24 hours.
pub(super) fn slow_maildir(_: &mut World, _: &Value) {
    panic!("takes a day");
}
