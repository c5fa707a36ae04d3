//! Transcripts run three ways: over a pipe in whole groups, over a pipe that passes one byte at a time, over a real socket with real TLS.
//!
//! A line `C: text` is sent with CRLF; `C| text` is sent as it stands (escapes `\r \n \0 \\`); neighbouring client lines go out in one
//! write. `S: text` is a reply line that must begin so; `TLS` does the handshake; `closed` wants the end; `port NAME` chooses the door;
//! `set KEY VALUE` changes a limit; `stored N` wants so many messages in the queue; `body TEXT` is the last one's body.

use crate::house::{Client, House, encrypt};
use postino_control::Config;
use postino_control::resolved::ListenerKind;
use postino_ports::directory::ScramHash;
use postino_testkit::sasl_client::{ScramClient, cram_md5};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Groups,
    Bytes,
    Socket,
}

#[tokio::test]
async fn in_groups() {
    run_all(Way::Groups).await;
}

#[tokio::test]
async fn byte_by_byte() {
    run_all(Way::Bytes).await;
}

#[tokio::test]
async fn over_sockets() {
    run_all(Way::Socket).await;
}

async fn run_all(way: Way) {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 10, "the transcripts are there");
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // A deadlock of a broken transcript must name it.
        let run = tokio::time::timeout(std::time::Duration::from_secs(60), run(&name, &text, way));
        run.await.unwrap_or_else(|_| panic!("{name} {way:?}: stuck"));
    }
}

async fn run(name: &str, text: &str, way: Way) {
    let lines: Vec<(usize, &str)> = text.lines().enumerate().filter(|(_, l)| !l.is_empty() && !l.starts_with('#')).collect();
    let mut kind = ListenerKind::Smtp;
    let mut limits = Vec::new();
    let mut mechanisms = String::new();
    for (_, line) in &lines {
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["port", "submission"] => kind = ListenerKind::Submission,
            ["port", "submissions"] => kind = ListenerKind::Submissions,
            ["mechanisms", names @ ..] => mechanisms = names.join(" "),
            ["set", key, value] => limits.push((*key, value.parse::<u32>().unwrap())),
            _ => {}
        }
    }
    let house = House::with(|config| {
        limits.iter().for_each(|(key, value)| set(config, key, *value));
        config.authmechs = postino_sasl::Offered::from_words([mechanisms.as_str()]).unwrap();
    });
    let mut client = dial(&house, kind, way).await;
    let mut group = Vec::new();
    for (number, line) in lines {
        let place = format!("{name}:{} {way:?}", number + 1);
        if let Some(text) = line.strip_prefix("C: ").or_else(|| (line == "C:").then_some("")) {
            group.extend_from_slice(text.as_bytes());
            group.extend_from_slice(b"\r\n");
            continue;
        }
        if let Some(text) = line.strip_prefix("C| ") {
            group.extend_from_slice(&unescape(text));
            continue;
        }
        if !group.is_empty() {
            client.send(std::mem::take(&mut group)).await;
        }
        match line.split_once(' ').unwrap_or((line, "")) {
            ("S:", want) => {
                let got = reply_line(&mut client).await;
                assert!(got.starts_with(want), "{place}: got {got:?}, wanted {want:?}");
            }
            ("TLS", _) if way == Way::Socket => client = Client::new(Box::new(encrypt(client.stream).await.unwrap())),
            ("TLS" | "port" | "set" | "mechanisms", _) => {}
            ("scram", rest) => scram(&mut client, rest, &place).await,
            ("cram", rest) => cram(&mut client, rest, &place).await,
            ("closed", _) => assert_eq!(reply_line(&mut client).await, "", "{place}"),
            ("stored", n) => assert_eq!(house.count(), n.parse::<usize>().unwrap(), "{place}"),
            ("body", want) => assert_eq!(house.last(|m| m.body.clone()), unescape(want), "{place}"),
            _ => panic!("{place}: not understood: {line}"),
        }
    }
}

/// `scram HASH LOGIN PASSWORD CODE`: a whole exchange, and the code at its end.
async fn scram(client: &mut Client<Box<dyn Wire>>, rest: &str, place: &str) {
    let [hash, login, password, code] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{place}") };
    let which = if hash == "SHA-1" { ScramHash::Sha1 } else { ScramHash::Sha256 };
    let mut scram = ScramClient::new(which, login, password, ("n", b""));
    client.send(format!("AUTH SCRAM-{hash} {}\r\n", scram.first()).into_bytes()).await;
    let challenge = reply_line(client).await;
    let last = scram.last(challenge.strip_prefix("334 ").unwrap_or_else(|| panic!("{place}: {challenge}")));
    client.send(format!("{last}\r\n").into_bytes()).await;
    let mut reply = reply_line(client).await;
    if let Some(signature) = reply.strip_prefix("334 ") {
        assert!(scram.believes(signature), "{place}: {signature}");
        client.send(b"\r\n".to_vec()).await;
        reply = reply_line(client).await;
    }
    assert!(reply.starts_with(code), "{place}: {reply}");
}

/// `cram LOGIN PASSWORD CODE`.
async fn cram(client: &mut Client<Box<dyn Wire>>, rest: &str, place: &str) {
    let [login, password, code] = rest.split(' ').collect::<Vec<_>>()[..] else { panic!("{place}") };
    client.send(b"AUTH CRAM-MD5\r\n".to_vec()).await;
    let challenge = reply_line(client).await;
    let answer = cram_md5(login, password, challenge.strip_prefix("334 ").unwrap_or_else(|| panic!("{place}: {challenge}")));
    client.send(format!("{answer}\r\n").into_bytes()).await;
    let reply = reply_line(client).await;
    assert!(reply.starts_with(code), "{place}: {reply}");
}

fn set(config: &mut Config, key: &str, value: u32) {
    let limits = &mut config.server.limits;
    match key {
        "errors_max" => limits.errors_max = value,
        "commands_max" => limits.commands_max = value,
        "recipients_max" => limits.recipients_max = value as usize,
        "unknown_recipients_max" => limits.unknown_recipients_max = value,
        "etrn" => config.links = postino_control::links::LinkTable::parse(b"a a.test - etrn=192.0.2.77\n").unwrap(),
        "databytes" => config.databytes = u64::from(value),
        _ => panic!("no limit {key}"),
    }
}

async fn dial(house: &House, kind: ListenerKind, way: Way) -> Client<Box<dyn Wire>> {
    let stream: Box<dyn Wire> = match way {
        Way::Groups => Box::new(house.pipe(kind, 1 << 20).stream),
        Way::Bytes => Box::new(house.pipe(kind, 1).stream),
        Way::Socket => {
            let socket = TcpStream::connect(house.listen(kind)).await.unwrap();
            if kind == ListenerKind::Submissions { Box::new(encrypt(socket).await.unwrap()) } else { Box::new(socket) }
        }
    };
    Client::new(stream)
}

async fn reply_line(client: &mut Client<Box<dyn Wire>>) -> String {
    client.line().await
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match (c, c == '\\') {
            (_, true) => match chars.next().unwrap() {
                'r' => '\r',
                'n' => '\n',
                '0' => '\0',
                other => other,
            },
            (c, false) => c,
        });
    }
    out.into_bytes()
}
