//! Programs that are started for each connection or message work inside `ulimit -v 32768`, with one thread, however long the message is.

use super::sink::Sink;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const MESSAGE_BYTES: usize = 20 << 20;
const LIMIT_KIB: u32 = 32_768;

/// A program under the limit; what it starts inherits that.
fn limited(home: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {LIMIT_KIB} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_postino-compat")]).args(words);
    command.env_clear().env("POSTINO_HOME", home).env("PATH", "/usr/bin:/bin").env("TCPREMOTEIP", "127.0.0.1").current_dir(home);
    command
}

/// A home without a server: messages land in the drop directory.
fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for folder in ["control", "queue/drop", "bin", "Maildir/new", "Maildir/cur", "Maildir/tmp"] {
        fs::create_dir_all(home.path().join(folder)).unwrap();
    }
    fs::write(home.path().join("control/me"), "here.test\n").unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postino-compat"), home.path().join("bin/qmail-queue")).unwrap();
    home
}

fn message() -> Vec<u8> {
    let line = [&[b'x'; 75][..], b"\n"].concat();
    [b"To: r@here.test\nSubject: long\n\n".as_slice(), &line.repeat(MESSAGE_BYTES / line.len())].concat()
}

/// Feeds it; before its input ends it must still have one thread.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, pid, input) = (child.stdin.take().unwrap(), child.id(), input.to_vec());
    let feeder = std::thread::spawn(move || {
        stdin.write_all(&input).unwrap();
        threads(pid)
    });
    let output = child.wait_with_output().unwrap();
    let threads = feeder.join();
    assert!(threads.as_ref().is_ok_and(|threads| *threads <= 1), "{threads:?} threads: {output:?}");
    output
}

/// None when it has ended.
fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// The one message in the drop directory is whole.
fn taken(home: &Path, by: &str) {
    let files: Vec<_> = fs::read_dir(home.join("queue/drop")).unwrap().map(|entry| entry.unwrap()).collect();
    assert_eq!(files.len(), 1, "{by}");
    let bytes = files[0].metadata().unwrap().len();
    assert!((MESSAGE_BYTES as u64 - 100..MESSAGE_BYTES as u64 + 10_000).contains(&bytes), "{by}: {bytes}");
    fs::remove_file(files[0].path()).unwrap();
}

fn smtp() -> Vec<u8> {
    let body = String::from_utf8(message()).unwrap().replace('\n', "\r\n");
    format!("HELO c.test\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<r@here.test>\r\nDATA\r\n{body}.\r\nQUIT\r\n").into_bytes()
}

fn netstring(bytes: &[u8]) -> Vec<u8> {
    [format!("{}:", bytes.len()).as_bytes(), bytes, b","].concat()
}

#[test]
fn sessions_that_take_mail() {
    let home = home();
    let said = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let smtp = smtp();
    let chain = ["recordio", "env", "RBLSMTPD=", env!("CARGO_BIN_EXE_postino-compat"), "rblsmtpd"];
    let behind: Vec<&str> = chain.into_iter().chain([env!("CARGO_BIN_EXE_postino-compat"), "qmail-smtpd"]).collect();
    for words in [&["qmail-smtpd"][..], &behind] {
        let output = fed(limited(home.path(), words), &smtp);
        assert!(said(&output).contains("\r\n250 ok "), "{words:?}: {}", said(&output));
        taken(home.path(), words[0]);
    }
    let text = netstring(&[b"\n".as_slice(), &message()].concat());
    let qmtp = [text, netstring(b"s@c.test"), netstring(&netstring(b"r@here.test"))].concat();
    assert!(said(&fed(limited(home.path(), &["qmail-qmtpd"]), &qmtp)).contains("Kok "));
    taken(home.path(), "qmail-qmtpd");
    let qmqp = netstring(&[netstring(&message()), netstring(b"s@c.test"), netstring(b"r@here.test")].concat());
    assert!(said(&fed(limited(home.path(), &["qmail-qmqpd"]), &qmqp)).contains("Kok "));
    taken(home.path(), "qmail-qmqpd");
}

#[test]
fn injectors() {
    let home = home();
    let lines = [("DTLINE", "Delivered-To: x\n"), ("NEWSENDER", "s@c.test"), ("SENDER", "s@c.test"), ("RPLINE", "R\n"), ("UFLINE", "F\n")];
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postino-compat"), home.path().join("bin/qmail-inject")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postino-compat"), home.path().join("bin/sendmail")).unwrap();
    let inject = home.path().join("bin/qmail-inject");
    let ways: &[&[&str]] = &[
        &["qmail-inject"],
        &["sendmail", "-t"],
        &["datemail", "-t"],
        &["mailsubj", "long", "r@here.test"],
        &["predate", inject.to_str().unwrap()],
        &["preline", inject.to_str().unwrap(), "r@here.test"],
    ];
    for words in ways {
        let mut command = limited(home.path(), words);
        let output = fed(std::mem::replace(command.envs(lines), Command::new("true")), &message());
        assert!(output.status.success(), "{words:?}: {output:?}");
        taken(home.path(), words[0]);
    }
    let file = home.path().join("message");
    fs::write(&file, message()).unwrap();
    let open = || File::open(&file).unwrap();
    for words in [&["forward", "r@here.test"][..], &["condredirect", "r@here.test", "true"]] {
        let output = limited(home.path(), words).envs(lines).stdin(open()).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 99)), "{words:?}: {output:?}");
        taken(home.path(), words[0]);
    }
    fs::write(home.path().join("envelope"), b"Fs@c.test\0Tr@here.test\0\0").unwrap();
    let envelope = File::open(home.path().join("envelope")).unwrap();
    assert!(limited(home.path(), &["qmail-queue"]).stdin(open()).stdout(envelope).status().unwrap().success());
    taken(home.path(), "qmail-queue");
}

#[test]
fn deliveries_and_clients() {
    let home = home();
    let file = home.path().join("message");
    fs::write(&file, message()).unwrap();
    let dir = home.path().to_str().unwrap();
    let words = ["qmail-local", "--", "joe", dir, "joe", "", "", "here.test", "s@c.test", "./Maildir/"];
    let output = limited(home.path(), &words).stdin(File::open(&file).unwrap()).output().unwrap();
    assert_eq!(output.stdout, b"did 1+0+0\n", "{output:?}");
    let sink = Sink::new(&serde_json::json!({}), 1);
    fs::write(home.path().join("control/smtproutes"), format!(":127.0.0.1:{}\n", sink.port)).unwrap();
    let output = fed(limited(home.path(), &["qmail-remote", "far.test", "s@c.test", "r@far.test"]), &message());
    assert!(String::from_utf8_lossy(&output.stdout).contains("K127.0.0.1 accepted message."), "{output:?}");
    assert!(sink.sessions()[0].data.as_ref().unwrap().len() > MESSAGE_BYTES);
    for filter in ["addcr", "delcr", "fixcrlf"] {
        assert!(fed(limited(home.path(), &[filter]), &message()).stdout.len() >= MESSAGE_BYTES - 100, "{filter}");
    }
}

#[test]
fn reading_mail() {
    let home = home();
    fs::write(home.path().join("Maildir/new/1.1.h"), message()).unwrap();
    let file = File::options().write(true).open(home.path().join("Maildir/new/1.1.h")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let refused =
        fed(limited(home.path(), &["qmail-popup", "here.test", env!("CARGO_BIN_EXE_postino-compat"), "checkpassword", "true"]), {
            b"USER nobody-is-this\r\nPASS x\r\n"
        });
    assert!(String::from_utf8_lossy(&refused.stdout).ends_with("-ERR authorization failed\r\n"), "{refused:?}");
    if !rustix::process::geteuid().is_root() {
        return; // the session below needs a user of its own: root may not read mail
    }
    for path in ["Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp", "Maildir/new/1.1.h"] {
        std::os::unix::fs::chown(home.path().join(path), Some(65_534), Some(65_534)).unwrap();
    }
    let mut command = limited(home.path(), &["qmail-pop3d", "Maildir"]);
    command.uid(65_534).gid(65_534);
    let output = fed(command, b"RETR 1\r\nQUIT\r\n");
    assert!(output.stdout.len() > MESSAGE_BYTES && output.stdout.ends_with(b"\r\n.\r\n+OK \r\n"), "{} bytes", output.stdout.len());
}

/// A tcpserver under the limit, with its port.
fn server(home: &Path, program: &[&str]) -> (Child, u16) {
    let words: Vec<&str> = ["tcpserver", "-1", "-H", "-R", "-l0", "127.0.0.1", "0"].into_iter().chain(program.iter().copied()).collect();
    let mut child = limited(home, &words).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    assert!(threads(child.id()) <= 5, "itself and those that start programs");
    (child, port.trim().parse().unwrap())
}

#[test]
fn servers_and_their_clients() {
    let home = home();
    let exe = env!("CARGO_BIN_EXE_postino-compat");
    let (mut child, port) = server(home.path(), &[exe, "qmail-smtpd"]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&smtp()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("\r\n250 ok "), "{said}");
    taken(home.path(), "tcpserver");
    child.kill().unwrap();
    child.wait().unwrap();
    fs::write(home.path().join("message"), message()).unwrap();
    let (mut child, port) = server(home.path(), &["cat", "message"]);
    let port = port.to_string();
    let counted = limited(home.path(), &["tcpclient", "-RHl0", "127.0.0.1", &port, "sh", "-c", "wc -c <&6"]).output().unwrap();
    assert_eq!(String::from_utf8(counted.stdout).unwrap().trim(), message().len().to_string());
    for words in [["tcpcat", "127.0.0.1", &port], ["mconnect", "127.0.0.1", &port]] {
        let output = limited(home.path(), &words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.stdout.len(), message().len(), "{words:?}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
