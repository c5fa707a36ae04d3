//! The other hosts of the recorded cases: SMTP servers that keep what they are told and answer as the case says. Called by `qmail_cases`.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One connection.
#[derive(Debug, Default, Clone)]
pub(super) struct Session {
    pub(super) address: String,
    pub(super) commands: Vec<String>,
    pub(super) data: Option<String>,
}

#[derive(Default)]
pub(super) struct Sink {
    sessions: Arc<Mutex<Vec<Session>>>,
    /// Of connections that have not ended.
    open: Arc<Mutex<usize>>,
}

impl Sink {
    /// Listens for as long as this process lives. Replies by the first of `VERB ARGUMENT-PART` and `VERB`, in lower case; `CLOSE` ends the
    /// connection; `accepted` follows a message.
    pub(super) fn listen(&self, address: SocketAddr, replies: &Value, accepted: &str) {
        let listener = TcpListener::bind(address).unwrap();
        let (sessions, open) = (self.sessions.clone(), self.open.clone());
        let (replies, accepted) = (replies.clone(), accepted.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                *open.lock().unwrap() += 1;
                let (sessions, open) = (sessions.clone(), open.clone());
                let (replies, accepted) = (replies.clone(), accepted.clone());
                std::thread::spawn(move || {
                    let seen = session(&stream.unwrap(), &replies, &accepted);
                    sessions.lock().unwrap().push(seen);
                    *open.lock().unwrap() -= 1;
                });
            }
        });
    }

    /// What came, when `count` connections have ended and no other is open, or after a while.
    pub(super) fn sessions(&self, count: usize) -> Vec<Session> {
        let start = Instant::now();
        while (self.sessions.lock().unwrap().len() < count || *self.open.lock().unwrap() > 0) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.sessions.lock().unwrap().clone()
    }
}

fn reply(replies: &Value, verb: &str, line: &str, accepted: &str) -> String {
    let given = replies.as_object().into_iter().flatten();
    let fitting = given.filter(|(key, _)| match key.split_once(' ') {
        Some((word, part)) => word == verb && line.contains(part),
        None => key.as_str() == verb,
    });
    let default = match verb {
        "data" => "354 go",
        "greet" => "220 sink",
        "dot" => accepted,
        _ => "250 ok",
    };
    fitting.max_by_key(|(key, _)| key.len()).map_or(default, |(_, text)| text.as_str().unwrap()).to_owned()
}

fn session(stream: &TcpStream, replies: &Value, accepted: &str) -> Session {
    let mut session = Session { address: stream.local_addr().unwrap().ip().to_string(), ..Session::default() };
    // The client may be gone already when it is answered.
    let say = |text: &str| {
        (text != "CLOSE").then(|| (&*stream).write_all(format!("{}\r\n", text.replace('\n', "\r\n")).as_bytes()).ok()).is_some()
    };
    let mut input = BufReader::new(stream);
    if !say(&reply(replies, "greet", "", accepted)) {
        return session;
    }
    let mut line = String::new();
    while input.read_line(&mut line).unwrap_or(0) > 0 {
        let command = std::mem::take(&mut line).trim_end().to_owned();
        let verb = command.split([' ', ':']).next().unwrap().to_lowercase().replace("ehlo", "helo");
        session.commands.push(command.clone());
        let answer = reply(replies, &verb, &command, accepted);
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
            if !say(&reply(replies, "dot", "", accepted)) {
                break;
            }
        }
    }
    session
}
