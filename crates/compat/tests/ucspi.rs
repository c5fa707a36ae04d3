//! tcprules, tcprulescheck, tcpserver and rblsmtpd, as the recorded cases and their users run them.

use super::program;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input); // a program may end without reading
    child.wait_with_output().unwrap()
}

fn compile(home: &Path, rules: &str) -> Output {
    let mut command = program("tcprules", home);
    command.arg(home.join("r.cdb")).arg(home.join("r.tmp"));
    fed(command, rules.as_bytes())
}

fn check(home: &Path, ip: &str) -> String {
    let output = program("tcprulescheck", home).arg(home.join("r.cdb")).env("TCPREMOTEIP", ip).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rules_are_compiled_and_a_bad_line_keeps_the_old_ones() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(compile(home.path(), "10.2-3.:allow,NET=\"23\"\n192.168.:deny,X=\"y\"\n[2001:db8::]/32:deny\n").status.code(), Some(0));
    let bad = compile(home.path(), "1.2.3.4:maybe\n");
    assert_eq!(bad.status.code(), Some(100));
    assert_eq!(bad.stderr, b"tcprules: fatal: unable to parse this line: 1.2.3.4:maybe\n");
    assert_eq!(check(home.path(), "10.3.0.1"), "rule 10.3.:\nset environment variable NET=23\nallow connection\n");
    assert_eq!(check(home.path(), "192.168.1.1"), "rule 192.168.:\ndeny connection\n");
    assert_eq!(check(home.path(), "2001:db8::7"), "rule [2001:db8::]/32:\ndeny connection\n");
    assert_eq!(check(home.path(), "9.9.9.9"), "default:\nallow connection\n");
}

/// A tcpserver on a free port of loopback, with its port.
fn server(home: &Path, options: &[&str], run: &[&str]) -> (Child, u16) {
    let mut command = program("tcpserver", home);
    command.args(["-1", "-v", "-H", "-R"]).args(options).args(["127.0.0.1", "0"]).args(run);
    let mut child = command.env("TCPREMOTEHOST", "inherited").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    (child, port.trim().parse().unwrap())
}

fn received(port: u16) -> String {
    let mut text = String::new();
    TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Waits for the log of one connection, ends the server, gives the log with its process numbers out.
fn log_of(mut child: Child) -> Vec<String> {
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut lines: Vec<String> = Vec::new();
    while !lines.iter().any(|line| line.contains(": end ")) {
        lines.push(log.next().unwrap().unwrap());
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), nix::sys::signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    lines
}

#[test]
fn a_connection_gets_the_program_and_its_variables() {
    let home = tempfile::tempdir().unwrap();
    let (child, port) = server(home.path(), &["-l", "loc.test"], &["env"]);
    let text = received(port);
    for line in ["PROTO=TCP", "TCPLOCALHOST=loc.test", "TCPLOCALIP=127.0.0.1", "TCPREMOTEIP=127.0.0.1", &format!("TCPLOCALPORT={port}")] {
        assert!(text.lines().any(|got| got == line), "{line} in {text}");
    }
    assert!(!text.contains("TCPREMOTEHOST"));
    let log = log_of(child);
    assert_eq!(log[..2], ["tcpserver: status: 0/40", "tcpserver: status: 1/40"]);
    assert!(log.last().unwrap().ends_with("status 0"));
}

/// A resolver that knows one name; counts what it is asked.
fn resolver(name: &'static str) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut packet = [0u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut answer = packet[..length].to_vec();
            answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
            answer.extend_from_slice(&[0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60]);
            let labels: Vec<u8> =
                name.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat()).chain([0]).collect();
            answer.extend_from_slice(&[&(labels.len() as u16).to_be_bytes()[..], &labels].concat());
            socket.send_to(&answer, from).unwrap();
        }
    });
    (address, asked)
}

#[test]
fn the_local_name_is_asked_for_once() {
    let home = tempfile::tempdir().unwrap();
    let (dns, asked) = resolver("loc.test");
    let mut command = program("tcpserver", home.path());
    command.args(["-1", "-H", "-R", "127.0.0.1", "0", "printenv", "TCPLOCALHOST"]).env("DNSCACHEIP", dns);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let port = port.trim().parse().unwrap();
    for _ in 0..40 {
        assert_eq!(received(port), "loc.test\n");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let asked = asked.load(std::sync::atomic::Ordering::SeqCst);
    assert!((1..20).contains(&asked), "{asked} questions for 40 connections");
}

#[test]
fn a_flood_from_one_address_leaves_room_for_another() {
    let home = tempfile::tempdir().unwrap();
    let (child, port) = server(home.path(), &["-l0", "-c16"], &["sh", "-c", "echo hello; cat"]);
    let hello = |stream: &TcpStream| {
        let mut word = [0u8; 6];
        let mut stream = stream;
        stream.read_exact(&mut word).unwrap();
        word
    };
    let flood: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    flood[..14].iter().for_each(|stream| assert_eq!(&hello(stream), b"hello\n"));
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &"127.0.0.2:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    rustix::net::connect(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    assert_eq!(&hello(&TcpStream::from(socket)), b"hello\n");
    // Those that waited have their turn when the first go.
    let (first, waiting) = flood.split_at(14);
    first.iter().for_each(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap());
    waiting[..14].iter().for_each(|stream| assert_eq!(&hello(stream), b"hello\n"));
    drop(flood);
    end(child);
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_denied_client_sees_the_connection_closed() {
    let home = tempfile::tempdir().unwrap();
    compile(home.path(), "127.:deny\n");
    let rules = home.path().join("r.cdb");
    let (child, port) = server(home.path(), &["-l0", "-x", rules.to_str().unwrap()], &["env"]);
    assert_eq!(received(port), "");
    let log = log_of(child);
    assert!(log[3].starts_with("tcpserver: deny ") && log[4].ends_with(" status 25600"), "{log:?}");
}

#[test]
fn a_client_named_by_its_rule_is_refused_in_words() {
    let home = tempfile::tempdir().unwrap();
    let refused = |given: &str| {
        let mut command = program("rblsmtpd", home.path());
        command.args(["echo", "REAL"]).env("RBLSMTPD", given).env("TCPREMOTEIP", "192.0.2.7");
        String::from_utf8(fed(command, b"HELO x\r\nRCPT TO:<c@d>\r\nQUIT\r\n").stdout).unwrap()
    };
    let hello = "220 rblsmtpd.local\r\n250 rblsmtpd.local\r\n";
    assert_eq!(refused("-Go away"), format!("{hello}553 Go away\r\n221 rblsmtpd.local\r\n"));
    assert_eq!(refused("Later"), format!("{hello}451 Later\r\n221 rblsmtpd.local\r\n"));
    assert_eq!(refused(""), "REAL\n");
}

/// A resolver with one block list, `bl.test`, that names 192.0.2.7 (A 127.0.0.2, TXT "listed: go away"), and one allow list, `wl.test`, that
/// names 192.0.2.8; every other name does not exist.
fn list_resolver() -> String {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut packet = [0u8; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let mut answer = packet[..length].to_vec();
            let question = answer[12..].to_vec();
            let asks = |name: &[u8], kind: u8| question.starts_with(name) && question[name.len()..].starts_with(&[0, 0, kind]);
            let data: Option<(u8, &[u8])> = if asks(b"\x017\x012\x010\x03192\x02bl\x04test", 16) {
                Some((16, b"\x0flisted: go away"))
            } else if asks(b"\x017\x012\x010\x03192\x02bl\x04test", 1) {
                Some((1, &[127, 0, 0, 2]))
            } else if asks(b"\x018\x012\x010\x03192\x02bl\x04test", 16) {
                Some((16, b"\x03bad"))
            } else if asks(b"\x018\x012\x010\x03192\x02wl\x04test", 1) {
                Some((1, &[127, 0, 0, 1]))
            } else {
                None
            };
            answer[2..8].copy_from_slice(&[0x81, if data.is_some() { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(data.is_some())]);
            if let Some((kind, data)) = data {
                answer.extend_from_slice(&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, data.len() as u8]);
                answer.extend_from_slice(data);
            }
            socket.send_to(&answer, from).unwrap();
        }
    });
    address
}

#[test]
fn without_r_the_lists_of_the_control_file_are_asked() {
    let home = tempfile::tempdir().unwrap();
    let dns = list_resolver();
    std::fs::create_dir(home.path().join("control")).unwrap();
    let lists = |text: &str| std::fs::write(home.path().join("control/rbl"), text).unwrap();
    let told = |options: &[&str], ip: &str| {
        let mut command = program("rblsmtpd", home.path());
        command.args(options).args(["echo", "REAL"]).env("TCPREMOTEIP", ip).env("DNSCACHEIP", &dns);
        fed(command, b"RCPT TO:<c@d>\r\nQUIT\r\n")
    };
    let answer = |options: &[&str], ip: &str| String::from_utf8(told(options, ip).stdout).unwrap();
    let refused = |code: u16| format!("220 rblsmtpd.local\r\n{code} listed: go away\r\n221 rblsmtpd.local\r\n");

    assert_eq!(answer(&[], "192.0.2.7"), "REAL\n", "no file, no list");
    lists("# ours\nbl.test\nwl.test allow\n");
    assert_eq!(answer(&[], "192.0.2.7"), refused(451));
    assert_eq!(answer(&["-b"], "192.0.2.7"), refused(553));
    assert_eq!(answer(&[], "192.0.2.8"), "REAL\n", "the allow list goes before, wherever it stands");
    assert_eq!(answer(&[], "192.0.2.9"), "REAL\n");
    assert_eq!(answer(&["-R"], "192.0.2.7"), "REAL\n", "-R asks nothing");
    assert_eq!(answer(&["-r", "other.test"], "192.0.2.7"), "REAL\n", "-r stands for the file");
    lists("bl.test 553 127.0.0.2-3\n");
    assert_eq!(answer(&[], "192.0.2.7"), refused(553));
    lists("bl.test 553 127.0.0.9\n");
    assert_eq!(answer(&[], "192.0.2.7"), "REAL\n", "none of the answers that count");
    lists("bl.test score=20\nbl.test sender 553\n");
    assert_eq!(answer(&[], "192.0.2.7"), "REAL\n", "scores and domains are the server's to judge");
    lists("bl.test\nbl.test 553 127.0.0.400\n");
    let output = told(&[], "192.0.2.7");
    assert_eq!(output.stdout, b"REAL\n");
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("control/rbl:2: ") && complaint.trim_end().ends_with("no list is asked"), "{complaint}");
}
