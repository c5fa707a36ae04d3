//! Dialogues of the IMAP client, cut at every byte; and servers that mean harm.

use super::*;
use crate::sasl::SecretKind;
use crate::script::{EMPTY_LINE, Played, Turn, options, play};
use postino_control::fetch::FetchAuth;
use proptest::prelude::*;

fn imap(tls: FetchTls, auth: FetchAuth, kind: SecretKind, turns: &[Turn<'_>]) -> Played {
    play(|| Box::new(Imap::new(options(tls, auth, kind))), turns)
}

/// Logged in, one message listed and asked for; then `rest`.
fn asked(rest: &[Turn<'_>]) -> Played {
    let mut turns = vec![
        ("", "* PREAUTH hello\r\n"),
        ("p1 CAPABILITY", "* CAPABILITY IMAP4rev1 UIDPLUS\r\np1 OK\r\n"),
        ("p2 SELECT \"INBOX\"", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\np2 OK [READ-WRITE]\r\n"),
        ("p3 UID FETCH 1:* (UID RFC822.SIZE FLAGS)", "* 1 FETCH (UID 9 RFC822.SIZE 3 FLAGS ())\r\np3 OK\r\n"),
    ];
    turns.extend_from_slice(rest);
    imap(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password, &turns)
}

#[test]
fn a_whole_session() {
    let played = imap(
        FetchTls::Starttls,
        FetchAuth::Auto,
        SecretKind::Password,
        &[
            ("", "* OK [ALERT] look here {5}\r\n"),
            ("p1 CAPABILITY", "* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\np1 OK done\r\n"),
            ("p2 STARTTLS", "p2 OK go\r\n"),
            ("p3 CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\np3 OK done\r\n"),
            ("p4 AUTHENTICATE PLAIN", "+ \r\n"),
            ("AG1yb3NlAHRhbnN0YWFm", "p4 OK in\r\n"),
            ("p5 CAPABILITY", "* CAPABILITY IMAP4rev1 UIDPLUS\r\np5 OK done\r\n"),
            (
                "p6 SELECT \"INBOX\"",
                "* FLAGS (\\Seen)\r\n* 2 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 7] valid\r\np6 OK [READ-WRITE] ok\r\n",
            ),
            (
                "p7 UID FETCH 1:* (UID RFC822.SIZE FLAGS)",
                "* 1 FETCH (UID 4 RFC822.SIZE 12 FLAGS (\\Seen))\r\n* 2 FETCH (FLAGS () UID 9 RFC822.SIZE 3)\r\np7 OK\r\n",
            ),
            ("p8 UID FETCH 4 (UID BODY.PEEK[])", "* 1 FETCH (UID 4 BODY[] {12}\r\na: {3}\r\n\r\nb\r)\r\np8 OK\r\n"),
            ("p9 UID FETCH 9 (UID BODY.PEEK[])", "* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (BODY[] {3}\r\nx\r\n UID 9)\r\np9 OK\r\n"),
            ("p10 UID STORE 4,9 +FLAGS.SILENT (\\Deleted)", "p10 OK\r\n"),
            ("p11 UID EXPUNGE 4,9", "* 1 EXPUNGE\r\n* 1 EXPUNGE\r\np11 OK\r\n"),
            ("p12 LOGOUT", "* BYE\r\np12 OK\r\n"),
        ],
    );
    assert_eq!(played.said, ["starttls", "ready", "4 7.4 Some(12), 9 7.9 Some(3) unusable=0 partial=false", "deleted but []", "ended"]);
    assert_eq!(played.messages, [b"a: {3}\n\nb\r".to_vec(), b"x\n".to_vec()]);
}

#[test]
fn the_login_command_quotes() {
    let turns = [
        ("", "* OK\r\n"),
        ("p1 CAPABILITY", "* CAPABILITY IMAP4rev1\r\np1 OK\r\n"),
        ("p2 LOGIN \"mrose\" \"tanstaaf\"", "p2 NO [AUTHENTICATIONFAILED] no\r\n"),
    ];
    let played = imap(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password, &turns);
    assert_eq!(played.end, Err(Broken::Login("[AUTHENTICATIONFAILED] no".into())));
    let mut line = Vec::new();
    push_quoted(&mut line, b"a\"b\\c").unwrap();
    assert_eq!(line, b"\"a\\\"b\\\\c\"");
    assert!(push_quoted(&mut line, b"a\r\nb").is_err() && push_quoted(&mut line, "\u{e9}".as_bytes()).is_err());
}

#[test]
fn a_refused_token_is_told() {
    let played = imap(
        FetchTls::Implicit,
        FetchAuth::Auto,
        SecretKind::Token,
        &[
            ("", "* OK\r\n"),
            ("p1 CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2\r\np1 OK\r\n"),
            ("p2 AUTHENTICATE XOAUTH2", "+\r\n"),
            ("dXNlcj1tcm9zZQFhdXRoPUJlYXJlciB0YW5zdGFhZgEB", "+ eyJzdGF0dXMiOiI0MDAifQ==\r\n"),
            (EMPTY_LINE, "p2 NO bad token\r\n"),
        ],
    );
    assert_eq!(played.end, Err(Broken::Login("bad token".into())));
}

#[test]
fn no_password_without_the_tls_that_was_asked_for() {
    let preauth = imap(FetchTls::Starttls, FetchAuth::Auto, SecretKind::Password, &[("", "* PREAUTH\r\n")]);
    assert_eq!(preauth.end, Err(Broken::NoTls("STARTTLS")));
    let turns = [("", "* OK\r\n"), ("p1 CAPABILITY", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\np1 OK\r\n")];
    assert_eq!(imap(FetchTls::Starttls, FetchAuth::Auto, SecretKind::Password, &turns).end, Err(Broken::NoTls("STARTTLS")));
    let mut early = Imap::new(options(FetchTls::Starttls, FetchAuth::Auto, SecretKind::Password));
    early.receive(b"* OK\r\n* CAPABILITY STARTTLS\r\np1 OK\r\np2 OK\r\n* CAPABILITY AUTH=LOGIN\r\n");
    assert_eq!(early.next_event(), Err(Broken::EarlyBytes));
}

#[test]
fn only_the_message_that_was_asked_for_counts() {
    let outcome = |answer: &'static str| {
        let played = asked(&[("p4 UID FETCH 9 (UID BODY.PEEK[])", answer), ("p5 LOGOUT", "p5 OK\r\n")]);
        (played.messages.len(), played.end)
    };
    assert_eq!(outcome("* 1 FETCH (UID 8 BODY[] {1}\r\nx)\r\np4 OK\r\n"), (0, Ok(())), "another message");
    assert_eq!(outcome("* 1 FETCH (BODY[] {1}\r\nx)\r\np4 OK\r\n"), (0, Ok(())), "nobody's message");
    assert_eq!(outcome("* 1 FETCH (UID 9 BODY[] NIL)\r\np4 OK\r\n"), (0, Ok(())), "a message that is gone");
    assert_eq!(outcome("* 1 FETCH (UID 9 BODY[] {1}\r\nx)\r\np4 NO expired\r\n"), (0, Ok(())), "a failure at the end");
    assert_eq!(outcome("p4 OK\r\n"), (0, Ok(())), "nothing at all");
}

#[test]
fn a_quoted_body_is_a_body() {
    let played = asked(&[
        ("p4 UID FETCH 9 (UID BODY.PEEK[])", "* 1 FETCH (UID 9 BODY[] \"a\\\"b\")\r\np4 OK\r\n"),
        ("p5 UID STORE 9 +FLAGS.SILENT (\\Deleted)", "p5 OK\r\n"),
        ("p6 UID EXPUNGE 9", "p6 OK\r\n"),
        ("p7 LOGOUT", "p7 OK\r\n"),
    ]);
    assert_eq!(played.messages, [b"a\"b".to_vec()]);
}

#[test]
fn liars_are_left() {
    let end = |answer: &'static str| asked(&[("p4 UID FETCH 9 (UID BODY.PEEK[])", answer)]).end;
    let two = "* 1 FETCH (UID 9 BODY[] {1}\r\nx)\r\n* 1 FETCH (UID 9 BODY[] {1}\r\ny)\r\n";
    assert_eq!(end(two), Err(Broken::Nonsense("one message")));
    assert_eq!(end("* LIST () {1048577}\r\n"), Err(Broken::Nonsense("a short literal")));
    assert_eq!(end("p3 OK\r\n"), Err(Broken::Nonsense("an answer to this command")));
    assert_eq!(end("* BYE going down\r\n"), Err(Broken::Bye("going down".into())));
    assert_eq!(end("+ go on\r\n"), Err(Broken::Nonsense("an answer to anything")));
}

#[test]
fn without_uidplus_a_strangers_deleted_messages_stay() {
    let turns = |flags: &'static str, rest: &[Turn<'static>]| {
        let mut turns = vec![
            ("", "* PREAUTH\r\n"),
            ("p1 CAPABILITY", "* CAPABILITY IMAP4rev1\r\np1 OK\r\n"),
            ("p2 SELECT \"INBOX\"", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\np2 OK\r\n"),
            ("p3 UID FETCH 1:* (UID RFC822.SIZE FLAGS)", flags),
            ("p4 UID FETCH 9 (UID BODY.PEEK[])", "* 1 FETCH (UID 9 BODY[] {1}\r\nx)\r\np4 OK\r\n"),
            ("p5 UID STORE 9 +FLAGS.SILENT (\\Deleted)", "p5 OK\r\n"),
        ];
        turns.extend_from_slice(rest);
        imap(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password, &turns).said.contains(&"ended".to_owned())
    };
    assert!(turns("* 1 FETCH (UID 9 RFC822.SIZE 3 FLAGS (\\Deleted))\r\np3 OK\r\n", &[("p6 LOGOUT", "p6 OK\r\n")]));
    assert!(turns("* 1 FETCH (UID 9 RFC822.SIZE 3 FLAGS ())\r\np3 OK\r\n", &[("p6 EXPUNGE", "p6 OK\r\n"), ("p7 LOGOUT", "p7 OK\r\n")]));
}

proptest! {
    #[test]
    fn nothing_panics_and_nothing_hangs(input in prop::collection::vec(prop_oneof![
        Just(b"* OK\r\n".to_vec()), Just(b"p1 OK\r\n".to_vec()), Just(b"p2 OK\r\n".to_vec()), Just(b"p3 OK\r\n".to_vec()),
        Just(b"* PREAUTH\r\n".to_vec()), Just(b"* OK [UIDVALIDITY 1]\r\n".to_vec()), Just(b"* 1 EXISTS\r\n".to_vec()),
        Just(b"* 1 FETCH (UID 1 RFC822.SIZE 1 FLAGS ())\r\n".to_vec()), Just(b"* 1 FETCH (UID 1 BODY[] {2}\r\n".to_vec()),
        Just(b"* X {3}\r\n".to_vec()), prop::collection::vec(any::<u8>(), 0..20)], 0..40)) {
        crate::tests::survive(&mut Imap::new(options(FetchTls::Implicit, FetchAuth::Auto, SecretKind::Password)), &input);
    }
}
