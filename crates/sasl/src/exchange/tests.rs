//! Exchanges from end to end, with the examples of the RFCs and with what they forbid.

use super::*;
use proptest::prelude::*;

fn b64(text: impl AsRef<[u8]>) -> Vec<u8> {
    STANDARD.encode(text).into_bytes()
}

fn begin(mechanism: Mechanism, initial: Option<&[u8]>) -> Step {
    Exchange::new(mechanism, Plus::Offered).first(initial)
}

fn end(step: Step) -> End {
    match step {
        Step::End(end) => end,
        other => panic!("{other:?}"),
    }
}

fn attempt(step: Step) -> (Attempt, Exchange) {
    match step {
        Step::Attempt(attempt, exchange) => (attempt, exchange),
        other => panic!("{other:?}"),
    }
}

fn challenge(step: Step) -> (String, Exchange) {
    match step {
        Step::Challenge(text, exchange) => (String::from_utf8(STANDARD.decode(text).unwrap()).unwrap(), exchange),
        other => panic!("{other:?}"),
    }
}

#[test]
fn plain_takes_its_three_parts() {
    let good = Attempt { login: b"u@d".to_vec(), secret: Secret::Plain(b"p w".to_vec()) };
    for message in [&b"\0u@d\0p w"[..], b"u@d\0u@d\0p w"] {
        let (found, exchange) = attempt(begin(Mechanism::Plain, Some(&b64(message))));
        assert!(found == good);
        assert_eq!(end(exchange.verdict(Verdict::Granted)), End::Granted);
    }
    assert_eq!(end(begin(Mechanism::Plain, Some(&b64("root\0u@d\0p w")))), End::OtherIdentity);
    for bad in [&b""[..], b"\0u", b"\0u\0", b"\0\0p", b"\0u\0p\0", b"u p"] {
        assert_eq!(end(begin(Mechanism::Plain, Some(&b64(bad)))), End::Malformed, "{bad:?}");
    }
    assert_eq!(end(begin(Mechanism::Plain, Some(b"="))), End::Malformed);
    assert_eq!(end(begin(Mechanism::Plain, Some(b"!!"))), End::Malformed);
    let (empty, exchange) = challenge(begin(Mechanism::Plain, None));
    assert_eq!(empty, "");
    assert_eq!(end(exchange.response(b"*")), End::Cancelled);
}

#[test]
fn login_asks_twice() {
    let (question, exchange) = challenge(begin(Mechanism::Login, None));
    assert_eq!(question, "Username:");
    let (question, exchange) = challenge(exchange.response(b"dUBk"));
    assert_eq!(question, "Password:");
    let (found, exchange) = attempt(exchange.response(b"cA=="));
    assert!(found == Attempt { login: b"u@d".to_vec(), secret: Secret::Plain(b"p".to_vec()) });
    assert_eq!(end(exchange.verdict(Verdict::Denied)), End::Denied);
    assert_eq!(end(begin(Mechanism::Login, Some(b"="))), End::Malformed, "an empty name");
    assert_eq!(end(begin(Mechanism::Login, Some(b"dQBk"))), End::Malformed, "a NUL in the name");
}

#[test]
fn cram_md5_sends_a_stamp() {
    let stamp = b"<1896.697170952@postoffice.reston.mci.net>".to_vec();
    let Step::Ask(Question::Stamp, exchange) = begin(Mechanism::CramMd5, None) else { panic!() };
    let (text, exchange) = challenge(exchange.answer(Answer::Stamp(stamp.clone())));
    assert_eq!(text.as_bytes(), stamp);
    let (found, _) = attempt(exchange.response(b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"));
    let secret = Secret::CramMd5 { challenge: stamp, digest: b"b913a602c7eda7a495b4e6e7334d3890".to_vec() };
    assert!(found == Attempt { login: b"tim".to_vec(), secret });
    assert_eq!(end(begin(Mechanism::CramMd5, Some(b"dGlt"))), End::Malformed, "the server speaks first");
}

fn facts(binding: Option<&[u8]>) -> ScramFacts {
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = scram::Keys::derive(ScramHash::Sha256, b"pencil", &salt, 4096);
    ScramFacts {
        nonce: b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_vec(),
        salt,
        iterations: 4096,
        server_key: keys.server,
        binding: binding.map(<[u8]>::to_vec),
    }
}

fn ask(step: Step) -> (Question, Exchange) {
    match step {
        Step::Ask(question, exchange) => (question, exchange),
        other => panic!("{other:?}"),
    }
}

const SHA256: Mechanism = Mechanism::Scram(ScramHash::Sha256);
const SHA256_PLUS: Mechanism = Mechanism::ScramPlus(ScramHash::Sha256);

#[test]
fn scram_as_in_rfc_7677() {
    let (question, exchange) = ask(begin(SHA256, Some(&b64("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"))));
    assert!(question == Question::Scram { login: b"user".to_vec(), hash: ScramHash::Sha256, binding: None });
    let (text, exchange) = challenge(exchange.answer(Answer::Scram(facts(None))));
    assert_eq!(text, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let (found, exchange) = attempt(exchange.response(&b64(last)));
    let Secret::Scram { hash, message, proof } = found.secret else { panic!() };
    let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    assert!(scram::Keys::derive(hash, b"pencil", &salt, 4096).proves(hash, &message, &proof));
    let (text, exchange) = challenge(exchange.verdict(Verdict::Granted));
    assert_eq!(text, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(end(exchange.response(b"")), End::Granted);
}

#[test]
fn scram_says_nothing_after_a_wrong_proof_and_can_be_given_up_at_the_end() {
    let to_verdict = || {
        let (_, exchange) = ask(begin(SHA256, Some(&b64("n,,n=user,r=abc"))));
        let (_, exchange) = challenge(exchange.answer(Answer::Scram(facts(None))));
        attempt(exchange.response(&b64("c=biws,r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA"))).1
    };
    assert_eq!(end(to_verdict().verdict(Verdict::Denied)), End::Denied);
    let (_, exchange) = challenge(to_verdict().verdict(Verdict::Granted));
    assert_eq!(end(exchange.response(b"*")), End::Cancelled);
    let (_, exchange) = challenge(to_verdict().verdict(Verdict::Granted));
    assert_eq!(end(exchange.response(b"eA==")), End::Malformed);
}

#[test]
fn scram_is_bound_to_its_channel() {
    let last = |header: &[u8], binding: &[u8]| {
        let bound = STANDARD.encode([header, binding].concat());
        b64(format!("c={bound},r=abc%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=AAAA"))
    };
    let to_final = |name: &str| {
        let (question, exchange) = ask(begin(SHA256_PLUS, Some(&b64(format!("p={name},,n=user,r=abc")))));
        let Question::Scram { binding: Some(_), .. } = question else { panic!() };
        challenge(exchange.answer(Answer::Scram(facts(Some(b"DATA"))))).1
    };
    attempt(to_final("tls-exporter").response(&last(b"p=tls-exporter,,", b"DATA")));
    attempt(to_final("tls-server-end-point").response(&last(b"p=tls-server-end-point,,", b"DATA")));
    assert_eq!(end(to_final("tls-exporter").response(&last(b"p=tls-exporter,,", b"OTHER"))), End::Denied);
    assert_eq!(end(to_final("tls-exporter").response(&last(b"n,,", b"DATA"))), End::Denied);
    // The channel has no such data, or the client knows another kind.
    let (_, exchange) = ask(begin(SHA256_PLUS, Some(&b64("p=tls-exporter,,n=user,r=abc"))));
    assert_eq!(end(exchange.answer(Answer::Scram(facts(None)))), End::Denied);
    assert_eq!(end(begin(SHA256_PLUS, Some(&b64("p=tls-unique,,n=user,r=abc")))), End::Denied);
    assert_eq!(end(begin(SHA256_PLUS, Some(&b64("n,,n=user,r=abc")))), End::Malformed);
    assert_eq!(end(begin(SHA256, Some(&b64("p=tls-exporter,,n=user,r=abc")))), End::Malformed);
}

#[test]
fn a_client_that_was_not_shown_the_bound_forms_is_not_let_in() {
    let first = b64("y,,n=user,r=abc");
    assert_eq!(end(Exchange::new(SHA256, Plus::Offered).first(Some(&first))), End::Denied);
    ask(Exchange::new(SHA256, Plus::NotOffered).first(Some(&first)));
}

#[test]
fn scram_acts_for_nobody_else() {
    assert_eq!(end(begin(SHA256, Some(&b64("n,a=root,n=user,r=abc")))), End::OtherIdentity);
    ask(begin(SHA256, Some(&b64("n,a=user,n=user,r=abc"))));
}

#[test]
fn a_refused_token_is_told_in_json() {
    let (found, exchange) = attempt(begin(Mechanism::OAuthBearer, Some(&b64("n,a=u@d,\x01auth=Bearer tok\x01\x01"))));
    assert!(found == Attempt { login: b"u@d".to_vec(), secret: Secret::Bearer(b"tok".to_vec()) });
    let (text, exchange) = challenge(exchange.verdict(Verdict::Denied));
    assert_eq!(text, r#"{"status":"invalid_token","schemes":"bearer"}"#);
    assert_eq!(end(exchange.response(b"AQ==")), End::Denied);
    let (_, exchange) = attempt(begin(Mechanism::XOAuth2, Some(&b64("user=u@d\x01auth=Bearer tok\x01\x01"))));
    assert_eq!(end(exchange.verdict(Verdict::Granted)), End::Granted);
}

#[test]
fn nothing_prints_a_secret() {
    let step = begin(Mechanism::Plain, Some(&b64("\0user\0sesame")));
    assert!(!format!("{step:?}").contains("sesame"));
    assert!(!format!("{:?}", begin(Mechanism::Login, Some(b"dUBk"))).contains("u@d"));
}

proptest! {
    /// Whatever a client sends, an exchange takes few steps and never panics; only a good verdict ends well.
    #[test]
    fn any_lines_end_without_a_login(mechanism in 0usize..9, lines in proptest::collection::vec("[ -~]{0,60}|(n|y|p=tls-exporter),,n=u,r=[a-z]{1,9}|c=biws,r=[a-z]{1,9},p=AAAA", 0..6), raw in any::<bool>()) {
        let names = ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "OAUTHBEARER", "XOAUTH2", "CRAM-MD5"];
        let mut step = begin(Mechanism::find(names[mechanism].as_bytes()).unwrap(), None);
        for line in lines {
            let line = if raw { line.into_bytes() } else { b64(line) };
            step = match step {
                Step::Challenge(_, exchange) => exchange.response(&line),
                Step::Ask(Question::Stamp, exchange) => exchange.answer(Answer::Stamp(b"<1@h>".to_vec())),
                Step::Ask(Question::Scram { .. }, exchange) => exchange.answer(Answer::Scram(ScramFacts {
                    nonce: b"x".to_vec(), salt: b"s".to_vec(), iterations: 4096, server_key: vec![0; 32], binding: None,
                })),
                Step::Attempt(_, exchange) => exchange.verdict(Verdict::Denied),
                Step::End(end) => {
                    prop_assert_ne!(end, End::Granted);
                    break;
                }
            };
        }
    }
}
