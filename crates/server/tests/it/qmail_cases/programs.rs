//! Cases of single programs: the injectors and their helpers, qmail-queue, checkpassword, tcprules, the serial programs. Called by `qmail_cases`.

use super::deliveries::dumped;
use super::engine::{Engine, assert_queued};
use super::names::QMAIL;
use super::pattern::{assert_fits, visible};
use super::sink::Sink;
use super::world::{MESSAGE, RUN, SINK_PORT, World, cover, fed, read_text, script, with_env};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime};

/// Exit code and what was printed, as far as the case tells.
pub(super) fn assert_output(world: &World, output: &Output, want: &Value) {
    let stderr = read_text(&output.stderr);
    if let Some(exit) = want["exit"].as_i64() {
        assert_eq!(output.status.code().map(i64::from), Some(exit), "the exit code; standard error {stderr:?}");
    }
    if let Some(text) = want["stdout"].as_str() {
        let seen = if text.contains("\\r\\n") { visible(&output.stdout) } else { read_text(&output.stdout).replace('\0', "\\0") };
        assert_fits("standard output", &seen, text, &world.names);
    }
    if let Some(text) = want["stderr"].as_str() {
        assert_fits("standard error", &stderr, text, &world.names);
    }
}

/// An engine that delivers nothing, when the case looks at what was queued.
pub(super) fn holding(case: &Value) -> Option<Engine> {
    case["expected"].to_string().contains("\"queued").then(Engine::holding)
}

/// The case's own words after the program's name.
fn words(argv: &Value) -> Vec<&str> {
    argv.as_array().into_iter().flatten().map(|word| word.as_str().unwrap()).collect()
}

/// A program of the dot-qmail files or an injector, run by somebody.
pub(super) fn injector(world: &mut World, case: &Value) {
    let engine = holding(case);
    let argv = words(&case["input"]["argv"]);
    let (name, args) = argv.split_first().map_or(("qmail-inject", &[][..]), |(name, args)| (*name, args));
    let name = name.rsplit('/').next().unwrap();
    let mut command = world.program(name, Some("oqbob"));
    command.args(args);
    with_env(&mut command, &case["setup"]["env"]);
    if let Some(path) = case["setup"]["env"]["QMAILMFTFILE"].as_str() {
        fs::write(path, "other@l.test\nLIST@l.test\n").unwrap();
    }
    let output = fed(&mut command, case["input"]["stdin"].as_str().unwrap_or_default());
    assert_output(world, &output, &case["expected"]);
    if let Some(mut engine) = engine {
        assert_queued(world, &mut engine, &case["expected"]["queued"]);
        engine.end();
    }
}

/// qmail-inject and a queue that refuses: `CODE: [exit, text]`.
pub(super) fn refused(world: &mut World, case: &Value) {
    for (code, want) in case["expected"].as_object().unwrap() {
        script("/tmp/run/refuse", &format!("cat > /dev/null; exit {code}"));
        let mut command = world.program("qmail-inject", Some("oqbob"));
        command.env("QMAILQUEUE", "/tmp/run/refuse").env("USER", "joe");
        let output = fed(&mut command, "To: a@x.test\n\nhi\n");
        assert_output(world, &output, &json!({"exit": want[0], "stderr": want[1]}));
    }
}

/// maildirmake on a new and on an old directory.
pub(super) fn maildirmake(world: &mut World, case: &Value) {
    let made = Path::new(RUN).join("mm");
    let run = |want: &Value| {
        let output = world.program("maildirmake", None).arg(&made).output().unwrap();
        assert_output(world, &output, want);
    };
    run(&case["expected"]);
    for (part, mode) in case["expected"]["modes"].as_object().unwrap() {
        let seen = fs::metadata(format!("{}{part}", made.display())).unwrap().permissions().mode() & 0o7777;
        assert_eq!(format!("0o{seen:o}"), mode.as_str().unwrap(), "{part}");
    }
    run(&case["expected"]["second run"]);
}

/// qmail-queue on its two descriptors.
pub(super) fn qmail_queue(world: &mut World, case: &Value) {
    let mut engine = Engine::holding();
    for name in ["fd0", "fd1"] {
        fs::write(Path::new(RUN).join(name), case["input"][name].as_str().unwrap()).unwrap();
    }
    let open = |name: &str| File::open(Path::new(RUN).join(name)).unwrap();
    let status = world.program("qmail-queue", Some("oqbob")).stdin(open("fd0")).stdout(open("fd1")).status().unwrap();
    assert_eq!(status.code().map(i64::from), case["expected"]["exit"].as_i64());
    assert_queued(world, &mut engine, &case["expected"]["queued"]);
    engine.end();
}

/// checkpassword on descriptor 3.
pub(super) fn checkpassword(world: &mut World, case: &Value) {
    use postino_directory::password::{NewHash, hash_password};
    let hash = hash_password(world.names.text("Secret1").as_bytes(), NewHash::Sha512Crypt { rounds: 1000 }).unwrap();
    let bob = world.names.account("oqbob").name;
    cover("/etc/shadow", &format!("root:*:1::::::\n{bob}:{hash}:1::::::\n"));
    fs::write(format!("{RUN}/fd3"), case["input"]["fd3"].as_str().unwrap().replace("\\0", "\0")).unwrap();
    let shell = "exec 3<fd3; exec checkpassword sh -c 'echo USER=$USER HOME=$HOME SHELL=$SHELL pwd=`pwd` uid=`id -un`'";
    let mut command = std::process::Command::new("/bin/sh");
    command.env_clear().env("PATH", format!("{QMAIL}/bin:/usr/bin:/bin")).current_dir(RUN).args(["-c", shell]);
    let output = command.output().unwrap();
    assert_output(world, &output, &case["expected"]);
}

/// tcprules, and what the compiled rules say of a client.
pub(super) fn tcprules(world: &mut World, case: &Value) {
    let [cdb, temporary] = ["cdb", "tmp"].map(|name| Path::new(RUN).join(name));
    let mut compiler = world.program("tcprules", None);
    let rules = case["setup"]["rules"].as_str().or(case["input"]["stdin"].as_str()).unwrap();
    let output = fed(compiler.arg(&cdb).arg(&temporary), rules);
    let want = &case["expected"];
    for (key, dump) in want.as_object().unwrap().iter().filter(|(key, _)| key.contains("NUL as")) {
        match dump.as_str() {
            Some(dump) => assert_eq!(dumped(world, &cdb), dump, "{key}"),
            None => assert!(!cdb.is_file()),
        }
    }
    let env = &case["input"]["env"];
    if env.is_null() {
        return assert_output(world, &output, want);
    }
    let mut command = world.program("tcprulescheck", None);
    with_env(&mut command, env);
    assert_output(world, &command.arg(&cdb).output().unwrap(), want);
}

/// setlock on a lock that somebody holds, and on a free one.
pub(super) fn setlock(world: &mut World, case: &Value) {
    let path = Path::new(RUN).join("lock1");
    let file = File::create(&path).unwrap();
    let run = |option: &str| world.program("setlock", None).args([option, path.to_str().unwrap(), "echo", "ran"]).output().unwrap();
    let want = case["expected"].as_object().unwrap();
    for (name, want) in want {
        if name.contains("busy") {
            file.lock().unwrap()
        } else {
            file.unlock().unwrap()
        }
        if let Some(option) = name.strip_prefix("busy ").or_else(|| (name == "free").then_some("-n")) {
            assert_output(world, &run(option), &json!({"exit": want[0], "stdout": want[1], "stderr": want[2]}));
        }
    }
    if want.contains_key("result") {
        // AutoTURN's second connection from one client.
        file.lock().unwrap();
        assert_output(world, &run("-nx"), &json!({"exit": 0, "stdout": "", "stderr": ""}));
    }
}

/// maildirserial with serialsmtp on a Maildir.
pub(super) fn maildirserial(world: &mut World, case: &Value) {
    let engine = holding(case);
    let (setup, want) = (&case["setup"], &case["expected"]);
    let dir = Path::new(RUN).join("pppdir");
    super::world::maildir(&dir, 0);
    let aged = case["title"].as_str().unwrap().contains("older than -t lifetime");
    for (number, content) in (0u64..).zip(setup["maildir new/"].as_array().unwrap()) {
        let path = dir.join(format!("new/{}.{number}.h", 1000 + number));
        fs::write(&path, content.as_str().unwrap()).unwrap();
        let time = SystemTime::now() - Duration::from_secs(if aged { 1_300_000 } else { 100 } - number);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    let sink = Sink::default();
    sink.listen(([127, 0, 0, 1], SINK_PORT).into(), &setup["remote server replies"], "250 accepted");
    if !Path::new(QMAIL).join("bin/tcpclient").is_file() {
        // Its part: the connection on descriptors 6 and 7.
        script(
            "/tmp/run/tcpclient",
            "exec bash -c 'shift 3; exec 6<>/dev/tcp/127.0.0.1/2626 7>&6; export TCPREMOTEIP=127.0.0.1; exec \"$@\"' \"$@\"",
        );
    }
    let line = case["input"]["argv"].as_str().unwrap().replace("DIR", dir.to_str().unwrap());
    let line = line.replace("HOST PORT", &format!("127.0.0.1 {SINK_PORT}"));
    let argv: Vec<&str> = line.split(' ').collect();
    let output = world.program(argv[0], None).args(&argv[1..]).output().unwrap();
    assert_output(world, &output, want);
    let wanted = want["sessions"].as_array().unwrap();
    let seen: Vec<Value> =
        sink.sessions(wanted.len()).into_iter().map(|session| json!({"commands": session.commands, "data": session.data})).collect();
    assert_eq!(seen, *wanted, "sessions");
    let left: Vec<String> =
        fs::read_dir(dir.join("new")).unwrap().map(|entry| format!("new/{}", entry.unwrap().file_name().display())).collect();
    assert_eq!(json!(left), want["files left"], "files left");
    if let Some(mut engine) = engine {
        assert_queued(world, &mut engine, &want["queued bounces"]);
        engine.end();
    }
}

/// qmail-remote by itself: its report and what other hosts heard.
pub(super) fn qmail_remote(world: &mut World, case: &Value) {
    let (setup, want) = (&case["setup"], &case["expected"]);
    let sink = Sink::default();
    sink.listen(([127, 0, 0, 1], SINK_PORT).into(), &setup["remote server replies"], "250 accepted");
    sink.listen(([127, 0, 0, 10], 25).into(), &Value::Null, "250 ok 127.0.0.10");
    super::dns::serve(&setup["DNS"]);
    let argv = words(&case["input"]["argv"]);
    let mut command = world.program("qmail-remote", Some("qmailr"));
    command.args(argv.iter().filter(|word| **word != "qmail-remote"));
    let output = fed(&mut command, case["input"]["stdin"].as_str().unwrap_or(&world.names.text(MESSAGE)));
    assert_output(world, &output, want);
    let Some(wanted) = want["sessions"].as_array() else { return };
    let seen = sink.sessions(usize::from(!wanted.is_empty()));
    let said = |command: &&String| ["HELO", "MAIL", "RCPT"].iter().any(|verb| command.starts_with(verb));
    let seen: Vec<String> = seen
        .iter()
        .flat_map(|session| std::iter::once(session.address.clone()).chain(session.commands.iter().filter(said).cloned()))
        .collect();
    assert_eq!(json!(seen), json!(wanted), "sessions");
}

/// An address that did not answer twice is left alone for a while.
pub(super) fn timed_out(world: &mut World, case: &Value) {
    let sink = Sink::default();
    sink.listen(([127, 0, 0, 1], SINK_PORT).into(), &Value::Null, "250 accepted");
    let lock = Path::new(QMAIL).join("queue/lock");
    fs::create_dir_all(&lock).unwrap();
    let mut table = vec![0u8; 1024];
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    table[..5].copy_from_slice(&[127, 0, 0, 1, 2]);
    table[8..12].copy_from_slice(&u32::try_from(now - 600).unwrap().to_le_bytes());
    fs::write(lock.join("tcpto"), table).unwrap();
    chown(lock.join("tcpto"), Some(world.uid("qmailr")), None).unwrap();
    let mut command = world.program("qmail-remote", Some("qmailr"));
    let output = fed(command.args(["remote.test", "s@a.test", "r@remote.test"]), MESSAGE);
    let said = read_text(&output.stdout);
    let (_, text) = case["expected"]["result"].as_str().unwrap().split_once("temporary, ").unwrap();
    assert_eq!(said, format!("Z{text}\n\0"));
    assert!(sink.sessions(0).is_empty());
}
