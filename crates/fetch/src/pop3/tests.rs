//! Dialogues of the POP3 client, cut at every byte; and servers that mean harm.

use super::*;
use crate::sasl::SecretKind;
use crate::script::{Played, Turn, options, play};
use postino_control::fetch::FetchAuth;
use proptest::prelude::*;

fn pop(tls: FetchTls, auth: FetchAuth, turns: &[Turn<'_>]) -> Played {
    play(|| Box::new(Pop3::new(options(tls, auth, SecretKind::Password))), turns)
}

const CRAM_ANSWER: &str = "bXJvc2UgODVhMmRlYWViNTIwOWIwZjU0ZDQwNzU5ZGFjYzI0YzQ=";
const CAPA: &str = "+OK here\r\nUSER\r\nSASL PLAIN CRAM-MD5\r\nSTLS\r\nPIPELINING\r\nUIDL\r\n.\r\n";

#[test]
fn a_whole_session_under_tls() {
    let played = pop(
        FetchTls::Implicit,
        FetchAuth::Auto,
        &[
            ("", "+OK POP3 <1896.697170952@dbc.mtview.ca.us>\r\n"),
            ("CAPA", CAPA),
            ("AUTH PLAIN", "+ \r\n"),
            ("AG1yb3NlAHRhbnN0YWFm", "+OK in\r\n"),
            ("UIDL", "+OK\r\n1 aa\r\n2 bb\r\n.\r\n"),
            ("LIST", "+OK 2 messages\r\n1 20\r\n2 30 and more\r\n.\r\n"),
            ("RETR 1", "+OK 20 octets\r\nSubject: x\r\n\r\n..dot\r\n.\r\n"),
            ("RETR 2", "+OK\r\n.\r\n"),
            ("DELE 1\nDELE 2", "+OK\r\n-ERR locked\r\n"),
            ("QUIT", "+OK bye\r\n"),
        ],
    );
    assert_eq!(played.said, ["ready", "1 aa Some(20), 2 bb Some(30) unusable=0 partial=false", "deleted but [2]", "ended"]);
    assert_eq!(played.messages, [b"Subject: x\n\n.dot\n".to_vec(), Vec::new()]);
    assert_eq!(played.end, Ok(()));
}

#[test]
fn stls_and_what_was_said_before_it_counts_no_more() {
    let played = pop(
        FetchTls::Starttls,
        FetchAuth::Auto,
        &[
            ("", "+OK <1@x>\r\n"),
            ("CAPA", CAPA),
            ("STLS", "+OK go\r\n"),
            ("CAPA", "+OK\r\nUSER\r\n.\r\n"),
            ("USER mrose", "+OK\r\n"),
            ("PASS tanstaaf", "+OK\r\n"),
            ("UIDL", "+OK\r\n.\r\n"),
            ("LIST", "+OK\r\n.\r\n"),
            ("QUIT", "+OK\r\n"),
        ],
    );
    assert_eq!(played.said, ["starttls", "ready", " unusable=0 partial=false", "ended"]);
}

#[test]
fn no_password_without_the_tls_that_was_asked_for() {
    let none = pop(FetchTls::Starttls, FetchAuth::Auto, &[("", "+OK\r\n"), ("CAPA", "+OK\r\nUSER\r\n.\r\n")]);
    assert_eq!(none.end, Err(Broken::NoTls("STLS")));
    let refused = pop(FetchTls::Starttls, FetchAuth::Auto, &[("", "+OK\r\n"), ("CAPA", CAPA), ("STLS", "-ERR no\r\n")]);
    assert_eq!(refused.end, Err(Broken::NoTls("STLS")));
    let mut early = Pop3::new(options(FetchTls::Starttls, FetchAuth::Auto, SecretKind::Password));
    early.receive(format!("+OK\r\n{CAPA}+OK go\r\n+OK injected\r\n").as_bytes());
    assert_eq!(early.next_event(), Err(Broken::EarlyBytes));
}

#[test]
fn apop_and_cram_md5_in_clear() {
    let apop = pop(
        FetchTls::None,
        FetchAuth::Auto,
        &[
            ("", "+OK ready <1896.697170952@dbc.mtview.ca.us>\r\n"),
            ("CAPA", "-ERR what?\r\n"),
            ("APOP mrose c4c9334bac560ecc979e58001b3e22fb", "+OK\r\n"),
            ("UIDL", "-ERR unknown\r\n"),
        ],
    );
    assert_eq!(apop.end, Err(Broken::Command("UIDL", "unknown".into())));
    let cram = pop(
        FetchTls::None,
        FetchAuth::Auto,
        &[
            ("", "+OK\r\n"),
            ("CAPA", CAPA),
            ("AUTH CRAM-MD5", "+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n"),
            // It keeps no clear password: the next way, which the administrator allowed by tls = "none".
            (CRAM_ANSWER, "-ERR [AUTH] wrong\r\n"),
            ("AUTH PLAIN", "+\r\n"),
            ("AG1yb3NlAHRhbnN0YWFm", "-ERR [AUTH] wrong again\r\n"),
        ],
    );
    assert_eq!(cram.end, Err(Broken::Login("[AUTH] wrong again".into())));
    let chosen = pop(
        FetchTls::None,
        FetchAuth::CramMd5,
        &[
            ("", "+OK\r\n"),
            ("CAPA", CAPA),
            ("AUTH CRAM-MD5", "+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+\r\n"),
            (CRAM_ANSWER, "-ERR [AUTH] wrong\r\n"),
        ],
    );
    assert_eq!(chosen.end, Err(Broken::Login("[AUTH] wrong".into())), "who chose a mechanism gets no weaker one");
}

#[test]
fn listings_of_a_liar() {
    let played = pop(
        FetchTls::Implicit,
        FetchAuth::User,
        &[
            ("", "+OK\r\n"),
            ("CAPA", CAPA),
            ("USER mrose", "+OK\r\n"),
            ("PASS tanstaaf", "+OK\r\n"),
            ("UIDL", "+OK\r\n1 aa\r\n2 aa\r\n1 cc\r\n-3 dd\r\n0 ee\r\n4294967296 ff\r\n5\r\n6 g g\r\n7 hh\r\n.\r\n"),
            ("LIST", "+OK\r\n1 -20\r\n7 99999999999999999999999\r\n2 x\r\n.\r\n"),
            ("RETR 1", "-ERR no such\r\n"),
            ("RETR 7", "+OK\r\nx\r\n.\r\n"),
            ("DELE 7", "+OK\r\n"),
            ("QUIT", "+OK\r\n"),
        ],
    );
    assert_eq!(played.said, ["ready", "1 aa None, 7 hh None unusable=7 partial=true", "refused no such", "deleted but []", "ended"]);
}

#[test]
fn endless_answers_end() {
    let mut session = Pop3::new(options(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password));
    let piece = vec![b'x'; 4096];
    let mut fed = 0;
    let broken = loop {
        session.receive(&piece);
        fed += piece.len();
        assert!(fed <= 128 * 1024, "it must not be taken for ever");
        if let Err(broken) = session.next_event() {
            break broken;
        }
    };
    assert_eq!(broken, Broken::LongLine);
    let mut session = Pop3::new(options(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password));
    session.receive(b"+OK\r\n+OK\r\n");
    let broken = (0..1000).find_map(|_| {
        session.receive(b"X\r\n");
        session.next_event().err()
    });
    assert!(matches!(broken, Some(Broken::Nonsense(_))), "{broken:?}");
}

#[test]
fn a_secret_never_makes_a_second_command() {
    let mut bad = options(FetchTls::None, FetchAuth::User, SecretKind::Password);
    bad.credentials.secret = zeroize::Zeroizing::new(b"x\r\nDELE 1".to_vec());
    let mut session = Pop3::new(bad);
    session.receive(format!("+OK\r\n{CAPA}").as_bytes());
    assert_eq!(session.next_event(), Ok(None));
    session.receive(b"+OK\r\n");
    assert!(matches!(session.next_event(), Err(Broken::Login(_))));
    assert!(!session.output().windows(4).any(|w| w == b"DELE"));
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_hangs(input in prop::collection::vec(prop_oneof![
        Just(b"+OK\r\n".to_vec()), Just(b"-ERR\r\n".to_vec()), Just(b".\r\n".to_vec()), Just(b"1 aa\r\n".to_vec()), Just(b"+ \r\n".to_vec()),
        Just(b"USER\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..20)], 0..40)) {
        crate::tests::survive(&mut Pop3::new(options(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password)), &input);
    }
}
