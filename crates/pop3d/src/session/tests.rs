//! The session alone: hostile input, bounded memory, and what must not leak.

use super::*;
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        stamp: b"<1.2.3@h>".to_vec(),
        line_bytes_max: 600,
        errors_max: 5,
        tls: Tls::Offered,
        mechanisms: Offered::default(),
        clear_passwords: ClearPasswords::Allowed,
    }
}

fn mail() -> Vec<DropMessage> {
    (1..4).map(|n| DropMessage { octets: n * 10, uidl: format!("u{n}") }).collect()
}

/// A session after login, and its list.
fn logged_in() -> (Session, Vec<DropMessage>) {
    let mut session = Session::new(settings());
    session.granted(&mail(), &mut Vec::new());
    (session, mail())
}

fn say(session: &mut Session, list: &[DropMessage], text: &[u8]) -> (Action, String) {
    let mut out = Vec::new();
    session.feed(text);
    let action = session.next(list, &mut out);
    (action, String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn pipelined_commands_are_answered_together_and_in_order() {
    let (mut session, list) = logged_in();
    let (action, out) = say(&mut session, &list, b"NOOP\r\nDELE 2\r\nSTAT\r\nLIST\r\nRETR 2\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(action, Action::Finish(vec![1]));
    assert_eq!(out, "+OK\r\n+OK\r\n+OK 2 40\r\n+OK 2 messages (40 octets)\r\n1 10\r\n3 30\r\n.\r\n-ERR no such message\r\n");
    let mut out = Vec::new();
    assert_eq!(session.finished(0, &mut out), Action::Close(Reason::Quit));
    assert_eq!(session.next(&list, &mut out), Action::Close(Reason::Quit));
    assert_eq!(out, b"+OK bye\r\n", "nothing after QUIT is obeyed");
}

#[test]
fn a_long_list_comes_in_pieces() {
    let list: Vec<_> = (0..10_000).map(|n| DropMessage { octets: n, uidl: format!("{n:060}") }).collect();
    let mut session = Session::new(settings());
    session.granted(&list, &mut Vec::new());
    session.feed(b"UIDL\r\nNOOP\r\n");
    let (mut all, mut pieces) = (Vec::new(), 0);
    loop {
        let mut out = Vec::new();
        let action = session.next(&list, &mut out);
        assert!(out.len() < 2 * PIECE_BYTES);
        all.extend_from_slice(&out);
        match action {
            Action::Write => pieces += 1,
            Action::Read => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(pieces > 10);
    let text = String::from_utf8(all).unwrap();
    assert_eq!(text.lines().count(), 10_003);
    assert!(text.ends_with("\r\n.\r\n+OK\r\n"));
    assert!(text.contains(&format!("\r\n10000 {:060}\r\n", 9999)));
}

#[test]
fn a_line_without_end_is_not_stored() {
    let mut session = Session::new(settings());
    for _ in 0..1000 {
        assert_eq!(say(&mut session, &[], &[b'A'; 1024]).0, Action::Read);
        assert!(session.input.len() <= 600 + 1024);
    }
    let (_, out) = say(&mut session, &[], b"\r\nNOOP\r\n");
    assert_eq!(out, "-ERR line too long\r\n+OK\r\n");
    assert!(session.input.capacity() <= INPUT_BYTES_KEPT, "and an idle session gives the room back");
}

#[test]
fn no_password_stays_in_the_buffer() {
    let mut session = Session::new(settings());
    let (_, _) = say(&mut session, &[], b"USER u\r\n");
    session.feed(b"PASS sesame\r\nNOOP");
    assert!(matches!(session.next(&[], &mut Vec::new()), Action::Login(_)));
    let room = session.input.clone();
    assert!(!room.windows(6).any(|w| w == b"sesame"));
}

#[test]
fn stls_forgets_what_was_said_before() {
    let mut session = Session::new(settings());
    let (action, out) = say(&mut session, &[], b"USER u\r\nSTLS\r\nPASS injected\r\nSTAT\r\n");
    assert_eq!(action, Action::StartTls);
    assert_eq!(out, "+OK\r\n+OK begin TLS\r\n");
    session.feed(b"PASS injected too\r\n");
    session.secured();
    let (action, out) = say(&mut session, &[], b"PASS x\r\nSTLS\r\n");
    assert_eq!(action, Action::Read);
    assert_eq!(out, "-ERR USER first\r\n-ERR TLS is active\r\n");
}

#[test]
fn passwords_are_refused_and_not_offered_in_the_clear() {
    let mut session = Session::new(Settings { clear_passwords: ClearPasswords::Refused, ..settings() });
    let (action, out) = say(&mut session, &[], b"CAPA\r\nUSER u\r\nPASS p\r\nAUTH PLAIN AHUAcA==\r\n");
    assert_eq!(action, Action::Read);
    assert!(!out.contains("SASL") && !out.contains("USER\r\n+") && out.contains("\r\nSTLS\r\n"));
    assert_eq!(out.matches("-ERR [AUTH] passwords are taken under TLS only\r\n").count(), 3);
    session.secured();
    let (action, out) = say(&mut session, &[], b"CAPA\r\nAUTH PLAIN AHUAcA==\r\n");
    assert!(out.contains("\r\nSASL PLAIN LOGIN\r\n") && !out.contains("STLS"));
    assert!(matches!(action, Action::Login(_)));
}

/// Row 43: every one of these is a good command, and none leads to a login.
#[test]
fn row_43_a_flood_of_commands_before_the_login_ends() {
    for flood in [&b"NOOP\r\n"[..], b"CAPA\r\n", b"USER u\r\n"] {
        let mut session = Session::new(settings());
        let mut action = Action::Read;
        let mut said = 0;
        while action == Action::Read && said < 1000 {
            (action, _) = say(&mut session, &[], flood);
            said += 1;
        }
        assert_eq!((action, said), (Action::Close(Reason::Commands), COMMANDS_BEFORE_LOGIN_MAX + 1));
    }
    let (mut session, list) = logged_in();
    let (action, out) = say(&mut session, &list, &b"NOOP\r\n".repeat(1000));
    assert_eq!((action, out.matches("+OK\r\n").count()), (Action::Read, 1000));
}

#[test]
fn a_bare_cr_ends_no_command() {
    let (mut session, list) = logged_in();
    let (_, out) = say(&mut session, &list, b"DELE 1\r\r\nNOOP\rDELE 1\r\nSTAT\r\n");
    assert_eq!(out, "-ERR bare CR in line\r\n-ERR bare CR in line\r\n+OK 3 60\r\n");
}

#[test]
fn errors_end_the_session() {
    let (mut session, list) = logged_in();
    let (action, out) = say(&mut session, &list, &b"BOGUS\r\n".repeat(50));
    assert_eq!(action, Action::Close(Reason::Errors));
    assert_eq!(out.matches("-ERR unknown command\r\n").count(), 5);
    assert!(out.ends_with("-ERR too many errors\r\n"));
    let mut session = Session::new(settings());
    let mut out = Vec::new();
    for _ in 0..5 {
        session.refused(Refusal::Denied, &mut out);
    }
    assert_eq!(session.next(&[], &mut out), Action::Close(Reason::Errors));
}

#[test]
fn another_protocol_is_hung_up_on() {
    for hello in [&b"GET / HTTP/1.1\r\nUSER u\r\n"[..], b"\x16\x03\x01\x02\x00\x01\n", b"POST / HTTP/1.1\r\n"] {
        let mut session = Session::new(settings());
        session.feed(hello);
        let mut out = Vec::new();
        let action = session.next(&[], &mut out);
        // A TLS hello holds NULs mostly; then it is refused as such.
        assert!(action == Action::Close(Reason::Errors) || out.starts_with(b"-ERR NUL"), "{hello:?}");
    }
}

/// Something between nonsense and POP3.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&[u8]; 18] = [
        b"USER u",
        b"PASS p",
        b"AUTH PLAIN",
        b"AUTH LOGIN",
        b"AHUAcA==",
        b"*",
        b"STLS",
        b"LIST",
        b"DELE 1",
        b"DELE 99999999999999999999999",
        b"TOP 1 18446744073709551615",
        b"RETR 0",
        b"UIDL 3",
        b"RSET",
        b"\0",
        b"QUIT",
        b"\xff\xfe",
        b"APOP u 0123456789abcdef0123456789abcdef",
    ];
    const ENDS: [&[u8]; 4] = [b"\r\n", b"\n", b"\r", b""];
    let word = proptest::sample::select(&WORDS[..]);
    let end = proptest::sample::select(&ENDS[..]);
    proptest::collection::vec((word, end), 0..40).prop_map(|all| all.iter().flat_map(|(w, e)| [*w, *e].concat()).collect())
}

proptest! {
    #[test]
    fn any_input_in_any_pieces_ends_well(input in hostile(), piece in 1usize..50, logs_in in any::<bool>()) {
        let list = mail();
        let mut session = Session::new(Settings { errors_max: 1000, ..settings() });
        let mut finished = None;
        'outer: for chunk in input.chunks(piece) {
            session.feed(chunk);
            loop {
                let mut out = Vec::new();
                let shown: &[DropMessage] = if session.is_logged_in() { &list } else { &[] };
                match session.next(shown, &mut out) {
                    Action::Read => break,
                    Action::Write | Action::Send(_) => {}
                    Action::Login(_) if logs_in => session.granted(&list, &mut out),
                    Action::Login(_) => session.refused(Refusal::Denied, &mut out),
                    Action::Ask(_) => session.told(None, &mut out),
                    Action::StartTls => session.secured(),
                    Action::Finish(deleted) => { finished = Some(deleted); break 'outer }
                    Action::Close(_) => break 'outer,
                }
                prop_assert!(out.is_empty() || out.ends_with(b"\r\n"));
            }
        }
        if let Some(deleted) = finished {
            prop_assert!(logs_in, "only a granted login reaches the end");
            prop_assert!(deleted.iter().all(|&i| i < 3));
        }
    }
}
