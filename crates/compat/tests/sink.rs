//! An SMTP server for the tests: keeps what it is told, answers as a recorded case says.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) commands: Vec<String>,
    pub(crate) data: Option<String>,
}

pub(crate) struct Sink {
    pub(crate) port: u16,
    thread: JoinHandle<Vec<Session>>,
}

impl Sink {
    /// Takes `count` connections. Replies by the first of `VERB ARGUMENT-PART` and `VERB`, in lower case; `CLOSE` ends the connection.
    pub(crate) fn new(replies: &Value, count: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let replies = replies.clone();
        let thread = std::thread::spawn(move || (0..count).map(|_| session(&listener.accept().unwrap().0, &replies)).collect());
        Self { port, thread }
    }

    pub(crate) fn sessions(self) -> Vec<Session> {
        self.thread.join().unwrap()
    }
}

fn reply(replies: &Value, verb: &str, line: &str) -> String {
    let given = replies.as_object().into_iter().flatten();
    let fitting = given.filter(|(key, _)| match key.split_once(' ') {
        Some((word, part)) => word == verb && line.contains(part),
        None => key.as_str() == verb,
    });
    let default = if verb == "data" {
        "354 go"
    } else if verb == "greet" {
        "220 sink"
    } else if verb == "dot" {
        "250 accepted"
    } else {
        "250 ok"
    };
    fitting.max_by_key(|(key, _)| key.len()).map_or(default, |(_, text)| text.as_str().unwrap()).to_owned()
}

fn session(stream: &TcpStream, replies: &Value) -> Session {
    let mut session = Session::default();
    // The client may be gone already when it is answered.
    let say = |text: &str| {
        (text != "CLOSE").then(|| (&*stream).write_all(format!("{}\r\n", text.replace('\n', "\r\n")).as_bytes()).ok()).is_some()
    };
    let mut input = BufReader::new(stream);
    if !say(&reply(replies, "greet", "")) {
        return session;
    }
    let mut line = String::new();
    while input.read_line(&mut line).unwrap_or(0) > 0 {
        let command = std::mem::take(&mut line).trim_end().to_owned();
        let verb = command.split([' ', ':']).next().unwrap().to_lowercase().replace("ehlo", "helo");
        session.commands.push(command.clone());
        let answer = reply(replies, &verb, &command);
        if verb == "quit" || !say(&answer) {
            break;
        }
        if verb == "data" && answer.starts_with("354") {
            let mut data = String::new();
            while !(data == ".\r\n" || data.ends_with("\r\n.\r\n")) {
                if input.read_line(&mut data).unwrap_or(0) == 0 {
                    return session;
                }
            }
            session.data = Some(data);
            if !say(&reply(replies, "dot", "")) {
                break;
            }
        }
    }
    session
}
