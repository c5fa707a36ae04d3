//! The server's session, fed raw bytes (commands, DATA, BDAT, AUTH, STARTTLS): no panic, no endless loop, bounded output, well-formed replies;
//! and the messages taken and the replies given are the same however the bytes were cut.
#![no_main]

use postino_fuzz::{Source, pieces};
use postino_sasl::{Mechanism, Offered};
use postino_smtp::reply::Reply;
use postino_smtp::server::{
    Action, AtrnAnswer, AuthAnswer, CloseReason, Door, EtrnAnswer, Limits, Question, RcptAnswer, SaslAnswer, ScramFacts, Session, Settings,
    Tls, replies,
};
use postino_types::Secret;
use std::time::Duration;

const MESSAGE_BYTES_MAX: u64 = 300;

fn settings(flags: u8) -> Settings {
    Settings {
        greeting: "mx.test".into(),
        door: if flags & 1 == 0 { Door::Exchange } else { Door::Submission },
        tls: [Tls::Unavailable, Tls::Offered, Tls::Active, Tls::Active][usize::from(flags >> 1 & 3)],
        etrn: flags & 8 != 0,
        mechanisms: Offered::from_words(["SCRAM-SHA-256 SCRAM-SHA-256-PLUS CRAM-MD5"]).unwrap().with(Mechanism::OAuthBearer),
        limits: Limits {
            message_bytes_max: MESSAGE_BYTES_MAX,
            line_bytes_max: 128,
            recipients_max: 4,
            commands_max: 64,
            errors_max: 8,
            unknown_recipients_max: 3,
            hops_max: 5,
            idle_before_mail: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            session: Duration::from_secs(3600),
        },
    }
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    output: Vec<u8>,
    messages: Vec<Vec<u8>>,
    closed: Option<CloseReason>,
    tls: bool,
}

struct Shell {
    session: Session,
    told: Told,
    body: Vec<u8>,
    answers: u8,
}

impl Shell {
    fn answer(&mut self) -> bool {
        // A fixed mix of yes and no, mostly yes.
        self.answers = self.answers.wrapping_mul(5).wrapping_add(1);
        self.answers % 8 != 3
    }

    fn write(&mut self) {
        self.told.output.extend_from_slice(self.session.output());
        self.session.output_written();
    }

    /// Runs the session over `input` until it wants more; gives the bytes used.
    fn run(&mut self, input: &mut Vec<u8>) {
        // Every turn uses bytes, writes, or answers one command: so many turns are enough.
        let turns_max = 16 + 8 * input.len();
        for _ in 0..turns_max {
            let step = self.session.step(input, Duration::ZERO);
            let now = self.act(step.action, input);
            input.drain(..step.consumed);
            match now {
                Next::Go => {}
                Next::Read => return self.write(),
                Next::Close => {
                    input.clear();
                    return self.write();
                }
            }
        }
        panic!("the session does not come to an end");
    }

    fn act(&mut self, action: Action, input: &[u8]) -> Next {
        match action {
            Action::Input => return Next::Read,
            Action::Flush => self.write(),
            Action::Body(range) => self.body.extend_from_slice(&input[range]),
            Action::Mail(_) => {
                let answer = if self.answer() { Ok(()) } else { Err(Reply::new(450, (4, 7, 1), "later")) };
                self.session.mail_answer(answer);
            }
            Action::Rcpt(_) => {
                let answer = if self.answer() { RcptAnswer::Accepted } else { RcptAnswer::Unknown(Reply::new(550, (5, 1, 1), "nobody")) };
                self.session.rcpt_answer(answer);
            }
            Action::Begin { .. } => self.session.begin_answer(Ok(())),
            Action::ContentRefused(_) | Action::Reset => self.body.clear(),
            Action::MessageEnd => {
                assert!(self.body.len() as u64 <= MESSAGE_BYTES_MAX, "larger than allowed");
                assert!(!self.body.contains(&b'\r'), "a bare CR got through");
                self.told.messages.push(std::mem::take(&mut self.body));
                self.session.message_answer(&Reply::new(250, (2, 0, 0), "ok"));
            }
            Action::Atrn(_) => {
                let answer = if self.answer() { AtrnAnswer::Granted } else { AtrnAnswer::NotAllowed };
                self.session.atrn_answer(answer);
            }
            // Nothing that comes now is the session's.
            Action::Turn => return Next::Close,
            Action::Etrn(_) => {
                let answer = if self.answer() { EtrnAnswer::Started(1) } else { EtrnAnswer::NotAllowed };
                self.session.etrn_answer(answer);
            }
            Action::Ask(question) => {
                let (salt, server_key) = (b"salt".to_vec(), vec![0; 32]);
                self.session.auth_facts(match *question {
                    Question::Stamp => Some(SaslAnswer::Stamp(b"<1.2@mx.test>".to_vec())),
                    Question::Scram { .. } => {
                        Some(SaslAnswer::Scram(ScramFacts { nonce: b"nonce".to_vec(), salt, iterations: 4096, server_key, binding: None }))
                    }
                });
            }
            Action::Authenticate(attempt) => {
                let answer = if matches!(&attempt.secret, Secret::Plain(password) if password == b"good") {
                    AuthAnswer::Granted("joe".into())
                } else {
                    AuthAnswer::Denied
                };
                self.session.auth_answer(answer);
            }
            Action::StartTls => {
                self.write();
                self.told.tls = true;
                self.body.clear();
                self.session.tls_started();
            }
            Action::Close(reason) => {
                self.told.closed = Some(reason);
                return Next::Close;
            }
        }
        Next::Go
    }
}

enum Next {
    Go,
    Read,
    Close,
}

fn play(flags: u8, input: &[u8], seed: u8) -> Told {
    let session = Session::new(settings(flags), Duration::ZERO);
    let mut shell = Shell { session, told: Told::default(), body: Vec::new(), answers: flags };
    let mut waiting = Vec::new();
    for piece in pieces(input, seed) {
        waiting.extend_from_slice(piece);
        shell.run(&mut waiting);
        assert!(waiting.len() < 13_000, "input piles up");
        if shell.told.closed.is_some() {
            break;
        }
    }
    shell.told
}

fn check_replies(output: &[u8]) {
    assert!(output.is_empty() || output.ends_with(b"\r\n"));
    for line in output.split_inclusive(|&b| b == b'\n') {
        let good =
            line.len() <= 512 + 2 && line.ends_with(b"\r\n") && line[..3].iter().all(u8::is_ascii_digit) && matches!(line[3], b' ' | b'-');
        assert!(good, "{:?}", String::from_utf8_lossy(line));
    }
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let (flags, seed) = (source.byte(), source.byte());
    let input = source.rest();
    let whole = play(flags, input, 1);
    check_replies(&whole.output);
    // What follows STARTTLS in one read is thrown away, and content behind a refused DATA ends the session: both look at what was read
    // ahead, so only then may the pieces matter.
    let mut ahead = Vec::new();
    replies::NOT_PIPELINED.write_to(&mut ahead);
    if !whole.tls && !whole.output.windows(ahead.len()).any(|w| w == ahead) {
        assert_eq!(whole, play(flags, input, seed));
    }
});
