//! Cases of the programs that speak with a client: qmail-smtpd, qmail-popup, qmail-pop3d, rblsmtpd, tcpserver. Called by `qmail_cases`.

use super::deliveries::dumped;
use super::engine::assert_queued;
use super::names::QMAIL;
use super::pattern::{assert_fits, fits};
use super::programs::{assert_output, holding};
use super::world::{RUN, Then, World, fed, read_text, script, talk, with_env};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

/// The client's part; some cases have it in short.
fn said(case: &Value) -> String {
    let text = case["input"]["stdin"].as_str().unwrap_or_default();
    match text.strip_prefix("RCPT ") {
        Some(recipients) if !text.contains("\r\n") => {
            let lines: String = recipients.split(", ").map(|to| format!("RCPT TO:<{to}>\r\n")).collect();
            format!("MAIL FROM:<s@a.test>\r\n{lines}QUIT\r\n")
        }
        _ if text.contains(" / ") && !text.contains("\r\n") => text.replace(" / ", "\r\n") + "\r\n",
        _ if text == "(silence)" => String::new(),
        _ => text.to_owned(),
    }
}

fn then(case: &Value) -> Then {
    let silent = case["input"]["stdin"] == "(silence)" || case["input"]["then"].as_str().is_some_and(|then| then.contains("silence"));
    if silent { Then::Silence } else { Then::End }
}

/// One SMTP session.
pub(super) fn smtpd(world: &mut World, case: &Value) {
    let engine = holding(case);
    let (setup, want) = (&case["setup"], &case["expected"]);
    if let Some(program) = setup["command"].as_str() {
        assert!(world.program(program, None).status().unwrap().success());
        let cdb = dumped(world, &Path::new(QMAIL).join("control/morercpthosts.cdb"));
        assert_eq!(cdb, want["cdb"].as_str().unwrap());
    }
    let mut command = world.program("qmail-smtpd", Some("qmaild"));
    // Cases without an environment of their own.
    command.env("TCPREMOTEIP", world.names.text("192.0.2.7"));
    if setup["env"].is_object() {
        command.env_remove("TCPREMOTEIP");
        with_env(&mut command, &setup["env"]);
    }
    if let Some(path) = setup["env"]["QMAILQUEUE"].as_str().filter(|path| path.starts_with(RUN)) {
        wrapper(path, want);
    }
    let output = talk(&mut command, &said(case), then(case));
    let seen = read_text(&output.stdout);
    assert_eq!(seen.matches('\n').count(), seen.matches("\r\n").count(), "line ends of {seen:?}");
    let replies: Vec<&str> = want["replies"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_fits("replies", &seen, &replies.join("\r\n"), &world.names);
    assert_output(world, &output, want);
    if let Some(mut engine) = engine {
        assert_queued(world, &mut engine, &want["queued"]);
        engine.end();
    }
}

/// A QMAILQUEUE program whose name ends in its exit code; for 82 with the words that the client is to hear.
fn wrapper(path: &str, want: &Value) {
    let digits = path.trim_start_matches(|c: char| !c.is_ascii_digit());
    let words = want["replies"].as_array().unwrap().iter().rev().filter_map(Value::as_str).find(|line| line.starts_with(['4', '5']));
    let words = words.and_then(|line| line.split_once(' ')).map_or("", |(_, words)| words);
    let tell = if digits == "82" { format!("printf '%s' 'D{words}' >&6;") } else { String::new() };
    script(path, &format!("cat > /dev/null; {tell} exit {digits}"));
}

/// qmail-popup with the case's subprogram.
pub(super) fn popup(world: &mut World, case: &Value) {
    let mut command = world.program("qmail-popup", None);
    let list = |words: &Value| words.as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let argv = list(&case["input"]["argv"]);
    match argv.split_first() {
        Some((_, args)) => command.args(args),
        None => command.arg("pop.test").args(list(&case["setup"]["subprogram"])),
    };
    let output = talk(&mut command, &said(case), then(case));
    assert_output(world, &output, &case["expected"]);
}

/// qmail-pop3d on a Maildir of the case's making.
pub(super) fn pop3d(world: &mut World, case: &Value) {
    let uid = world.uid("oqbob");
    let dir = Path::new("/home/pop");
    super::world::maildir(dir, uid);
    let usual = serde_json::json!([["new/1.a", world.names.text("Subject: s\n\nprova123\n")]]);
    let mails = case["setup"].get("maildir (in mtime order, 10 s apart)").unwrap_or(&usual).as_array().unwrap();
    for (number, mail) in (0u64..).zip(mails) {
        let path = dir.join(mail[0].as_str().unwrap());
        fs::write(&path, mail[1].as_str().unwrap()).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
        let time = SystemTime::now() - Duration::from_secs(1000 - number * 10);
        File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
    }
    let root = case["input"]["uid"] == 0;
    let mut command = world.program("qmail-pop3d", (!root).then_some("oqbob"));
    let named = case["input"]["argv"].as_array().and_then(|argv| argv[1].as_str());
    command.current_dir(if root { "/" } else { "/home/pop" }).arg(named.unwrap_or("/home/pop"));
    let output = talk(&mut command, &said(case), then(case));
    assert_output(world, &output, &case["expected"]);
    let Some(want) = case["expected"]["files afterwards"].as_array() else { return };
    let folder =
        |part: &&str| fs::read_dir(dir.join(part)).unwrap().map(|e| e.unwrap().file_name().display().to_string()).collect::<Vec<_>>();
    let mut files: Vec<String> =
        ["cur", "new", "tmp"].iter().flat_map(|part| folder(part).into_iter().map(move |name| format!("{part}/{name}"))).collect();
    files.sort();
    assert_eq!(serde_json::json!(files), serde_json::json!(want), "files afterwards");
}

/// rblsmtpd before a program, with the case's lists in the DNS.
pub(super) fn rblsmtpd(world: &mut World, case: &Value) {
    super::dns::serve(&case["setup"]["DNS zone"]);
    let mut command = world.program("rblsmtpd", None);
    with_env(&mut command, &case["setup"]["env"]);
    match case["input"]["argv"].as_array() {
        Some(argv) => command.args(argv[1..].iter().map(|word| word.as_str().unwrap())),
        None => {
            let (option, _) = case["title"].as_str().unwrap().split_once(':').unwrap();
            command.args(option.split(' ')).args(["echo", "REAL-SMTPD"])
        }
    };
    let output = talk(&mut command, &said(case), then(case));
    assert_output(world, &output, &case["expected"]);
}

/// A tcpserver on port 2727 with its log.
struct Server {
    child: Child,
    log: BufReader<std::process::ChildStderr>,
    seen: Vec<String>,
}

impl Server {
    fn lines(&mut self, count: usize) {
        while self.seen.len() < count {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ends: {:?}", self.seen);
            self.seen.push(line);
        }
    }

    fn end(mut self) -> Option<i32> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

fn received(seconds: u64) -> String {
    let address = SocketAddr::from(([127, 0, 0, 1], 2727));
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(seconds))).unwrap();
    let mut text = String::new();
    // A connection may be cut as well as closed.
    let _ = stream.read_to_string(&mut text);
    text
}

/// tcpserver with the options that the case has or its title tells.
pub(super) fn tcpserver(world: &mut World, case: &Value) {
    let (setup, want) = (&case["setup"], &case["expected"]);
    script("/tmp/run/program", "env | grep -E '^(PROTO=|TCP)' | sort > /tmp/run/env");
    let mut command = world.program("tcpserver", None);
    with_env(&mut command, &setup["inherited env"]);
    let title = case["title"].as_str().unwrap();
    if let Some(argv) = setup["argv"].as_array() {
        command.args(argv[1..].iter().map(|word| word.as_str().unwrap().replace("program", "/tmp/run/program")));
    } else if want["status lines"].is_array() {
        command.args(["-v", "-H", "-R", "-l0", "-c1", "127.0.0.1", "2727", "sh", "-c", "echo hi; sleep 1"]);
    } else {
        let rules = if title.contains("missing rules") { format!("{RUN}/tr/none") } else { format!("{RUN}/rules.cdb") };
        if let Some(text) = setup["rules"].as_str() {
            let mut compiler = world.program("tcprules", None);
            assert!(fed(compiler.args([&rules, &format!("{RUN}/rules.tmp")]), text).status.success());
        }
        command.args(["-v", "-H", "-R", "-l0", "-x", &rules, "127.0.0.1", "2727", "/tmp/run/program"]);
    }
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let mut server = Server { child, log, seen: Vec::new() };
    server.lines(1);
    match want["status lines"].as_array() {
        Some(lines) => two_clients(&mut server, lines),
        None => one_client(world, &mut server, want),
    }
    assert_eq!(server.end().map(i64::from), want["exit after TERM"].as_i64().or(Some(0)));
}

fn one_client(world: &World, server: &mut Server, want: &Value) {
    let text = received(20);
    let wanted = want["stderr"].as_str().unwrap();
    server.lines(wanted.lines().count());
    assert_fits("standard error", &server.seen.concat(), wanted, &world.names);
    match want["env seen by program"].as_str() {
        Some(env) => assert_fits("the environment", &fs::read_to_string("/tmp/run/env").unwrap(), env, &world.names),
        None => assert_eq!(text, want["received"].as_str().unwrap()),
    }
}

/// The second waits for the first.
fn two_clients(server: &mut Server, wanted: &[Value]) {
    let clients = [0, 1].map(|_| std::thread::spawn(|| received(20)));
    assert_eq!(clients.map(|client| client.join().unwrap()), ["hi\n", "hi\n"]);
    let names = super::names::Names::new(0, "");
    let status = |line: &&String| fits(line, "tcpserver: status: <N>/<N>\n", &names);
    while server.seen.iter().filter(status).count() < wanted.len() {
        let next = server.seen.len() + 1;
        server.lines(next);
    }
    let seen: Vec<String> = server.seen.iter().filter(status).map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(serde_json::json!(seen), serde_json::json!(wanted));
}
