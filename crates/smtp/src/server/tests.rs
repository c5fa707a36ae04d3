//! Tests of the pure session: order of commands, limits, time, AUTH, BDAT. The shell is played by a few lines that say yes.

use super::*;
use crate::reply::Reply;
use postino_sasl::scram::Keys;
use postino_types::{ScramHash, Secret};

const ZERO: Duration = Duration::ZERO;

fn settings() -> Settings {
    Settings {
        greeting: "mx.test".into(),
        door: Door::Exchange,
        tls: Tls::Offered,
        mechanisms: postino_sasl::Offered::from_words(["SCRAM-SHA-256 SCRAM-SHA-256-PLUS"]).unwrap(),
        etrn: false,
        limits: Limits {
            message_bytes_max: 1000,
            line_bytes_max: 512,
            recipients_max: 3,
            commands_max: 100,
            errors_max: 5,
            unknown_recipients_max: 2,
            hops_max: 10,
            idle_before_mail: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            session: Duration::from_secs(3600),
        },
    }
}

/// A session with a shell that takes everything but what its name says.
struct Play {
    session: Session,
    input: Vec<u8>,
    now: Duration,
    body: Vec<u8>,
    messages: Vec<Vec<u8>>,
    logins: Vec<Attempt>,
    closed: Option<CloseReason>,
    turned: bool,
    begin: Result<(), Reply>,
}

impl Play {
    fn new(settings: Settings) -> Self {
        Self {
            session: Session::new(settings, ZERO),
            input: Vec::new(),
            now: ZERO,
            body: Vec::new(),
            messages: Vec::new(),
            logins: Vec::new(),
            closed: None,
            turned: false,
            begin: Ok(()),
        }
    }

    /// Hands bytes in; the codes of the replies that come out.
    fn codes(&mut self, bytes: impl AsRef<[u8]>) -> Vec<u16> {
        self.send(bytes);
        let text = String::from_utf8(self.session.output().to_vec()).unwrap();
        self.session.output_written();
        text.lines().filter(|l| l.as_bytes()[3] == b' ').map(|l| l[..3].parse().unwrap()).collect()
    }

    fn text(&mut self, bytes: impl AsRef<[u8]>) -> String {
        self.send(bytes);
        let text = String::from_utf8(self.session.output().to_vec()).unwrap();
        self.session.output_written();
        text
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.input.extend_from_slice(bytes.as_ref());
        while self.closed.is_none() {
            let step = self.session.step(&mut self.input, self.now);
            let used = step.consumed;
            match step.action {
                Action::Input => {
                    self.input.drain(..used);
                    return;
                }
                Action::Body(range) => self.body.extend_from_slice(&self.input[range]),
                Action::Mail(_) => self.session.mail_answer(Ok(())),
                Action::Rcpt(rcpt) => self.session.rcpt_answer(if rcpt.address.local() == b"nobody" {
                    RcptAnswer::Unknown(Reply::new(550, (5, 1, 1), "no"))
                } else {
                    RcptAnswer::Accepted
                }),
                Action::Begin { .. } => self.session.begin_answer(self.begin.clone()),
                Action::MessageEnd => {
                    self.messages.push(std::mem::take(&mut self.body));
                    self.session.message_answer(&replies::OK);
                }
                Action::ContentRefused(_) | Action::Reset => self.body.clear(),
                Action::Authenticate(attempt) => {
                    let answer = match &attempt.secret {
                        Secret::Plain(password) if password == b"good" => AuthAnswer::Granted("joe".into()),
                        Secret::Plain(password) if password == b"away" => AuthAnswer::Unavailable,
                        Secret::Scram { hash, message, proof } if keys().proves(*hash, message, proof) => {
                            AuthAnswer::Granted("user".into())
                        }
                        _ => AuthAnswer::Denied,
                    };
                    self.logins.push(*attempt);
                    self.session.auth_answer(answer);
                }
                Action::Ask(question) => {
                    let answer = match *question {
                        Question::Stamp => Some(SaslAnswer::Stamp(b"<1.2@mx.test>".to_vec())),
                        Question::Scram { login, .. } => (login == b"user").then(|| SaslAnswer::Scram(facts())),
                    };
                    self.session.auth_facts(answer);
                }
                Action::Etrn(node) => self.session.etrn_answer(match node.as_slice() {
                    b"three.test" => EtrnAnswer::Started(3),
                    b"none.test" => EtrnAnswer::Started(0),
                    b"#queue" => EtrnAnswer::UnderWay,
                    b"@busy.test" => EtrnAnswer::Unavailable,
                    _ => EtrnAnswer::NotAllowed,
                }),
                Action::Atrn(domains) => self.session.atrn_answer(match domains.as_slice() {
                    b"" | b"mine.test" | b"mine.test,also.test" => AtrnAnswer::Granted,
                    b"empty.test" => AtrnAnswer::NoMail,
                    b"busy.test" => AtrnAnswer::Unavailable,
                    _ => AtrnAnswer::NotAllowed,
                }),
                Action::Turn => {
                    self.turned = true;
                    self.input.drain(..used);
                    return;
                }
                Action::StartTls => self.session.tls_started(),
                Action::Flush => {}
                Action::Close(reason) => self.closed = Some(reason),
            }
            self.input.drain(..used);
        }
    }

    /// Banner and EHLO done.
    fn greeted(settings: Settings) -> Self {
        let mut play = Self::new(settings);
        assert_eq!(play.codes("EHLO c.test\r\n"), [220, 250]);
        play
    }

    /// Under TLS, EHLO said.
    fn encrypted() -> Self {
        Self::greeted(Settings { tls: Tls::Active, ..settings() })
    }

    fn ready() -> Self {
        let mut play = Self::greeted(settings());
        assert_eq!(play.codes("MAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\n"), [250, 250]);
        play
    }
}

#[test]
fn order_of_commands() {
    let mut play = Play::new(settings());
    assert_eq!(play.codes("MAIL FROM:<a@b>\r\n"), [220, 503]);
    assert_eq!(play.codes("HELO c\r\nRCPT TO:<a@b>\r\nDATA\r\n"), [250, 503, 503]);
    assert_eq!(play.codes("MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\n"), [250, 503]);
    assert_eq!(play.codes("DATA\r\n"), [554]);
    assert_eq!(play.codes("RCPT TO:<a@b>\r\nRSET\r\nRCPT TO:<a@b>\r\n"), [250, 250, 421]);
    assert!(play.closed.is_some(), "the sixth error is the last");
}

#[test]
fn ehlo_lists_what_is_there() {
    let text = Play::new(settings()).text("EHLO x\r\n");
    for word in ["PIPELINING", "SIZE 1000", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN", "HELP", "STARTTLS"] {
        assert!(text.lines().any(|l| l.get(4..) == Some(word)), "{word} in {text}");
    }
    assert!(!text.contains("AUTH"), "never in the clear");
    let text = Play::new(Settings { tls: Tls::Active, ..settings() }).text("EHLO x\r\n");
    assert!(text.contains("AUTH PLAIN LOGIN") && !text.contains("STARTTLS"), "{text}");
    assert_eq!(Play::new(settings()).text("HELO x\r\n"), "220 mx.test ESMTP\r\n250 mx.test\r\n");
}

#[test]
fn pipelined_transactions() {
    let mut play = Play::new(settings());
    let all = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\none\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n..two\r\n.\r\nQUIT\r\nNOOP\r\n";
    assert_eq!(play.codes(all), [220, 250, 250, 250, 354, 250, 250, 250, 354, 250, 221]);
    assert_eq!(play.messages, [b"one\n".to_vec(), b".two\n".to_vec()]);
    assert_eq!(play.closed, Some(CloseReason::Quit));
}

#[test]
fn refused_data_with_content_behind_it_ends_the_session() {
    let mut play = Play::greeted(settings());
    let codes = play.codes("MAIL FROM:<>\r\nRCPT TO:<nobody@b>\r\nDATA\r\nMAIL FROM:<evil@x>\r\n.\r\n");
    assert_eq!(codes, [250, 550, 554, 421]);
    assert_eq!(play.closed, Some(CloseReason::Errors));
    let mut play = Play::ready();
    play.begin = Err(Reply::new(452, (4, 3, 1), "full"));
    assert_eq!(play.codes("DATA\r\nQUIT\r\n"), [452, 421]);
}

#[test]
fn bare_line_ends_are_refused_at_the_true_end() {
    for (content, code) in [("a\nb\r\n", 550), ("a\rb\r\n", 550), ("a\r\n.\nMAIL FROM:<x@y>\r\n", 550), ("\n.\n", 550), ("a\0b\r\n", 250)] {
        let mut play = Play::ready();
        let mut wire = format!("DATA\r\n{content}").into_bytes();
        wire.extend_from_slice(if content.ends_with("\r\n") { b".\r\nNOOP\r\n" } else { b"\r\n.\r\nNOOP\r\n" });
        assert_eq!(play.codes(wire), [354, code, 250], "{content:?}");
        assert_eq!(play.messages.len(), usize::from(code == 250), "{content:?}");
    }
}

#[test]
fn size_and_hops() {
    let mut play = Play::greeted(settings());
    assert_eq!(play.codes("MAIL FROM:<> SIZE=1001\r\nMAIL FROM:<> SIZE=1000\r\nRCPT TO:<a@b>\r\nDATA\r\n"), [552, 250, 250, 354]);
    let exact = format!("{}\r\n", "x".repeat(99)).repeat(10);
    assert_eq!(play.codes(format!("{exact}.\r\n")), [250], "exactly the limit is taken");
    let mut play = Play::ready();
    assert_eq!(play.codes(format!("DATA\r\n{exact}y\r\n.\r\nNOOP\r\n")), [354, 552, 250]);
    assert!(play.messages.is_empty());
    let mut play = Play::ready();
    let hops = "Received: x\r\n".repeat(10);
    assert_eq!(play.codes(format!("DATA\r\n{hops}\r\n.\r\n")), [354, 554]);
    let mut play = Play::ready();
    let hops = "Received: x\r\n".repeat(9);
    assert_eq!(play.codes(format!("DATA\r\n{hops}\r\nReceived: in the body\r\n.\r\n")), [354, 250]);
}

#[test]
fn bdat() {
    let mut play = Play::ready();
    assert_eq!(play.codes("BDAT 3\r\na\r\nBDAT 4\r\n.\r\nbBDAT 0 LAST\r\n"), [250, 250, 250]);
    assert_eq!(play.messages, [b"a\n.\nb".to_vec()]);
    // Without MAIL the chunk is passed over, commands in it are not.
    assert_eq!(play.codes("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), [503, 250]);
    let mut play = Play::ready();
    assert_eq!(play.codes("BDAT 3\r\na\r\nDATA\r\n"), [250, 503]);
    assert_eq!(play.codes("RCPT TO:<a@b>\r\nMAIL FROM:<>\r\nRSET\r\nBDAT 2 LAST\r\n\r\n"), [503, 503, 250, 503]);
    assert!(play.messages.is_empty());
    let mut play = Play::ready();
    assert_eq!(play.codes("BDAT 3\r\na\nbBDAT 2 LAST\r\n\r\nNOOP\r\n"), [550, 550, 250]);
    assert!(play.messages.is_empty());
    assert_eq!(play.codes("BDAT 2 LAST\r\n\r\n"), [503], "the transaction is over");
    let mut play = Play::ready();
    assert_eq!(play.codes("BDAT 5 FOO\r\nQUIT\nNOOP\r\nBDAT 2\r\na\rBDAT 1 LAST\r\n\n"), [501, 250, 250, 250]);
    assert_eq!(play.messages, [b"a\n".to_vec()], "a CRLF split over chunks");
    let mut play = Play::ready();
    assert_eq!(play.codes("BDAT 99999999999999999999 LAST\r\nMAIL FROM:<>\r\n"), [501]);
    assert_eq!(play.closed, Some(CloseReason::Errors), "nobody knows where the next command is");
    let mut play = Play::ready();
    play.begin = Err(Reply::new(452, (4, 3, 1), "full"));
    assert_eq!(play.codes("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), [452, 250]);
    let mut play = Play::greeted(settings());
    assert_eq!(play.codes("MAIL FROM:<>\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"), [250, 554, 250]);
}

#[test]
fn starttls_forgets_and_drops() {
    let mut play = Play::ready();
    assert_eq!(play.codes("STARTTLS\r\nMAIL FROM:<evil@x>\r\nRCPT TO:<a@b>\r\n"), [220]);
    assert!(play.input.is_empty(), "bytes sent in the clear are gone");
    assert_eq!(play.codes("RCPT TO:<a@b>\r\n"), [503], "the transaction is gone");
    assert_eq!(play.codes("MAIL FROM:<a@b>\r\n"), [503], "HELO is gone");
    assert_eq!(play.codes("EHLO c\r\nSTARTTLS\r\n"), [250, 503]);
    let mut play = Play::new(Settings { tls: Tls::Unavailable, ..settings() });
    assert_eq!(play.codes("STARTTLS\r\n"), [220, 502]);
}

#[test]
fn auth_exchanges() {
    let mut play = Play::encrypted();
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\n"), [235]);
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\n"), [503]);
    assert_eq!(play.session.login(), Some("joe"));
    let mut play = Play::encrypted();
    assert_eq!(play.text("AUTH LOGIN\r\nam9l\r\nZ29vZA==\r\n"), "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n235 2.7.0 welcome\r\n");
    let mut play = Play::encrypted();
    assert_eq!(play.codes("AUTH LOGIN am9l\r\nYmFk\r\nAUTH PLAIN\r\nAGpvZQBnb29k\r\n"), [334, 535, 334, 235]);
    assert_eq!(play.logins[0], Attempt { login: b"joe".to_vec(), secret: Secret::Plain(b"bad".to_vec()) });
}

/// The account of RFC 7677 3.
fn keys() -> Keys {
    Keys::derive(ScramHash::Sha256, b"pencil", &facts_salt(), 4096)
}

fn facts_salt() -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap()
}

fn facts() -> ScramFacts {
    let nonce = b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_vec();
    ScramFacts { nonce, salt: facts_salt(), iterations: 4096, server_key: keys().server, binding: None }
}

/// n,,n=user,r=rOprNGfwEbeRWgbNEkqO and what follows in RFC 7677 3.
const SCRAM_FIRST: &str = "AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n";
const SCRAM_FINAL: &str = "Yz1iaXdzLHI9ck9wck5HZndFYmVSV2diTkVrcU8laHZZRHBXVWEyUmFUQ0FmdXhGSWxqKWhObEYkazAscD1kSHpiWmFwV0lrNGpVaE4rVXRlOXl0YWc5empmTUhnc3FtbWl6N0FuZFZRPQ==\r\n";

#[test]
fn scram_ends_with_the_servers_proof() {
    let mut play = Play::encrypted();
    assert!(play.text(SCRAM_FIRST).starts_with("334 cj1yT3ByTkdmd0ViZVJXZ2JORWtxTyVo"));
    assert_eq!(play.text(SCRAM_FINAL), "334 dj02cnJpVFJCaTIzV3BSUi93dHVwK21NaFVaVW4vZEI1bkxUSlJzamw5NUc0PQ==\r\n");
    assert_eq!(play.session.login(), None, "not before the client has seen it");
    assert_eq!(play.codes("\r\n"), [235]);
    assert_eq!(play.session.login(), Some("user"));
    let mut play = Play::encrypted();
    assert_eq!(play.codes([SCRAM_FIRST, SCRAM_FINAL, "*\r\nMAIL FROM:<>\r\n"].concat()), [334, 334, 501, 250]);
    assert_eq!(play.session.login(), None, "given up at the end");
    let wrong = SCRAM_FINAL.replace("dHzb", "AAAA").replace("ZEh6Yl", "QUFBQU");
    assert_eq!(Play::encrypted().codes([SCRAM_FIRST, &wrong].concat())[0], 334);
    // n,,n=eve,r=x: the directory is away
    assert_eq!(Play::encrypted().codes("AUTH SCRAM-SHA-256 biwsbj1ldmUscj14\r\n"), [454]);
}

#[test]
fn cram_md5_and_tokens_only_where_they_are_named() {
    use postino_sasl::Mechanism::{CramMd5, OAuthBearer, Plain};
    let token = "AUTH OAUTHBEARER bixhPXUsAWF1dGg9QmVhcmVyIHQBAQ==\r\n";
    assert_eq!(Play::encrypted().codes(["AUTH CRAM-MD5\r\n", token].concat()), [504, 504]);
    let mechanisms = settings().mechanisms.with(CramMd5).with(OAuthBearer).without(Plain);
    let encrypted = Settings { tls: Tls::Active, mechanisms, ..settings() };
    let mut play = Play::new(encrypted);
    assert!(play.text("EHLO x\r\n").contains("AUTH LOGIN SCRAM-SHA-256-PLUS"));
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\n"), [504]);
    assert_eq!(play.text("AUTH CRAM-MD5\r\n"), "334 PDEuMkBteC50ZXN0Pg==\r\n");
    assert_eq!(play.codes("am9lIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\r\n"), [535]);
    assert_eq!(play.codes(token), [334], "the client hears why, in JSON, and answers");
    assert_eq!(play.codes("AQ==\r\n"), [535]);
}

#[test]
fn auth_refusals() {
    let mut generous = Settings { tls: Tls::Active, ..settings() };
    generous.limits.errors_max = 50;
    let mut play = Play::greeted(generous);
    for (line, code) in [
        ("AUTH PLAIN !!!", 501),
        ("AUTH PLAIN =", 501),
        ("AUTH PLAIN AAA=", 501),
        ("AUTH PLAIN AGpvZQBnb29kAHg=", 501), // four parts
        ("AUTH PLAIN AABnb29k", 501),         // no login
        ("AUTH PLAIN ZXZlAGpvZQBnb29k", 535), // for somebody else
        ("AUTH PLAIN AGpvZQBhd2F5", 454),
        ("AUTH CRAM-MD5", 504),
    ] {
        assert_eq!(play.codes(format!("{line}\r\n")), [code], "{line}");
    }
    assert_eq!(play.codes("AUTH PLAIN\r\n*\r\n"), [334, 501]);
    assert_eq!(play.codes("AUTH LOGIN\r\n*\r\nNOOP\r\n"), [334, 501, 250], "no exchange is left over");
    assert_eq!(play.codes("AUTH LOGIN\r\nNOOP\r\n"), [334, 334], "a line inside an exchange is no command");
    assert_eq!(play.codes("*\r\nMAIL FROM:<>\r\nAUTH PLAIN AGpvZQBnb29k\r\n"), [501, 250, 503]);
    let mut play = Play::greeted(settings());
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\n"), [538]);
    assert!(play.logins.is_empty());
    let mut play = Play::new(Settings { tls: Tls::Active, ..settings() });
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\n"), [220, 503]);
}

#[test]
fn submission_needs_a_login() {
    let mut play = Play::greeted(Settings { door: Door::Submission, ..settings() });
    assert_eq!(play.text("MAIL FROM:<a@b>\r\n"), "530 5.7.0 must issue a STARTTLS command first\r\n");
    let mut play = Play::greeted(Settings { door: Door::Submission, tls: Tls::Active, ..settings() });
    assert_eq!(play.text("MAIL FROM:<a@b>\r\n"), "530 5.7.0 authentication required\r\n");
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\nMAIL FROM:<a@b>\r\n"), [235, 250]);
    assert_eq!(play.session.protocol(), "ESMTPSA");
}

#[test]
fn line_limits_in_bounded_memory() {
    let mut play = Play::greeted(settings());
    assert_eq!(play.codes(format!("NOOP {}\r\n", "x".repeat(505))), [250], "512 with CRLF");
    assert_eq!(play.codes(format!("NOOP {}\r\nNOOP\r\n", "x".repeat(506))), [500, 250]);
    for _ in 0..1000 {
        play.send("y".repeat(600));
        assert!(play.input.len() < 600, "nothing piles up");
    }
    assert_eq!(play.codes("\r\nNOOP\r\n"), [500, 250]);
    let mut play = Play::encrypted();
    assert_eq!(play.codes(format!("AUTH PLAIN {}\r\n", "A".repeat(8000))), [501], "AUTH lines may be long");
    assert_eq!(play.codes(format!("AUTH PLAIN\r\n{}", "A".repeat(13000))), [334]);
    assert_eq!(play.codes("AAA\r\nNOOP\r\n"), [500, 250]);
}

#[test]
fn counted_limits() {
    let mut play = Play::greeted(settings());
    play.codes("MAIL FROM:<>\r\n");
    assert_eq!(play.codes("RCPT TO:<a@b>\r\n".repeat(4)), [250, 250, 250, 452]);
    let mut play = Play::greeted(settings());
    play.codes("MAIL FROM:<>\r\n");
    assert_eq!(play.codes("RCPT TO:<nobody@b>\r\n".repeat(9)), [550, 550, 421]);
    assert_eq!(play.closed, Some(CloseReason::Limit));
    let mut play = Play::greeted(settings());
    assert_eq!(play.codes("XYZZY\r\n".repeat(9)), [500, 500, 500, 500, 500, 421]);
    assert_eq!(play.closed, Some(CloseReason::Errors));
    let mut play = Play::greeted(settings());
    let codes = play.codes("NOOP\r\n".repeat(200));
    assert_eq!((codes.len(), codes.last()), (100, Some(&421)));
    assert_eq!(play.closed, Some(CloseReason::Limit));
}

#[test]
fn output_is_flushed_before_it_grows() {
    let mut unlimited = settings();
    unlimited.limits.commands_max = u32::MAX;
    let mut session = Session::new(unlimited, ZERO);
    let mut input = "EHLO x\r\n".repeat(8000).into_bytes();
    let step = session.step(&mut input, ZERO);
    assert!(matches!(step.action, Action::Flush));
    assert!(session.output().len() < 20_000, "{}", session.output().len());
}

#[test]
fn time() {
    let secs = Duration::from_secs;
    let mut play = Play::greeted(settings());
    assert_eq!(play.session.deadline(), secs(60));
    play.now = secs(50);
    play.codes("NO"); // half a line is no sign of life
    assert_eq!(play.session.deadline(), secs(60));
    play.codes("OP\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    assert_eq!(play.session.deadline(), secs(350), "after MAIL the long limit");
    play.now = secs(349);
    play.codes("x");
    assert_eq!(play.session.deadline(), secs(350), "content must keep a least rate");
    play.codes("y".repeat(2560));
    assert_eq!(play.session.deadline(), secs(360));
    play.session.expire(secs(359));
    assert_eq!(play.codes(""), Vec::<u16>::new());
    play.session.expire(secs(360));
    assert_eq!(play.codes(""), [421]);
    assert_eq!(play.closed, Some(CloseReason::Timeout));
    let mut play = Play::greeted(settings());
    for minute in 1..=59 {
        play.now = secs(minute * 59);
        assert_eq!(play.codes("NOOP\r\n"), [250], "{minute}");
    }
    play.now = secs(3600);
    assert_eq!(play.codes("NOOP\r\n"), [421], "the whole session has its time, even without a pause");
}

#[test]
fn shutdown_waits_for_a_safe_point() {
    let mut play = Play::ready();
    play.codes("DATA\r\nhalf");
    play.session.shutdown();
    assert_eq!(play.codes(" and half\r\n.\r\nNOOP\r\n"), [250, 421]);
    assert_eq!((play.messages.len(), play.closed), (1, Some(CloseReason::Shutdown)));
    let mut play = Play::greeted(settings());
    assert!(play.session.is_between());
    play.session.evict();
    assert_eq!(play.codes(""), [421]);
}

#[test]
fn browsers_are_shown_out() {
    for line in ["GET / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b>\r\n", "POST / HTTP/1.0\r\n", "OPTIONS *\r\n", "CONNECT mx:25\r\n"] {
        let mut play = Play::greeted(settings());
        assert_eq!(play.codes(line), [421], "{line}");
        assert_eq!(play.closed, Some(CloseReason::Errors));
    }
}

#[test]
fn utf8_needs_its_parameter() {
    let mut play = Play::greeted(settings());
    assert_eq!(play.codes("MAIL FROM:<ä@b.test>\r\n"), [553]);
    assert_eq!(play.codes("MAIL FROM:<a@b.test>\r\nRCPT TO:<ä@b.test>\r\nRSET\r\n"), [250, 553, 250]);
    assert_eq!(play.codes("MAIL FROM:<ä@b.test> SMTPUTF8\r\nRCPT TO:<ä@b.test>\r\n"), [250, 250]);
    assert_eq!(play.session.protocol(), "UTF8SMTP");
}

#[test]
fn splitting_the_input_changes_nothing() {
    let wire = b"EHLO c\nMAIL FROM:<> SIZE=3\r\nRCPT TO:<a@b>\r\nBDAT 3\r\nx\r\nBDAT 2 LAST\r\ny\nXYZZY\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n..a\r\n.b\r\n.\r\nQUIT\r\n";
    let mut whole = Play::new(settings());
    let expected = whole.text(wire);
    for i in 0..wire.len() {
        let mut play = Play::new(settings());
        let mut text = play.text(&wire[..i]);
        text.push_str(&play.text(&wire[i..]));
        assert_eq!(text, expected, "split at {i}");
        assert_eq!(play.messages, whole.messages);
    }
    let mut play = Play::new(settings());
    let text: String = wire.chunks(1).map(|b| play.text(b)).collect();
    assert_eq!((text, &play.messages), (expected, &whole.messages));
}

#[test]
fn etrn_is_off_unless_it_is_configured() {
    let mut play = Play::new(settings());
    assert!(!play.text("EHLO c.test\r\n").contains("ETRN"));
    assert_eq!(play.codes("ETRN three.test\r\n"), [502]);
    let mut play = Play::new(Settings { etrn: true, ..settings() });
    assert_eq!(play.codes("ETRN three.test\r\n"), [220, 503]);
    assert!(play.text("EHLO c.test\r\n").contains("250-ETRN\r\n"));
    for (line, want) in [
        ("ETRN three.test", "253 2.0.0 ok, 3 pending messages for node three.test started\r\n"),
        ("etrn none.test", "251 2.0.0 ok, no messages waiting for node none.test\r\n"),
        ("ETRN #queue", "250 2.0.0 ok, queuing for node #queue started\r\n"),
        ("ETRN @busy.test", "458 4.3.0 unable to queue messages for node @busy.test\r\n"),
        ("ETRN other.test", "459 4.7.1 node other.test not allowed\r\n"),
    ] {
        assert_eq!(play.text(format!("{line}\r\n")), want);
    }
    assert_eq!(play.codes("ETRN\r\nETRN a b\r\n"), [501, 501]);
    assert_eq!(play.codes("MAIL FROM:<>\r\nETRN three.test\r\n"), [250, 503]);
}

#[test]
fn etrn_answers_the_same_however_it_is_cut() {
    let talk = b"EHLO c.test\r\nETRN three.test\r\nETRN other.test\r\nETRN\r\nNOOP\r\nQUIT\r\n";
    let whole = Play::new(Settings { etrn: true, ..settings() }).text(talk);
    for at in 1..talk.len() {
        let mut play = Play::new(Settings { etrn: true, ..settings() });
        assert_eq!(play.text(&talk[..at]) + &play.text(&talk[at..]), whole, "cut at {at}");
    }
}

/// At the door of RFC 2645, logged in under TLS.
fn customer() -> Play {
    let mut play = Play::greeted(Settings { tls: Tls::Active, door: Door::Odmr, ..settings() });
    assert_eq!(play.codes("AUTH PLAIN AGpvZQBnb29k\r\n"), [235]);
    play
}

#[test]
fn atrn_turns_the_connection_for_whoever_may() {
    let mut play = Play::greeted(Settings { tls: Tls::Active, door: Door::Odmr, ..settings() });
    assert!(play.text("EHLO c.test\r\n").contains("250-ATRN\r\n"));
    assert_eq!(play.codes("ATRN mine.test\r\n"), [530]);
    let mut play = customer();
    assert_eq!(play.codes("MAIL FROM:<a@b.test>\r\nRCPT TO:<a@b.test>\r\nATRN a,,b\r\nATRN a b\r\n"), [502, 503, 501, 501]);
    for (line, want) in [
        ("ATRN empty.test", "453 4.2.0 you have no mail\r\n"),
        ("ATRN busy.test", "451 4.3.0 unable to process ATRN request now\r\n"),
        ("ATRN other.test", "450 4.7.1 ATRN request refused\r\n"),
    ] {
        assert_eq!(customer().text(format!("{line}\r\n")), want);
    }
    // What was sent before the answer is not read by either side: it was meant for the other role.
    for line in ["ATRN", "atrn mine.test,also.test", "ATRN mine.test\r\n220 too early"] {
        let mut play = customer();
        assert_eq!(play.text(format!("{line}\r\n")), "250 2.0.0 ok, now reversing the connection\r\n", "{line}");
        assert!(play.turned && play.input.is_empty() && play.closed.is_none());
    }
    assert_eq!(Play::greeted(settings()).codes("ATRN mine.test\r\n"), [502], "port 25 turns nothing");
}

#[test]
fn atrn_answers_the_same_however_it_is_cut() {
    let talk = b"NOOP\r\nATRN other.test\r\nATRN empty.test\r\nATRN mine.test\r\n";
    let whole = customer().text(talk);
    for at in 1..talk.len() {
        let mut play = customer();
        assert_eq!(play.text(&talk[..at]) + &play.text(&talk[at..]), whole, "cut at {at}");
        assert!(play.turned);
    }
}
