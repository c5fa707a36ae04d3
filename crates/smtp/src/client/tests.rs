//! Client session transcripts, whole and split at every byte; hostile servers; the body encoder's laws.

use super::command::{check_recipient, check_sender};
use super::reply::{LINE_BYTES_MAX, REPLY_BYTES_MAX};
use super::*;
use postino_types::{Address, DsnWish, Notify, Orcpt, Ret, ReversePath};
use proptest::prelude::*;

fn address(s: &str) -> Address {
    Address::from_bytes(s.as_bytes()).unwrap()
}

fn recipient(s: &str) -> TransactionRecipient {
    TransactionRecipient { address: address(s), notify: Notify::default(), original: None }
}

fn transaction(recipients: &[&str]) -> Transaction {
    Transaction {
        sender: ReversePath::from_bytes(b"s@a.test").unwrap(),
        recipients: recipients.iter().map(|r| recipient(r)).collect(),
        size_bytes: 100,
        eight_bit: false,
        utf8: false,
        dsn: DsnWish::default(),
    }
}

fn options(tls: TlsWish) -> Options {
    Options { helo: "me.test".into(), tls, login: Login::No }
}

fn with_login() -> Options {
    let credentials = Credentials { user: "u".into(), password: "p".into() };
    Options { helo: "me.test".into(), tls: TlsWish::Required, login: Login::With(credentials) }
}

/// Runs a whole conversation: `server` holds what the server says after each thing that the client sent. Every reply is cut at `cut`
/// (0 = whole). Lines that the client sent, events met, the progress.
struct Run {
    sent: Vec<String>,
    events: Vec<String>,
    progress: Progress,
    error: Option<ProtocolError>,
    session: Session,
}

fn run(options: Options, server: &[&str], work: &Transaction, cut: usize) -> Run {
    let mut session = Session::new(options);
    let mut script = server.iter();
    let mut run =
        Run { sent: Vec::new(), events: Vec::new(), progress: Progress::default(), error: None, session: Session::new(options_none()) };
    let mut waiting: Vec<u8> = script.next().map(|s| s.as_bytes().to_vec()).unwrap_or_default();
    loop {
        if !session.output().is_empty() {
            run.sent.push(String::from_utf8(session.output().to_vec()).unwrap());
            session.output_sent();
            waiting.extend_from_slice(script.next().unwrap_or(&"").as_bytes());
        }
        match session.next_event() {
            Err(error) => {
                run.error = Some(error);
                break;
            }
            Ok(Some(event)) => {
                run.events.push(match &event {
                    Event::Refused(r) => format!("Refused({:?}, {})", r.stage, r.reply.code),
                    other => format!("{other:?}"),
                });
                match event {
                    Event::StartTls => session.tls_established(),
                    Event::Ready => {
                        if let Err(error) = session.begin(work) {
                            run.error = Some(error);
                            break;
                        }
                    }
                    Event::SendBody => {
                        run.sent.push("<body>".into());
                        session.body_sent();
                        waiting.extend_from_slice(script.next().unwrap_or(&"").as_bytes());
                    }
                    Event::Done | Event::Refused(_) => break,
                }
            }
            Ok(None) if !session.output().is_empty() => {}
            Ok(None) => {
                if waiting.is_empty() {
                    break; // the server closed
                }
                let n = if cut == 0 { waiting.len() } else { cut.min(waiting.len()) };
                let piece: Vec<u8> = waiting.drain(..n).collect();
                session.receive(&piece);
            }
        }
    }
    run.progress = session.take_progress();
    run.session = session;
    run
}

fn options_none() -> Options {
    options(TlsWish::Never)
}

const PIPELINING: &str = "250-mx.test hi\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES\r\n";

#[test]
fn pipelined_transaction_is_one_write_a_group_at_every_cut() {
    for cut in 0..40 {
        let server = ["220-hello\r\n220 there\r\n", PIPELINING, "250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n", "250 2.0.0 queued\r\n"];
        let r = run(options_none(), &server, &transaction(&["r@b.test", "x@b.test"]), cut);
        assert_eq!(
            r.sent,
            ["EHLO me.test\r\n", "MAIL FROM:<s@a.test> SIZE=100\r\nRCPT TO:<r@b.test>\r\nRCPT TO:<x@b.test>\r\nDATA\r\n", "<body>"]
        );
        assert_eq!(r.events, ["Ready", "SendBody", "Done"]);
        assert!(r.progress.recipients[0].as_ref().unwrap().is_positive());
        assert_eq!(r.progress.recipients[1].as_ref().unwrap().enhanced().unwrap().to_string(), "5.1.1");
        assert_eq!(r.progress.end.as_ref().unwrap().text, "250 2.0.0 queued\n");
        assert!(r.session.is_reusable());
    }
}

#[test]
fn without_pipelining_one_command_a_write() {
    let server = ["220 hi\r\n", "500 what\r\n", "250 hi\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n", "250 done\r\n"];
    for cut in 0..6 {
        let r = run(options_none(), &server, &transaction(&["r@b.test"]), cut);
        let expected = ["EHLO me.test\r\n", "HELO me.test\r\n", "MAIL FROM:<s@a.test>\r\n", "RCPT TO:<r@b.test>\r\n", "DATA\r\n", "<body>"];
        assert_eq!(r.sent, expected);
        assert_eq!(r.events, ["Ready", "SendBody", "Done"]);
    }
}

#[test]
fn refused_sender_ends_the_transaction_without_rcpt() {
    let server = ["220 hi\r\n", "250 hi\r\n", "550 5.7.1 no\r\n"];
    let r = run(options_none(), &server, &transaction(&["r@b.test"]), 0);
    assert_eq!(r.sent.last().unwrap(), "MAIL FROM:<s@a.test>\r\n");
    assert_eq!(r.events, ["Ready", "Done"]);
    assert_eq!(r.progress.recipients, [None]);
}

#[test]
fn all_recipients_refused_no_data_and_a_reset_before_the_next() {
    let server = ["220 hi\r\n", "250 hi\r\n", "250 ok\r\n", "550 no\r\n"];
    let mut r = run(options_none(), &server, &transaction(&["r@b.test"]), 0);
    assert_eq!(r.events, ["Ready", "Done"]);
    assert!(r.session.is_reusable());
    r.session.begin(&transaction(&["y@b.test"])).unwrap();
    assert_eq!(r.session.output(), b"RSET\r\n");
    r.session.output_sent();
    r.session.receive(b"250 ok\r\n");
    assert_eq!(r.session.next_event(), Ok(None));
    assert_eq!(r.session.output(), b"MAIL FROM:<s@a.test>\r\n");
}

#[test]
fn pipelined_354_for_nobody_gets_an_empty_message_and_no_body() {
    let server = ["220 hi\r\n", PIPELINING, "250 ok\r\n550 no\r\n354 go\r\n", "250 swallowed\r\n"];
    let r = run(options_none(), &server, &transaction(&["r@b.test"]), 0);
    assert_eq!(r.sent.last().unwrap(), ".\r\n");
    assert_eq!(r.events, ["Ready", "Done"]);
    assert!(r.progress.end.is_none());
}

#[test]
fn dsn_size_and_body_parameters_only_where_offered() {
    let mut t = transaction(&["r@b.test", "n@b.test"]);
    t.eight_bit = true;
    t.dsn = DsnWish { ret: Ret::Headers, envid: Some(b"a+b=c d".to_vec()) };
    t.recipients[0].notify = Notify { explicit: true, success: true, failure: true, delay: false };
    t.recipients[0].original = Some(Orcpt { kind: "rfc822".into(), address: b"o+x@z".to_vec() });
    t.recipients[1].notify = Notify::NEVER;
    t.recipients[1].original = Some(Orcpt { kind: "utf-8".into(), address: "\u{e4}+@z".as_bytes().to_vec() });
    let r = run(options_none(), &["220 hi\r\n", PIPELINING], &t, 0);
    assert_eq!(
        r.sent[1],
        "MAIL FROM:<s@a.test> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=a+2Bb+3Dc+20d\r\n\
         RCPT TO:<r@b.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o+2Bx@z\r\n\
         RCPT TO:<n@b.test> NOTIFY=NEVER ORCPT=utf-8;\\x{E4}\\x{2B}@z\r\n\
         DATA\r\n"
    );
    let r = run(options_none(), &["220 hi\r\n", "250-x\r\n250 PIPELINING\r\n"], &t, 0);
    assert_eq!(r.sent[1], "MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nRCPT TO:<n@b.test>\r\nDATA\r\n");
}

#[test]
fn smtputf8_is_asked_for_when_needed() {
    let mut t = transaction(&["\u{e4}@b.test"]);
    t.utf8 = true;
    let r = run(options_none(), &["220 hi\r\n", "250-x\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n", "250 ok\r\n"], &t, 0);
    assert_eq!(r.sent[1], "MAIL FROM:<s@a.test> BODY=8BITMIME SMTPUTF8\r\n");
    assert_eq!(r.sent[2], "RCPT TO:<\u{e4}@b.test>\r\n");
}

#[test]
fn starttls_forgets_what_was_offered_in_clear() {
    let server = ["220 hi\r\n", "250-x\r\n250-PIPELINING\r\n250 STARTTLS\r\n", "220 go\r\n", "250 x\r\n", "250 ok\r\n"];
    for cut in 0..6 {
        let r = run(options(TlsWish::Opportunistic), &server, &transaction(&["r@b.test"]), cut);
        assert_eq!(r.events[..2], ["StartTls", "Ready"]);
        assert_eq!(r.sent[..4], ["EHLO me.test\r\n", "STARTTLS\r\n", "EHLO me.test\r\n", "MAIL FROM:<s@a.test>\r\n"]);
        assert!(!r.session.capabilities().pipelining);
    }
}

#[test]
fn bytes_behind_the_starttls_reply_end_the_session() {
    // CVE-2021-38371: the injected reply must not be taken for the one to EHLO under TLS.
    for tail in ["250 injected\r\n", "2", "220 x\r\n"] {
        let reply = format!("220 go\r\n{tail}");
        let server = ["220 hi\r\n", "250-x\r\n250 STARTTLS\r\n", reply.as_str()];
        let r = run(options(TlsWish::Opportunistic), &server, &transaction(&["r@b.test"]), 0);
        assert_eq!(r.error, Some(ProtocolError::StartTlsInjection));
        assert!(r.events.is_empty());
    }
}

#[test]
fn refused_starttls_goes_on_in_clear_unless_required() {
    let server = ["220 hi\r\n", "250-x\r\n250 STARTTLS\r\n", "454 not now\r\n", "250 ok\r\n"];
    let r = run(options(TlsWish::Opportunistic), &server, &transaction(&["r@b.test"]), 0);
    assert_eq!(r.events, ["Ready"]);
    let r = run(options(TlsWish::Required), &server, &transaction(&["r@b.test"]), 0);
    assert_eq!(r.events, ["Refused(StartTls, 454)"]);
    let r = run(options(TlsWish::Required), &["220 hi\r\n", "250 x\r\n"], &transaction(&["r@b.test"]), 0);
    assert_eq!(r.events, ["Refused(TlsNotOffered, 250)"]);
}

#[test]
fn login_only_under_tls_plain_before_login() {
    let t = transaction(&["r@b.test"]);
    // Offered in clear: the password stays home.
    let r = run(with_login(), &["220 hi\r\n", "250-x\r\n250 AUTH PLAIN LOGIN\r\n"], &t, 0);
    assert_eq!(r.events, ["Refused(TlsNotOffered, 250)"]);
    assert_eq!(r.sent, ["EHLO me.test\r\n"]);
    let tls = ["220 hi\r\n", "250-x\r\n250 STARTTLS\r\n", "220 go\r\n"];
    let script = |rest: &[&'static str]| [&tls[..], rest].concat();
    let r = run(with_login(), &script(&["250-x\r\n250 AUTH LOGIN PLAIN\r\n", "235 ok\r\n"]), &t, 0);
    assert_eq!(r.sent[3], "AUTH PLAIN AHUAcA==\r\n");
    assert_eq!(r.events, ["StartTls", "Ready"]);
    let r = run(with_login(), &script(&["250-x\r\n250 AUTH=LOGIN\r\n", "334 VXNlcm5hbWU6\r\n", "334 x\r\n", "235 ok\r\n"]), &t, 0);
    assert_eq!(r.sent[3..6], ["AUTH LOGIN\r\n", "dQ==\r\n", "cA==\r\n"]);
    assert_eq!(r.events, ["StartTls", "Ready"]);
    let r = run(with_login(), &script(&["250-x\r\n250 AUTH LOGIN PLAIN\r\n", "535 5.7.8 no\r\n"]), &t, 0);
    assert_eq!(r.events, ["StartTls", "Refused(Auth, 535)"]);
    let r = run(with_login(), &script(&["250-x\r\n250 AUTH CRAM-MD5\r\n"]), &t, 0);
    assert_eq!(r.events, ["StartTls", "Refused(AuthNotOffered, 250)"]);
    assert!(!format!("{:?}", with_login()).contains("\"p\""));
}

#[test]
fn replies_to_nothing_break_the_session() {
    let t = transaction(&["r@b.test"]);
    // Two greetings; an answer to RCPT before RCPT; a "250" behind 354 that would pass for the end of the message.
    let r = run(options_none(), &["220 hi\r\n250 me too\r\n"], &t, 0);
    assert_eq!(r.error, Some(ProtocolError::Unexpected));
    let r = run(options_none(), &["220 hi\r\n", "250 x\r\n", "250 ok\r\n250 ok\r\n"], &t, 0);
    assert_eq!(r.error, Some(ProtocolError::Unexpected));
    let r = run(options_none(), &["220 hi\r\n", PIPELINING, "250 ok\r\n250 ok\r\n354 go\r\n250 accepted\r\n"], &t, 0);
    assert_eq!(r.error, Some(ProtocolError::Unexpected));
    assert!(r.progress.end.is_none());
}

#[test]
fn a_421_behind_the_acceptance_keeps_it_but_not_the_connection() {
    let server = ["220 hi\r\n", PIPELINING, "250 ok\r\n250 ok\r\n354 go\r\n", "250 done\r\n421 bye\r\n"];
    let r = run(options_none(), &server, &transaction(&["r@b.test"]), 0);
    assert!(r.progress.end.as_ref().unwrap().is_positive());
    assert!(!r.session.is_reusable());
}

#[test]
fn refusals_before_the_first_transaction() {
    let t = transaction(&["r@b.test"]);
    assert_eq!(run(options_none(), &["554 go away\r\n"], &t, 0).events, ["Refused(Greeting, 554)"]);
    assert_eq!(run(options_none(), &["250 odd\r\n"], &t, 0).events, ["Refused(Greeting, 250)"]);
    assert_eq!(run(options_none(), &["220 hi\r\n", "421 busy\r\n"], &t, 0).events, ["Refused(Hello, 421)"]);
    assert_eq!(run(options_none(), &["220 hi\r\n", "550 a\r\n", "550 b\r\n"], &t, 0).events, ["Refused(Hello, 550)"]);
}

#[test]
fn bad_codes_and_separators_are_errors_not_panics() {
    for (bytes, error) in [
        ("hello\r\n", ReplyError::BadCode),
        ("\r\n", ReplyError::BadCode),
        ("25\r\n", ReplyError::BadCode),
        ("099 x\r\n", ReplyError::BadCode),
        ("600 x\r\n", ReplyError::BadCode),
        ("150 x\r\n", ReplyError::BadCode),
        ("2\u{b2}0 x\r\n", ReplyError::BadCode),
        ("250x\r\n", ReplyError::BadSeparator),
        ("2500 x\r\n", ReplyError::BadSeparator),
        ("250-a\r\n550 b\r\n", ReplyError::CodeChanged),
    ] {
        assert_eq!(ReplyReader::default().feed(bytes.as_bytes()), Err(error), "{bytes:?}");
    }
    for good in ["250\r\n", "250 \n", "250-\r\n250\n"] {
        assert_eq!(ReplyReader::default().feed(good.as_bytes()).unwrap().1.unwrap().code, 250);
    }
}

#[test]
fn long_replies_are_cut_and_counted_in_bounded_memory() {
    let mut reader = ReplyReader::default();
    let many: String = (0..499).map(|n| format!("550-line {n}\r\n")).collect::<String>() + "550 end\r\n";
    let reply = reader.feed(many.as_bytes()).unwrap().1.unwrap();
    assert_eq!(reply.code, 550);
    assert!(reply.text.len() <= REPLY_BYTES_MAX);
    assert!(reply.text.starts_with("550-line 0\n550-line 1\n"));
    assert!(reply.dropped_bytes > 1000);
    let long = format!("550 {}\r\n", "x".repeat(100_000));
    let reply = reader.feed(long.as_bytes()).unwrap().1.unwrap();
    assert_eq!(reply.text.len(), LINE_BYTES_MAX + 1);
    assert!(reply.dropped_bytes >= 100_000 - 4096);
    assert!(!reader.is_within_reply());
    let endless = "250-again and again\r\n".repeat(1000);
    let error = std::iter::repeat_n(endless.as_bytes(), 1000).find_map(|part| reader.feed(part).err());
    assert_eq!(error, Some(ReplyError::Endless));
}

#[test]
fn reply_texts_hold_no_control_bytes() {
    let bytes = b"550-a\x1b[2Jb\0\x07\r\r\n550 \xc3\xa4 tab\there\r\n";
    let reply = ReplyReader::default().feed(bytes).unwrap().1.unwrap();
    assert_eq!(reply.text, "550-a?[2Jb??\n550 ?? tab?here\n");
}

#[test]
fn addresses_cannot_inject_commands() {
    for bad in ["a\r\nRCPT TO:<v@w>@b", "a@b\r\nDATA", "a\n@b", "a\x7f@b", "a\t@b", "a@b> NOTIFY=NEVER", "a@b c", "a@b:c", "a@[1.2.3.4]x]"]
    {
        assert!(check_recipient(&address(bad)).is_err(), "{bad:?}");
        assert!(check_sender(&ReversePath::from_bytes(bad.as_bytes()).unwrap()).is_err(), "{bad:?}");
    }
    assert_eq!(check_recipient(&address("nohost")), Err(AddressFault::NoHost));
    assert_eq!(check_recipient(&address("nohost@")), Err(AddressFault::NoHost));
    for good in ["a b@c", "\"x\\@y\"@c", "a>b@c.d", "a@[127.0.0.1]", "a@[IPv6:::1]", "\u{e4}@b\u{fc}.x", "a@b_c"] {
        assert_eq!(check_recipient(&address(good)), Ok(()), "{good:?}");
    }
    assert_eq!(check_sender(&ReversePath::DoubleBounce), Ok(()));
    assert_eq!(check_sender(&ReversePath::from_bytes(b"root").unwrap()), Ok(()));
    let r = run(options_none(), &["220 hi\r\n", PIPELINING], &transaction(&["a>b c@x.y"]), 0);
    assert!(r.sent[1].contains("RCPT TO:<\"a>b c\"@x.y>\r\n"));
}

#[test]
fn our_name_cannot_inject_either() {
    let mut o = options_none();
    o.helo = "evil\r\nMAIL FROM:<x>".into();
    assert_eq!(run(o.clone(), &["220 hi\r\n"], &transaction(&["r@b"]), 0).sent, ["EHLO evilMAILFROM:x\r\n"]);
    o.helo = " \r\n".into();
    assert_eq!(run(o, &["220 hi\r\n"], &transaction(&["r@b"]), 0).sent, ["EHLO localhost\r\n"]);
}

#[test]
fn a_broken_body_can_still_be_refused_but_not_accepted() {
    let mut session = Session::new(options_none());
    for step in ["220 hi\r\n", PIPELINING] {
        session.receive(step.as_bytes());
        session.next_event().unwrap();
        session.output_sent();
    }
    session.begin(&transaction(&["r@b"])).unwrap();
    session.output_sent();
    session.receive(b"250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(session.next_event(), Ok(Some(Event::SendBody)));
    session.body_broken();
    session.receive(b"250 fine\r\n");
    assert_eq!(session.next_event(), Ok(Some(Event::Done)));
    let progress = session.take_progress();
    assert!(progress.end.is_some() && !progress.dot_sent);
}

#[test]
fn many_recipients_are_sent_in_bounded_flights() {
    let names: Vec<String> = (0..3000).map(|n| format!("recipient-{n}@b.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut session = Session::new(options_none());
    session.receive(b"220 hi\r\n");
    session.next_event().unwrap();
    session.output_sent();
    session.receive(PIPELINING.as_bytes());
    assert_eq!(session.next_event(), Ok(Some(Event::Ready)));
    session.begin(&transaction(&names)).unwrap();
    let mut commands = 0;
    loop {
        let flight = session.output().to_vec();
        session.output_sent();
        assert!(flight.len() < 33 * 1024);
        let lines = flight.iter().filter(|&&b| b == b'\n').count();
        commands += lines;
        let last = flight.ends_with(b"DATA\r\n");
        session.receive("250 ok\r\n".repeat(lines - usize::from(last)).as_bytes());
        if last {
            break;
        }
        assert_eq!(session.next_event(), Ok(None));
    }
    assert_eq!(commands, 3002);
}

fn encode(chunks: &[&[u8]]) -> Vec<u8> {
    let mut encoder = BodyEncoder::new();
    let mut out = Vec::new();
    for chunk in chunks {
        encoder.encode(chunk, &mut out);
    }
    encoder.finish(&mut out);
    out
}

#[test]
fn encoder_examples() {
    assert_eq!(encode(&[b""]), b".\r\n");
    assert_eq!(encode(&[b"a\n.\nb"]), b"a\r\n..\r\nb\r\n.\r\n");
    assert_eq!(encode(&[b"a\r\nb\rc\r\r\n"]), b"a\r\nb\r\nc\r\n\r\n.\r\n");
    assert_eq!(encode(&[b"a\r", b"\nb\r", b".c\n"]), b"a\r\nb\r\n..c\r\n.\r\n");
    // 2021-38189, 2023-51764 and kin: spellings of an end of data that some receivers take for one.
    for smuggle in [&b"x\n.\r\nMAIL"[..], b"x\r.\rMAIL", b"x\r\n.\nMAIL", b"x\r\n.\rMAIL", b"x\n.\nMAIL", b"x\r.\nMAIL", b"x\r.\r\nMAIL"] {
        assert_eq!(encode(&[smuggle]), b"x\r\n..\r\nMAIL\r\n.\r\n", "{smuggle:?}");
    }
}

/// What a receiver makes of it: checks the line ends, takes out the dots.
fn decode(wire: &[u8]) -> Vec<u8> {
    let mut rest = wire;
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").expect("every line ends with CRLF");
        let (line, tail) = (&rest[..end], &rest[end + 2..]);
        assert!(!line.contains(&b'\r') && !line.contains(&b'\n'), "bare CR or LF");
        if line == b"." {
            assert!(tail.is_empty(), "end of data in the middle");
            return out;
        }
        out.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        out.push(b'\n');
        rest = tail;
    }
}

/// The stored form of what arrives: CR, LF and CRLF are one LF, the last line is ended.
fn normal(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = input.iter().peekable();
    while let Some(&b) = bytes.next() {
        if b == b'\r' {
            bytes.next_if(|&&n| n == b'\n');
        }
        out.push(if b == b'\r' { b'\n' } else { b });
    }
    if out.last().is_some_and(|&b| b != b'\n') {
        out.push(b'\n');
    }
    out
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => Just(b'.'), 3 => Just(b'\r'), 3 => Just(b'\n'), 2 => any::<u8>()];
    proptest::collection::vec(byte, 0..200)
}

proptest! {
    #[test]
    fn encoded_bodies_decode_to_the_same_lines(input in body(), cuts in proptest::collection::vec(0usize..200, 0..6)) {
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(input.len())).collect();
        cuts.sort_unstable();
        let mut chunks = Vec::new();
        let mut from = 0;
        for cut in cuts {
            chunks.push(&input[from..cut]);
            from = cut;
        }
        chunks.push(&input[from..]);
        let wire = encode(&chunks);
        prop_assert_eq!(&wire, &encode(&[&input]));
        prop_assert_eq!(decode(&wire), normal(&input));
    }

    #[test]
    fn no_bytes_make_the_session_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 1usize..20) {
        let mut session = Session::new(options(TlsWish::Opportunistic));
        for piece in bytes.chunks(cut) {
            session.receive(piece);
            if session.next_event().is_err() {
                break;
            }
            session.output_sent();
        }
    }
}
