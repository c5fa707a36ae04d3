//! tcpclient, recordio, mconnect, tcpcat and http@ against servers of ours on loopback.

use super::program;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input))); // a program may end without reading
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    output
}

/// Serves one client: says `hello`, reads up to a line that is `last`, says `answer`. Gives what it read.
fn one_client(hello: &'static str, last: &'static str, answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(hello.as_bytes()).unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        while !last.is_empty() && !text.ends_with(last) && lines.read_line(&mut text).unwrap() > 0 {}
        stream.write_all(answer.as_bytes()).unwrap();
        text
    });
    (port, served)
}

#[test]
fn tcpclient_gives_the_connection_and_its_variables() {
    let home = Path::new("/");
    let (port, served) = one_client("hi\n", "QUIT\n", "bye\n");
    let mut command = program("tcpclient", home);
    let script = "echo QUIT >&7; cat <&6; env; ls -l /proc/self/fd";
    command.args(["-v", "-RHl0", "--", "127.0.0.1", &port, "sh", "-c", script]).env("TCPREMOTEHOST", "inherited");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.starts_with("hi\nbye\n"), "{text}");
    for line in ["PROTO=TCP", "TCPLOCALHOST=0", "TCPLOCALIP=127.0.0.1", "TCPREMOTEIP=127.0.0.1", &format!("TCPREMOTEPORT={port}")] {
        assert!(text.lines().any(|got| got == line), "{line} in {text}");
    }
    assert!(!text.contains("TCPREMOTEHOST") && text.matches("socket:").count() == 2, "{text}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("tcpclient: connected to 127.0.0.1 port {port}\n"));
    assert_eq!(served.join().unwrap(), "QUIT\n");
}

#[test]
fn tcpclient_takes_the_place_of_descriptors_that_were_open() {
    let (port, served) = one_client("hi\n", "", "");
    let exe = env!("CARGO_BIN_EXE_postino-compat");
    let script = format!("exec 6</dev/null 7>/dev/null; exec {exe} tcpclient -RHl0 0 {port} sh -c 'cat <&6'");
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.stdout, b"hi\n");
    served.join().unwrap();
}

#[test]
fn nobody_there_is_told_once() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let run = |options: &str| program("tcpclient", Path::new("/")).args([options, "127.0.0.1", &port, "true"]).output().unwrap();
    let output = run("-RHl0");
    assert_eq!(output.status.code(), Some(111));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!("tcpclient: unable to connect to 127.0.0.1 port {port}: connection refused\n")
    );
    assert_eq!(run("-qRHl0").stderr, b"");
    assert_eq!(program("tcpclient", Path::new("/")).args(["0", "1"]).output().unwrap().status.code(), Some(100));
}

#[test]
fn recordio_writes_down_both_ways() {
    let mut command = program("recordio", Path::new("/"));
    command.arg("cat");
    let output = fed(command, b"one\ntwo");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"one\ntwo"[..]));
    let log = String::from_utf8(output.stderr).unwrap();
    let (number, _) = log.split_once(' ').unwrap();
    for line in [" < one ", " < two+", " < [EOF]", " > one ", " > two+", " > [EOF]"] {
        assert!(log.lines().any(|got| got.strip_prefix(number) == Some(line)), "{line} in {log}");
    }
}

#[test]
fn recordio_keeps_the_exit_code_and_never_stands_still() {
    let mut command = program("recordio", Path::new("/"));
    // It says more than any pipe holds before it reads anything.
    command.args(["sh", "-c", "head -c 1000000 /dev/zero; cat | wc -c; exit 3"]);
    let output = fed(command, &[b'x'; 1_000_000]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(3), 1_000_008));
    let mut command = program("recordio", Path::new("/"));
    command.args(["echo", "unasked"]);
    let output = fed(command, &[b'x'; 1_000_000]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"unasked\n"[..]));
}

#[test]
fn mconnect_ends_lines_with_cr() {
    let (port, served) = one_client("220 hi\r\n", "QUIT\r\n", "221 bye\r\n");
    let mut command = program("mconnect", Path::new("/"));
    command.args(["127.0.0.1", &port]);
    let output = fed(command, b"HELO x\nQUIT\n");
    assert_eq!(output.stdout, b"220 hi\r\n221 bye\r\n");
    assert_eq!(served.join().unwrap(), "HELO x\r\nQUIT\r\n");
}

#[test]
fn clients_that_fetch() {
    let (port, served) = one_client("raw\r\n", "", "");
    assert_eq!(program("tcpcat", Path::new("/")).args(["127.0.0.1", &port]).output().unwrap().stdout, b"raw\r\n");
    served.join().unwrap();
    let (port, served) = one_client("", "\r\n\r\n", "HTTP/1.0 200 OK\r\nA: b\r\n\r\nbody\n\nmore");
    let output = program("http@", Path::new("/")).args(["127.0.0.1", "page", &port]).output().unwrap();
    assert_eq!(output.stdout, b"body\n\nmore");
    assert_eq!(served.join().unwrap(), format!("GET /page HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"));
    let mut silent = String::new();
    program("who@", Path::new("/")).arg("127.0.0.1").output().unwrap().stderr.as_slice().read_to_string(&mut silent).unwrap();
    assert!(silent.is_empty() || silent.starts_with("tcpclient: unable to connect to 127.0.0.1 port 11: "), "{silent}");
}

#[test]
fn tcp_env_tells_what_inetd_does_not() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let run = |stdin: Stdio| {
        let mut command = program("tcp-env", Path::new("/"));
        command.args(["-R", "env"]).env("TCPREMOTEINFO", "inherited").env("DNSCACHEIP", "127.0.0.1:9").stdin(stdin);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let text = run(std::os::fd::OwnedFd::from(accepted).into());
    let port = client.local_addr().unwrap().port();
    for line in ["PROTO=TCP", "TCPLOCALIP=127.0.0.1", "TCPREMOTEIP=127.0.0.1", &format!("TCPREMOTEPORT={port}")] {
        assert!(text.lines().any(|got| got == line), "{line} in {text}");
    }
    assert!(!text.contains("TCPREMOTEINFO"));
    let text = run(Stdio::null());
    assert!(text.contains("PROTO=UNKNOWN\n") && !text.contains("TCP"), "{text}");
}
