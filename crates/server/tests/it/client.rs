//! A small line client for tests: sends, reads whole replies, insists on codes.

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::time::Duration;

/// One connection.
pub(crate) struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    /// Connects and reads the banner; `None` when there is none.
    pub(crate) fn try_connect(port: u16) -> Option<(Self, String)> {
        Self::greeted_on(TcpStream::connect(("127.0.0.1", port)).ok()?)
    }

    /// On a connection made elsewhere.
    pub(crate) fn on(stream: TcpStream) -> (Self, String) {
        Self::greeted_on(stream).expect("a banner")
    }

    fn greeted_on(stream: TcpStream) -> Option<(Self, String)> {
        stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
        stream.set_nodelay(true).ok()?;
        let mut line = Self { stream: BufReader::new(stream) };
        let banner = line.line()?;
        Some((line, banner))
    }

    /// As another address of this machine (127.0.0.9); EHLO said.
    pub(crate) fn smtp_from(from: Ipv4Addr, port: u16) -> Self {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrV4::new(from, 0)).unwrap();
        connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut line = Self { stream: BufReader::new(stream) };
        assert!(line.reply().starts_with("220 "));
        line.expect("EHLO client.example", "250");
        line
    }

    /// Connects to an SMTP server and says EHLO.
    pub(crate) fn smtp(port: u16) -> Self {
        let (mut line, banner) = Self::try_connect(port).expect("a banner");
        assert!(banner.starts_with("220 "), "{banner}");
        line.expect("EHLO client.example", "250");
        line
    }

    /// One line without its end; `None` at the end of the connection.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        match self.stream.read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()),
        }
    }

    /// Sends raw bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    /// A whole SMTP reply; empty at the end of the connection.
    pub(crate) fn reply(&mut self) -> String {
        let mut all = String::new();
        while let Some(line) = self.line() {
            let more = line.as_bytes().get(3) == Some(&b'-');
            all.push_str(&line);
            if !more {
                return all;
            }
            all.push('\n');
        }
        all
    }

    /// Sends a command and returns the reply.
    pub(crate) fn command(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n").as_bytes());
        self.reply()
    }

    /// Sends a command and insists on a code.
    pub(crate) fn expect(&mut self, command: &str, code: &str) -> String {
        let reply = self.command(command);
        assert!(reply.starts_with(code), "{command}: wanted {code}, got {reply}");
        reply
    }

    /// One whole message; the reply to the final dot.
    pub(crate) fn message(&mut self, from: &str, to: &[&str], content: &str) -> String {
        self.expect(&format!("MAIL FROM:<{from}>"), "250");
        for recipient in to {
            self.expect(&format!("RCPT TO:<{recipient}>"), "250");
        }
        self.expect("DATA", "354");
        let stuffed = format!("\r\n{content}").replace("\r\n.", "\r\n..");
        self.send(format!("{}\r\n.\r\n", stuffed.strip_prefix("\r\n").unwrap_or(&stuffed)).as_bytes());
        self.reply()
    }

    /// All that still comes until the end.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.stream.read_to_end(&mut all);
        all
    }
}

/// Delivers one message to a local user and insists on 250.
pub(crate) fn deliver(port: u16, from: &str, to: &str, content: &str) {
    let reply = Line::smtp(port).message(from, &[to], content);
    assert!(reply.starts_with("250"), "{reply}");
}
