//! Cases of vchkpw and clearopensmtp: a login on descriptor 3, what the program behind it sees, and the relays that it opens. Called by `qmail_cases`.
//! The domain and its account are made first, by vpopmail's own programs.

use super::accounts::{VPOPMAIL, folder, home, type_in};
use super::deliveries::dumped;
use super::names::QMAIL;
use super::pattern::assert_fits;
use super::programs::assert_output;
use super::world::{MESSAGE, RUN, World};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whoever runs behind vchkpw tells how it was run.
const TELL: &str = "echo USER=$USER HOME=$HOME SHELL=$SHELL VPOPUSER=$VPOPUSER pwd=`pwd` uid=`id -u` gid=`id -g`";

/// One login.
pub(super) fn login(world: &mut World, case: &Value) {
    granted(world, &case["setup"]);
    for line in case["setup"]["commands"].as_array().into_iter().flatten() {
        done(line.as_str().unwrap());
    }
    let output = ask(case["input"]["fd3"].as_str().unwrap(), &case["input"]["env"]);
    assert_output(world, &output, &case["expected"]);
    rows(world, &case["expected"]);
    let seen = fs::read_to_string(folder(world).join(world.names.text("pippo/lastauth"))).unwrap();
    assert_eq!(json!(seen), case["expected"]["lastauth"], "lastauth");
}

/// An account without a password takes the first that is told.
pub(super) fn learns(world: &mut World, _: &Value) {
    granted(world, &Value::Null);
    fs::write(format!("{QMAIL}/control/server.toml"), "[vpopmail]\nroaming-users = true\nlearn-passwords = true\n").unwrap();
    let file = folder(world).join("vpasswd");
    let text = fs::read_to_string(&file).unwrap();
    let user = world.names.text("pippo:");
    let without = text.lines().map(|line| match line.strip_prefix(&user) {
        Some(rest) => {
            let fields: Vec<&str> = rest.split(':').collect();
            format!("{user}:{}:\n", fields[1..6].join(":"))
        }
        None => format!("{line}\n"),
    });
    fs::write(&file, without.collect::<String>()).unwrap();
    let _ = fs::remove_file(file.with_extension("cdb"));
    let login = world.names.text("pippo@example.test");
    let env = json!({"TCPLOCALPORT": "110", "TCPREMOTEIP": "192.0.2.33"});
    for (password, code) in [("newpw", 0), ("newpw", 0), ("other", 3)] {
        let output = ask(&format!("{login}\\0{password}\\0<1.2@x>\\0"), &env);
        assert_eq!(output.status.code(), Some(code), "{password}");
    }
}

/// Old rows go, and the rules are compiled.
pub(super) fn clears(world: &mut World, case: &Value) {
    home(world);
    site();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let kept = world.names.text("192.0.2.33");
    let row = |ip: &str, at: u64| format!("{ip}:allow,RELAYCLIENT=\"\",RBLSMTPD=\"\"\t{at}\n");
    own("etc/open-smtp", &(row(&kept, now - 60) + &row(&world.names.text("192.0.2.34"), now - 200 * 60)));
    let output = type_in("clearopensmtp");
    assert_output(world, &output, &case["expected"]["result"]);
    rows(world, &json!({"open-smtp": case["expected"]["open-smtp"], "tcp.smtp.cdb": case["expected"]["cdb"]}));
}

/// SMTP, POP3 and SMTP again by tcpserver, on loopback.
pub(super) fn sessions(world: &mut World, case: &Value) {
    granted(world, &case["setup"]);
    lay_mail(world);
    let host = world.names.text("oracle.test");
    let rules = format!("{VPOPMAIL}/etc/tcp.smtp.cdb");
    let vchkpw = format!("{VPOPMAIL}/bin/vchkpw");
    let smtp = server(world, &["-x", &rules, "127.0.0.1", "25", "qmail-smtpd"]);
    let pop3 = server(world, &["127.0.0.1", "110", "qmail-popup", &host, &vchkpw, "qmail-pop3d", "Maildir"]);
    for (name, port) in [("SMTP before", 25), ("POP3", 110), ("SMTP after", 25), ("POP3 wrong password", 110)] {
        converse(world, name, port, &case["expected"][name]);
    }
    for mut child in [smtp, pop3] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// The message as a delivery leaves it (deliveries have cases of their own), older than this second, which qmail-pop3d does not show.
fn lay_mail(world: &World) {
    let (from, to) = (world.names.text("oqbob@oracle.test"), world.names.text("pippo@example.test"));
    let received = format!("Received: (qmail 12345 invoked by uid {}); 1 Jan 2026 00:00:00 -0000", world.uid("oqbob"));
    let mail = format!("Return-Path: <{from}>\nDelivered-To: {to}\n{received}\n{}", world.names.text(MESSAGE));
    let path = folder(world).join(world.names.text("pippo/Maildir/new")).join(format!("1767225600.123.host,S={}", mail.len()));
    fs::write(&path, mail).unwrap();
    chown(&path, Some(89), Some(89)).unwrap();
    File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
}

/// A server of ours; it says by a line when it listens.
fn server(world: &World, args: &[&str]) -> Child {
    let mut command = world.program("tcpserver", None);
    let mut child = command.args(["-v", "-H", "-R", "-l0"]).args(args).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    log.read_line(&mut String::new()).unwrap();
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    child
}

/// `C:` is typed, `S:` is waited for.
fn converse(world: &World, name: &str, port: u16, script: &Value) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for line in script.as_array().unwrap() {
        let line = line.as_str().unwrap();
        if let Some(typed) = line.strip_prefix("C: ") {
            write!(&stream, "{typed}\r\n").unwrap();
            continue;
        }
        let wanted = line.strip_prefix("S: ").unwrap();
        let mut seen = String::new();
        for _ in wanted.lines() {
            reader.read_line(&mut seen).unwrap();
        }
        // The name of a file has its host and its place in it.
        let (seen, wanted) =
            if wanted.contains("<UNIQ>") { (unnamed(&seen), wanted.replace("<UNIQ>,S=<N>", "NAME")) } else { (seen, wanted.to_owned()) };
        assert_fits(&format!("{name}: after {line}"), &seen, &wanted, &world.names);
    }
}

fn unnamed(answer: &str) -> String {
    answer.lines().map(|line| if line.contains(",S=") { "1 NAME\r\n".to_owned() } else { format!("{line}\r\n") }).collect()
}

/// Runs vchkpw with this on descriptor 3.
fn ask(said: &str, env: &Value) -> std::process::Output {
    fs::write(format!("{RUN}/fd3"), said.replace("\\0", "\0")).unwrap();
    let mut command = Command::new("/bin/sh");
    command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
    super::world::with_env(&mut command, env);
    command.args(["-c", &format!("exec 3<{RUN}/fd3; exec {VPOPMAIL}/bin/vchkpw sh -c '{TELL}'")]);
    command.stdin(Stdio::null()).output().unwrap()
}

/// The site as it was configured, a domain and its account.
fn granted(world: &World, setup: &Value) {
    home(world);
    site();
    for line in ["vadddomain example.test qwerty12", "vadduser pippo@example.test zxc32"] {
        done(&world.names.text(line));
    }
    if let Some(rules) = setup["tcp.smtp"].as_str() {
        own("etc/tcp.smtp", rules);
    }
    done("clearopensmtp");
    fs::remove_file(Path::new(VPOPMAIL).join("etc/open-smtp")).unwrap_or_default();
}

fn site() {
    fs::write(format!("{QMAIL}/control/server.toml"), "[vpopmail]\nroaming-users = true\n").unwrap();
    own("etc/tcp.smtp", ":allow\n");
}

fn own(name: &str, content: &str) {
    let path = PathBuf::from(VPOPMAIL).join(name);
    fs::write(&path, content).unwrap();
    chown(&path, Some(89), Some(89)).unwrap();
}

fn done(line: &str) {
    let output = type_in(line);
    assert!(output.status.success(), "{line}: {}", super::world::read_text(&output.stderr));
}

/// What stands in the files of opened relays.
fn rows(world: &World, want: &Value) {
    let file = Path::new(VPOPMAIL).join("etc/open-smtp");
    match want["open-smtp"].as_str() {
        Some(wanted) => assert_fits("open-smtp", &fs::read_to_string(file).unwrap(), wanted, &world.names),
        None => assert!(!file.try_exists().unwrap(), "something was opened"),
    }
    let cdb = Path::new(VPOPMAIL).join("etc/tcp.smtp.cdb");
    assert_eq!(json!(dumped(world, &cdb)), want["tcp.smtp.cdb"], "tcp.smtp.cdb");
    if let Some(wanted) = want["tcp.smtp"].as_str() {
        assert_eq!(fs::read_to_string(Path::new(VPOPMAIL).join("etc/tcp.smtp")).unwrap(), wanted);
    }
}
