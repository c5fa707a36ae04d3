//! The POP3 session, fed raw bytes: no panic, no endless loop, bounded memory and replies; nothing is removed without a login and QUIT; the same
//! replies whatever the pieces. And a message on the wire has one end. The files are included from crate `pop3d`, which as a whole would pull TLS in.
#![no_main]
#![allow(dead_code)]

#[path = "../../crates/pop3d/src"]
mod pop3d {
    pub mod session;
    pub mod transmission;
}

use pop3d::session::{Action, ClearPasswords, Reason, Refusal, Session, Settings, Tls};
use pop3d::transmission::Transmission;
use postino_fuzz::{Source, pieces};
use postino_ports::directory::Secret;
use postino_ports::maildrop::DropMessage;
use postino_sasl::{Answer, Mechanism, Offered, Question, ScramFacts};

#[derive(Debug, Default, PartialEq)]
struct Told {
    output: Vec<u8>,
    removed: Vec<usize>,
    closed: Option<Reason>,
    tls: bool,
}

fn answer(question: &Question) -> Answer {
    match question {
        Question::Stamp => Answer::Stamp(b"<1.2@mx.test>".to_vec()),
        Question::Scram { .. } => {
            let (nonce, salt, server_key) = (b"nonce".to_vec(), b"salt".to_vec(), vec![0; 32]);
            Answer::Scram(ScramFacts { nonce, salt, iterations: 4096, server_key, binding: Some(Vec::new()) })
        }
    }
}

fn play(flags: u8, input: &[u8], seed: u8) -> Told {
    let list: Vec<DropMessage> = (0..u64::from(flags >> 4)).map(|n| DropMessage { octets: n * 7, uidl: format!("u{n}") }).collect();
    let mut session = Session::new(Settings {
        stamp: b"<1.2.3@mx.test>".to_vec(),
        line_bytes_max: 200,
        errors_max: 6,
        tls: [Tls::Unavailable, Tls::Offered, Tls::Active, Tls::Offered][usize::from(flags & 3)],
        mechanisms: Offered::from_words(["SCRAM-SHA-256 SCRAM-SHA-256-PLUS CRAM-MD5"]).unwrap().with(Mechanism::OAuthBearer),
        clear_passwords: if flags & 4 == 0 { ClearPasswords::Allowed } else { ClearPasswords::Refused },
    });
    let mut told = Told::default();
    let mut open = false;
    for piece in pieces(input, seed) {
        session.feed(piece);
        let mut done = false;
        for _ in 0..16 + 4 * input.len() {
            let mut out = Vec::new();
            let messages: &[DropMessage] = if open { &list } else { &[] };
            let action = session.next(messages, &mut out);
            match action {
                Action::Read => done = true,
                Action::Write => {}
                Action::Ask(question) => session.told(Some(answer(&question)), &mut out),
                Action::Login(login) => {
                    assert!(!open, "a second login");
                    let good = matches!(&login.secret, Secret::Plain(p) if p == b"good") || matches!(login.secret, Secret::Apop { .. });
                    if good {
                        open = true;
                        session.granted(&list, &mut out);
                    } else {
                        session.refused(Refusal::Denied, &mut out);
                    }
                }
                Action::StartTls => {
                    told.tls = true;
                    session.secured();
                }
                Action::Send(send) => {
                    assert!(open && send.index < list.len());
                    session.sending(send, &list, &mut out);
                    out.extend_from_slice(b".\r\n");
                }
                Action::Finish(deleted) => {
                    assert!(open && deleted.iter().all(|i| *i < list.len()));
                    told.removed = deleted;
                    session.finished(0, &mut out);
                    told.closed = Some(Reason::Quit);
                    done = true;
                }
                Action::Close(reason) => {
                    told.closed = Some(reason);
                    done = true;
                }
            }
            assert!(out.len() <= 64 * 1024 && (out.is_empty() || out.ends_with(b"\r\n")));
            told.output.extend_from_slice(&out);
            if done {
                break;
            }
        }
        assert!(done, "the session does not come to an end");
        if told.closed.is_some() {
            break;
        }
    }
    told
}

fn transmit(message: &[u8], seed: u8, lines: Option<u64>) -> Vec<u8> {
    let mut transmission = lines.map_or_else(Transmission::whole, Transmission::top);
    let mut wire = Vec::new();
    for piece in pieces(message, seed) {
        if transmission.is_done() {
            break;
        }
        transmission.push(piece, &mut wire);
    }
    transmission.finish(&mut wire);
    wire
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let (flags, seed) = (source.byte(), source.byte());
    let input = source.rest();
    let whole = play(flags, input, 1);
    // What follows STLS in one read is thrown away, so only then may the pieces matter.
    if !whole.tls {
        assert_eq!(whole, play(flags, input, seed));
    }
    for lines in [None, Some(u64::from(flags))] {
        let wire = transmit(input, 1, lines);
        assert_eq!(wire, transmit(input, seed, lines));
        assert!(wire.ends_with(b"\r\n.\r\n") || wire == b".\r\n");
        let ends = wire.windows(5).filter(|w| w == b"\r\n.\r\n").count();
        assert_eq!(ends, usize::from(wire != b".\r\n"), "an end of data inside the message");
    }
});
