//! Transcripts: `-> line` from the client (CRLF added; `\0`, `\n`, `\\` as in Rust, `\c` at the end leaves the CRLF out, `{c*n}` repeats),
//! `<- line` from the server, `<~ pattern` the same with `*` for anything, `<!` the server closes, `mail TEXT` a message (`\n` for its
//! line ends), `clear no` takes passwords under TLS only, `removed 0 2` what QUIT removed. Each runs against the pure session, against it
//! byte by byte, and over a socket.

use crate::house::{self, House, Plan};
use postino_pop3d::session::{Action, ClearPasswords, Refusal, Session, Settings, Tls};
use postino_pop3d::transmission::Transmission;
use postino_ports::directory::{Login, ScramHash};
use postino_sasl::{Answer, Offered, Question, ScramFacts};
use postino_testkit::sasl_client::{ScramClient, cram_md5};
use std::path::Path;

#[derive(Debug)]
enum Step {
    Client(Vec<u8>),
    Server(String),
    /// Hash, login, password, first word of the reply.
    Scram(String),
    Cram(String),
    Closes,
}

struct Transcript {
    name: String,
    mail: Vec<String>,
    clear: bool,
    /// All mechanisms that could be named are.
    named: bool,
    steps: Vec<Step>,
    removed: Vec<usize>,
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut chars = text.chars();
    let mut end: &[u8] = b"\r\n";
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('0') => out.push(0),
                Some('n') => out.push(b'\n'),
                Some('r') => out.push(b'\r'),
                Some('\\') => out.push(b'\\'),
                Some('c') => end = b"",
                other => panic!("escape {other:?}"),
            },
            '{' => {
                let inside: String = chars.by_ref().take_while(|&c| c != '}').collect();
                let (what, times) = inside.split_once('*').unwrap();
                out.extend_from_slice(what.repeat(times.parse().unwrap()).as_bytes());
            }
            c => out.extend_from_slice(c.to_string().as_bytes()),
        }
    }
    out.extend_from_slice(end);
    out
}

fn read(path: &Path) -> Transcript {
    let mut transcript = Transcript {
        name: path.display().to_string(),
        mail: Vec::new(),
        clear: true,
        named: false,
        steps: Vec::new(),
        removed: Vec::new(),
    };
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => {}
            "mail" => transcript.mail.push(String::from_utf8(unescape(&format!("{rest}\\c"))).unwrap()),
            "clear" => transcript.clear = rest == "yes",
            "removed" => transcript.removed = rest.split_whitespace().map(|n| n.parse().unwrap()).collect(),
            "mechanisms" => transcript.named = rest == "all",
            "scram" => transcript.steps.push(Step::Scram(rest.to_owned())),
            "cram" => transcript.steps.push(Step::Cram(rest.to_owned())),
            "->" => transcript.steps.push(Step::Client(unescape(rest))),
            "<-" => transcript.steps.push(Step::Server(rest.replace('*', "\u{1}"))),
            "<~" => transcript.steps.push(Step::Server(rest.to_owned())),
            "<!" => transcript.steps.push(Step::Closes),
            other => panic!("{}: {other}", transcript.name),
        }
    }
    transcript
}

/// `*` stands for anything; \u{1} is a literal star.
fn matches(pattern: &str, line: &str) -> bool {
    let literal = |part: &str| part.replace('\u{1}', "*");
    match pattern.split_once('*') {
        None => literal(pattern) == line,
        Some((start, rest)) => match line.strip_prefix(literal(start).as_str()) {
            None => false,
            Some(tail) => (0..=tail.len()).any(|i| tail.is_char_boundary(i) && matches(rest, &tail[i..])),
        },
    }
}

fn named() -> Offered {
    Offered::from_words(["SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5"]).unwrap()
}

/// A client's whole exchange.
struct Dialogue {
    hash: String,
    client: ScramClient,
    end: String,
    replies: usize,
}

impl Dialogue {
    /// `HASH|LOGIN|PASSWORD|END`.
    fn scram(text: &str) -> Self {
        let [hash, login, password, end] = text.split('|').collect::<Vec<_>>()[..] else { panic!("{text}") };
        let which = if hash == "SHA-1" { ScramHash::Sha1 } else { ScramHash::Sha256 };
        Self { hash: hash.into(), client: ScramClient::new(which, login, password, ("n", b"")), end: end.into(), replies: 0 }
    }

    fn begin(&self) -> String {
        format!("AUTH SCRAM-{} {}", self.hash, self.client.first())
    }

    /// The next line; `None`: it is over.
    fn reply(&mut self, line: &str) -> Option<String> {
        self.replies += 1;
        match (line.strip_prefix("+ "), self.replies) {
            (Some(challenge), 1) => Some(self.client.last(challenge)),
            (Some(challenge), 2) => {
                assert!(self.client.believes(challenge), "{challenge}");
                Some(String::new())
            }
            _ => {
                assert!(line.starts_with(&self.end), "{line:?} is not {:?}", self.end);
                None
            }
        }
    }
}

/// `LOGIN|PASSWORD|END`: the answer to a challenge, and how the reply begins.
fn cram(text: &str, challenge: &str) -> (String, String) {
    let [login, password, end] = text.split('|').collect::<Vec<_>>()[..] else { panic!("{text}") };
    (cram_md5(login, password, challenge.strip_prefix("+ ").unwrap()), end.to_owned())
}

/// The pure session with the least of a shell.
struct Driver<'a> {
    session: Session,
    mail: &'a [String],
    list: Vec<postino_ports::maildrop::DropMessage>,
    out: Vec<u8>,
    closed: bool,
    removed: Vec<usize>,
}

impl<'a> Driver<'a> {
    fn new(t: &'a Transcript) -> Self {
        let settings = Settings {
            stamp: b"<1.1700000000.0@mail.example.org>".to_vec(),
            line_bytes_max: 4096,
            errors_max: 20,
            tls: Tls::Unavailable,
            mechanisms: if t.named { named() } else { Offered::default() },
            clear_passwords: if t.clear { ClearPasswords::Allowed } else { ClearPasswords::Refused },
        };
        let mut out = Vec::new();
        let session = Session::new(settings);
        session.greeting(&mut out);
        Self { session, mail: &t.mail, list: Vec::new(), out, closed: false, removed: Vec::new() }
    }

    fn feed(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.session.feed(bytes);
        loop {
            match self.session.next(&self.list, &mut self.out) {
                Action::Read => return,
                // The shell writes here; the session says Write again as long as it is asked with a full buffer.
                Action::Write => self.flush(),
                Action::Login(login) => match house::check(&login.name, &login.secret) {
                    Ok(Login::Granted(m)) if m.address.starts_with("lost") => self.session.refused(Refusal::NoMailbox, &mut self.out),
                    Ok(Login::Granted(_)) => {
                        self.list = house::listed(self.mail);
                        self.session.granted(&self.list, &mut self.out);
                    }
                    Ok(Login::Denied) => self.session.refused(Refusal::Denied, &mut self.out),
                    Err(_) => self.session.refused(Refusal::Temporary, &mut self.out),
                },
                Action::Ask(Question::Stamp) => {
                    let stamp = Answer::Stamp(b"<1.2@mail.example.org>".to_vec());
                    self.session.told(Some(stamp), &mut self.out);
                }
                Action::Ask(Question::Scram { hash, .. }) => {
                    let found = house::scram(hash);
                    let nonce = b"3rfcNHYJY1ZVvWVs7j3rfcNH".to_vec();
                    let (salt, iterations, server_key) = (found.salt, found.iterations, found.server_key);
                    let facts = ScramFacts { nonce, salt, iterations, server_key, binding: None };
                    self.session.told(Some(Answer::Scram(facts)), &mut self.out);
                }
                Action::StartTls => panic!("TLS has tests of its own"),
                Action::Send(send) if self.mail[send.index].contains("unreadable") => self.session.unavailable(&mut self.out),
                Action::Send(send) => {
                    self.session.sending(send, &self.list, &mut self.out);
                    let mut transmission = send.body_lines.map_or_else(Transmission::whole, Transmission::top);
                    transmission.push(self.mail[send.index].as_bytes(), &mut self.out);
                    transmission.finish(&mut self.out);
                    self.flush();
                }
                Action::Finish(deleted) => {
                    self.removed = deleted;
                    self.session.finished(0, &mut self.out);
                    self.closed = true;
                    return;
                }
                Action::Close(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// Transcripts are short: the lines wait in `written`.
    fn flush(&mut self) {}

    fn line(&mut self) -> Option<String> {
        let at = self.out.windows(2).position(|w| w == b"\r\n")?;
        let line: Vec<u8> = self.out.drain(..at + 2).collect();
        Some(String::from_utf8_lossy(&line[..at]).into_owned())
    }
}

fn run_pure(t: &Transcript, piece: usize) {
    let mut driver = Driver::new(t);
    for step in &t.steps {
        match step {
            Step::Client(bytes) => bytes.chunks(piece).for_each(|chunk| driver.feed(chunk)),
            Step::Server(pattern) => {
                let line = driver.line().unwrap_or_else(|| panic!("{}: nothing instead of {pattern}", t.name));
                assert!(matches(pattern, &line), "{}: {line:?} is not {pattern:?}", t.name);
            }
            Step::Scram(text) => {
                let mut dialogue = Dialogue::scram(text);
                let mut said = dialogue.begin();
                loop {
                    format!("{said}\r\n").as_bytes().chunks(piece).for_each(|chunk| driver.feed(chunk));
                    let line = driver.line().unwrap_or_else(|| panic!("{}: nothing for {text}", t.name));
                    match dialogue.reply(&line) {
                        Some(next) => said = next,
                        None => break,
                    }
                }
            }
            Step::Cram(text) => {
                driver.feed(b"AUTH CRAM-MD5\r\n");
                let challenge = driver.line().unwrap();
                let (answer, end) = cram(text, &challenge);
                driver.feed(format!("{answer}\r\n").as_bytes());
                assert!(driver.line().unwrap().starts_with(&end), "{}: {text}", t.name);
            }
            Step::Closes => assert!(driver.closed && driver.out.is_empty(), "{}: not closed", t.name),
        }
    }
    assert_eq!(String::from_utf8_lossy(&driver.out), "", "{}: more than expected", t.name);
    assert_eq!(driver.removed, t.removed, "{}", t.name);
}

async fn run_socket(t: &Transcript) {
    let config: fn(&mut postino_control::Config) = match (t.clear, t.named) {
        (true, false) => |_| {},
        (true, true) => |c| c.authmechs = named(),
        (false, false) => |c| c.server.plaintext_login_from_loopback = false,
        (false, true) => |c| {
            c.authmechs = named();
            c.server.plaintext_login_from_loopback = false;
        },
    };
    let mut house = House::start(Plan { mail: t.mail.clone(), config, ..Plan::default() });
    let mut client = house.connect().await;
    for step in &t.steps {
        match step {
            Step::Client(bytes) => client.send(std::str::from_utf8(bytes).unwrap()).await,
            Step::Server(pattern) => {
                let line = client.line().await.unwrap_or_else(|| panic!("{}: closed instead of {pattern}", t.name));
                assert!(matches(pattern, &line), "{}: {line:?} is not {pattern:?}", t.name);
            }
            Step::Scram(text) => {
                let mut dialogue = Dialogue::scram(text);
                let mut said = dialogue.begin();
                loop {
                    client.send(&format!("{said}\r\n")).await;
                    match dialogue.reply(&client.line().await.unwrap()) {
                        Some(next) => said = next,
                        None => break,
                    }
                }
            }
            Step::Cram(text) => {
                client.send("AUTH CRAM-MD5\r\n").await;
                let (answer, end) = cram(text, &client.line().await.unwrap());
                client.send(&format!("{answer}\r\n")).await;
                assert!(client.line().await.unwrap().starts_with(&end), "{}: {text}", t.name);
            }
            Step::Closes => assert_eq!(client.line().await, None, "{}: not closed", t.name),
        }
    }
    drop(client);
    house.event("end ").await;
    assert_eq!(house.removed(), t.removed, "{}", t.name);
}

fn all() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 6);
    paths.iter().map(|p| read(p)).collect()
}

#[test]
fn pure() {
    all().iter().for_each(|t| run_pure(t, usize::MAX));
}

#[test]
fn split_at_every_byte() {
    for piece in [1, 2, 3, 7] {
        all().iter().for_each(|t| run_pure(t, piece));
    }
}

#[tokio::test]
async fn over_a_socket() {
    for t in all() {
        run_socket(&t).await;
    }
}
