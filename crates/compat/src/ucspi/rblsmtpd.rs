//! `rblsmtpd [-bBcCR] [-t secs] [-r base] [-a base] prog`: refuses clients that a block list names, in a conversation that takes no mail; others
//! get the program. Lists are asked while the options are read, left to right. Without -r and -R the lists of control/rbl are asked.

use crate::dns::{DnsError, Resolver, reverse_labels};
use crate::fatal::{self, Fatal};
use crate::getopt::{Getopt, Opt};
use crate::wait::ready;
use postino_control::rbl::{self, About, List, Refusal, Role};
use postino_local::error_text::error_text;
use postino_types::exit;
use rustix::event::PollFlags;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

const USAGE: &str = "rblsmtpd [ -b ] [ -R ] [ -t timeout ] [ -r base ] [ -a base ] smtpd [ arg ... ]";
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);
/// Longest text told to a client, bytes.
const TEXT_BYTES_MAX: usize = 200;
/// Longest command kept, bytes; only the first word matters.
const COMMAND_BYTES_MAX: usize = 1024;
const GREETING: &[u8] = b"220 rblsmtpd.local\r\n";
const OKAY: &[u8] = b"250 rblsmtpd.local\r\n";
const GOODBYE: &[u8] = b"221 rblsmtpd.local\r\n";

/// What is decided about the client so far.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Open,
    Accept,
    /// The text; a hard one is refused with 553.
    Refuse {
        hard: bool,
        text: Vec<u8>,
    },
}

struct Session {
    resolver: Resolver,
    /// The address backwards; none when there is no usable TCPREMOTEIP, and then no list is asked.
    reversed: Option<String>,
    hard: bool,
    closed_on_failure: bool,
    failed: bool,
    own_lists: bool,
    timeout: Duration,
    verdict: Verdict,
}

pub(crate) fn run(args: &[OsString]) -> i32 {
    let mut session = Session::new();
    let program = match session.options(args) {
        Ok(program) => program,
        Err(error) => return fatal::main("rblsmtpd", Err(error)),
    };
    if session.own_lists {
        session.ask_control();
    }
    match &session.verdict {
        Verdict::Refuse { hard, text } => {
            // After a failed look-up a list might be wrong: better a later try than a lost message.
            refuse(*hard && !session.failed, text, session.timeout);
            exit::OK
        }
        Verdict::Open | Verdict::Accept => become_program(program),
    }
}

impl Session {
    fn new() -> Self {
        let ip = std::env::var("TCPREMOTEIP").ok().and_then(|ip| ip.parse::<IpAddr>().ok());
        let verdict = std::env::var_os("RBLSMTPD").map_or(Verdict::Open, |given| given_verdict(given.as_bytes()));
        Self {
            resolver: Resolver::from_system(),
            reversed: ip.map(reverse_labels),
            hard: false,
            closed_on_failure: false,
            failed: false,
            own_lists: true,
            timeout: TIMEOUT_DEFAULT,
            verdict,
        }
    }

    fn options<'a>(&mut self, args: &'a [OsString]) -> Result<&'a [OsString], Fatal> {
        let mut options = Getopt::new(args, b"bBcCR", b"tra");
        for option in options.by_ref() {
            match option {
                Opt::Plain(b'b') => self.hard = true,
                Opt::Plain(b'B') => self.hard = false,
                Opt::Plain(b'c') => self.closed_on_failure = true,
                Opt::Plain(b'C') => self.closed_on_failure = false,
                Opt::Plain(_) => self.own_lists = false,
                Opt::With(b't', seconds) => {
                    let seconds = seconds.to_str().and_then(|s| s.parse().ok()).ok_or_else(|| Fatal::usage(USAGE))?;
                    self.timeout = Duration::from_secs(seconds);
                }
                Opt::With(b'r', base) => {
                    self.own_lists = false;
                    self.block_list(&base.to_string_lossy());
                }
                Opt::With(_, base) => self.allow_list(&base.to_string_lossy()),
                Opt::Bad => return Err(Fatal::usage(USAGE)),
            }
        }
        let program = options.rest();
        if program.is_empty() { Err(Fatal::usage(USAGE)) } else { Ok(program) }
    }

    fn block_list(&mut self, base: &str) {
        let Some(name) = self.name_in(base) else { return };
        match self.resolver.txt(&name) {
            Ok(texts) => self.verdict = Verdict::Refuse { hard: self.hard, text: texts.concat() },
            Err(DnsError::Soft) => {
                self.failed = true;
                if self.closed_on_failure {
                    self.verdict = Verdict::Refuse { hard: false, text: b"temporary RBL lookup error".to_vec() };
                }
            }
            Err(DnsError::NoName | DnsError::NoData) => {}
        }
    }

    fn allow_list(&mut self, base: &str) {
        let Some(name) = self.name_in(base) else { return };
        match self.resolver.a(&name) {
            Ok(_) => self.verdict = Verdict::Accept,
            Err(DnsError::Soft) => {
                self.failed = true;
                if !self.closed_on_failure {
                    self.verdict = Verdict::Accept;
                }
            }
            Err(DnsError::NoName | DnsError::NoData) => {}
        }
    }

    /// Where `base` would name the client; none once all is decided.
    fn name_in(&self, base: &str) -> Option<String> {
        let reversed = self.reversed.as_ref().filter(|_| self.verdict == Verdict::Open)?;
        Some(format!("{reversed}.{base}"))
    }

    /// False when the list's line chooses answers and none of them came.
    fn answers_count(&self, list: &List) -> bool {
        let Some(name) = self.name_in(&list.base).filter(|_| !list.answers.is_empty()) else { return true };
        self.resolver.a(&name).is_ok_and(|answers| answers.iter().any(|answer| list.score_of(*answer).is_some()))
    }

    /// The lists of control/rbl that decide by the address alone, those that let in first. Scores and domains are the server's to judge.
    fn ask_control(&mut self) {
        let file = crate::home::choose().join("control/rbl");
        let Ok(text) = std::fs::read(&file) else { return };
        let lists = match rbl::parse(&text) {
            Ok(lists) => lists,
            Err(e) => {
                let _ = writeln!(io::stderr(), "rblsmtpd: {}:{}: {e}; no list is asked", file.display(), e.line);
                return;
            }
        };
        let by_address = || lists.iter().filter(|list| list.about == About::Address);
        for list in by_address().filter(|list| list.role == Role::Allow) {
            self.allow_list(&list.base);
        }
        let hard = self.hard;
        for list in by_address() {
            if let Role::Block(how) = list.role
                && self.answers_count(list)
            {
                self.hard = hard || how == Refusal::ForGood;
                self.block_list(&list.base);
            }
        }
    }
}

/// What $RBLSMTPD says: nothing means no lists, a leading hyphen a hard refusal.
fn given_verdict(given: &[u8]) -> Verdict {
    match given.split_first() {
        None => Verdict::Accept,
        Some((b'-', text)) => Verdict::Refuse { hard: true, text: text.to_vec() },
        Some(_) => Verdict::Refuse { hard: false, text: given.to_vec() },
    }
}

fn become_program(program: &[OsString]) -> i32 {
    let Some((first, rest)) = program.split_first() else { return exit::SOFT };
    let error = Command::new(first).args(rest).exec();
    fatal::main("rblsmtpd", Err(Fatal::soft(format!("unable to run {}: {}", name(first), error_text(&error)))))
}

fn name(word: &OsStr) -> std::borrow::Cow<'_, str> {
    word.to_string_lossy()
}

fn refuse(hard: bool, text: &[u8], timeout: Duration) {
    let line = refusal_line(hard, text);
    let ip = std::env::var("TCPREMOTEIP").unwrap_or_default();
    let ip: String = ip.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect();
    let _ = io::stderr().write_all(format!("rblsmtpd: {ip} pid {}: {line}\n", std::process::id()).as_bytes());
    let line = format!("{line}\r\n").into_bytes();
    // The client may be gone at any moment; there is nothing to lose then.
    let _ = if timeout.is_zero() { say(&line) } else { converse(&line, timeout) };
}

fn refusal_line(hard: bool, text: &[u8]) -> String {
    let text = text.iter().take(TEXT_BYTES_MAX).map(|&b| if (32..=126).contains(&b) { char::from(b) } else { '?' });
    format!("{} {}", if hard { 553 } else { 451 }, text.collect::<String>())
}

fn say(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

fn converse(refusal: &[u8], timeout: Duration) -> io::Result<()> {
    let end = Instant::now() + timeout;
    say(GREETING)?;
    let mut command = Vec::new();
    let mut buffer = [0u8; 1024];
    loop {
        let got = read_until(&mut buffer, end)?;
        let mut answers = Vec::new();
        for &byte in buffer.get(..got).unwrap_or_default() {
            if byte != b'\n' {
                if command.len() < COMMAND_BYTES_MAX {
                    command.push(byte);
                }
                continue;
            }
            let answer = answer_to(&command, refusal);
            command.clear();
            answers.extend_from_slice(answer);
            if answer == GOODBYE {
                return say(&answers);
            }
        }
        say(&answers)?;
        if got == 0 {
            return Ok(());
        }
    }
}

/// Reads what comes before `end`; 0 at the end of either.
fn read_until(buffer: &mut [u8], end: Instant) -> io::Result<usize> {
    let stdin = rustix::stdio::stdin();
    if !ready(stdin, PollFlags::IN, end)? {
        return Ok(0);
    }
    Ok(rustix::io::read(stdin, buffer)?)
}

fn answer_to<'a>(command: &[u8], refusal: &'a [u8]) -> &'a [u8] {
    let verb = command.split(|b| matches!(b, b' ' | b'\r')).next().unwrap_or_default().to_ascii_uppercase();
    match verb.as_slice() {
        b"HELO" | b"EHLO" | b"MAIL" | b"RSET" | b"NOOP" => OKAY,
        b"QUIT" => GOODBYE,
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_decides() {
        assert_eq!(given_verdict(b""), Verdict::Accept);
        assert_eq!(given_verdict(b"-no"), Verdict::Refuse { hard: true, text: b"no".to_vec() });
        assert_eq!(given_verdict(b"no"), Verdict::Refuse { hard: false, text: b"no".to_vec() });
        assert_eq!(refusal_line(true, b"a\r\nb\xff"), "553 a??b?");
        assert_eq!(refusal_line(false, &[b'x'; 999]).len(), 204);
    }

    #[test]
    fn only_harmless_commands_are_okay() {
        assert_eq!(answer_to(b"mail from:<x>\r", b"no"), OKAY);
        assert_eq!(answer_to(b"RCPT TO:<x>", b"no"), b"no");
        assert_eq!(answer_to(b"quit\r", b"no"), GOODBYE);
    }
}
