//! What must hold: every message once, byte for byte, whatever is cut; deleted there only when it is here, and only if that was asked for.

use super::dovecot::Dovecot;
use super::proxy::cut_after;
use super::world::{World, account};
use postino_control::fetch::{FetchAccount, FetchAuth, FetchProtocol, FetchTls, FetchTrust, Multidrop};
use postino_fetch::{Broken, Mode, Trouble};
use std::sync::atomic::Ordering;

const MESSAGES: [&[u8]; 3] = [
    b"Return-Path: <ann@else.test>\nSubject: one\n\n.\n..\n.dot\nend\n",
    b"Return-Path: <>\nDelivered-To: isp-bob@here.test\nSubject: two\n\n\n",
    b"Subject: three\n\nno line end",
];

fn fill(server: &Dovecot, user: &str) {
    for (n, message) in MESSAGES.iter().enumerate() {
        server.put(user, &format!("{}.M{n}P1.test", 1_700_000_000 + n), message);
    }
}

/// As they arrive: POP3 ends every message with a line end.
fn sorted(protocol: FetchProtocol) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = MESSAGES.iter().map(|m| m.to_vec()).collect();
    if protocol == FetchProtocol::Pop3 {
        all[2].push(b'\n');
    }
    all.sort();
    all
}

fn accounts(server: &Dovecot) -> Vec<FetchAccount> {
    let roots = || FetchTrust::Roots(server.roots());
    let with = |protocol, tls, port, user: &str, trust| FetchAccount { trust, ..account(protocol, tls, port, user) };
    vec![
        with(FetchProtocol::Pop3, FetchTls::Implicit, server.pop3s, "pop3s", roots()),
        with(FetchProtocol::Pop3, FetchTls::Starttls, server.pop3, "stls", roots()),
        FetchAccount { auth: FetchAuth::CramMd5, ..account(FetchProtocol::Pop3, FetchTls::None, server.pop3, "pop3") },
        with(FetchProtocol::Imap, FetchTls::Implicit, server.imaps, "imaps", roots()),
        with(FetchProtocol::Imap, FetchTls::Starttls, server.imap, "starttls", FetchTrust::Pinned(fingerprint(server))),
        FetchAccount { auth: FetchAuth::User, ..account(FetchProtocol::Imap, FetchTls::None, server.imap, "imap") },
    ]
}

fn fingerprint(server: &Dovecot) -> [u8; 32] {
    let out = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(server.certificate())
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let hex: String = text.split('=').nth(1).unwrap().trim().replace(':', "");
    std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_in_every_message_once() {
    let server = Dovecot::start();
    for account in accounts(&server) {
        let world = World::new();
        fill(&server, &account.user);
        let (dry, result) = world.run_as(&account, Mode::DryRun).await;
        assert_eq!((dry.listed, dry.new, dry.fetched, result), (3, 3, 0, Ok(())), "{}: {}", account.user, server.log());
        let (outcome, result) = world.run(&account).await;
        assert_eq!((outcome.fetched, outcome.deleted, result), (3, 0, Ok(())), "{}", account.user);
        assert_eq!(world.bodies().await, sorted(account.protocol), "{}", account.user);
        let (again, result) = world.run(&account).await;
        assert_eq!((again.listed, again.fetched, result), (3, 0, Ok(())), "{}", account.user);
        assert_eq!(server.count(&account.user), 3, "nothing is deleted unless that is asked for");
        let deleting = FetchAccount { keep_days: Some(0), ..account };
        server.put(&deleting.user, "1800000000.M9P1.test", b"Subject: four\n\nx\n");
        let (last, result) = world.run(&deleting).await;
        assert_eq!((last.fetched, last.deleted, result), (1, 4, Ok(())), "{}", deleting.user);
        assert_eq!((server.count(&deleting.user), world.queued().await.len()), (0, 4), "{}", deleting.user);
        let (none, result) = world.run(&deleting).await;
        assert_eq!((none.listed, result), (0, Ok(())), "{}", deleting.user);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sender_recipient_and_received_line() {
    let server = Dovecot::start();
    let drop = Multidrop { header: "Delivered-To".into(), nth: 1, strip: "isp-".into(), domain: None };
    let account = FetchAccount { multidrop: Some(drop), ..accounts(&server).remove(0) };
    fill(&server, &account.user);
    let world = World::new();
    world.run(&account).await.1.unwrap();
    let told: Vec<(String, String)> =
        world.queued().await.iter().map(|(e, _)| (e.envelope.sender.to_string(), e.envelope.recipients[0].address.to_string())).collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(told, [pair("ann@else.test", "joe@here.test"), pair("", "bob@here.test"), pair("", "joe@here.test")]);
    let first = String::from_utf8(world.queued().await[0].0.prepend.to_vec()).unwrap();
    assert!(first.starts_with("Received: from mail.test (POP3S account pop3s)\n  by here.test with POP3S id fetch-"), "{first}");
}

/// A stranger's bounce would go to whoever the message says it is from.
#[tokio::test(flavor = "multi_thread")]
async fn named_recipients_that_are_not_here_are_not_bounced() {
    let server = Dovecot::start();
    let drop = Multidrop { header: "Delivered-To".into(), nth: 1, strip: String::new(), domain: None };
    let account = FetchAccount { multidrop: Some(drop), ..accounts(&server).remove(0) };
    server.put(&account.user, "1.M1P1.test", b"Delivered-To: nobody@here.test\n\nx\n");
    let world = World::new();
    world.run(&account).await.1.unwrap();
    assert_eq!(world.queued().await[0].0.envelope.recipients[0].address.to_string(), "joe@here.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_open_mailboxes() {
    let server = Dovecot::start();
    for (base, auth) in [(0, FetchAuth::Auto), (0, FetchAuth::XOAuth2), (3, FetchAuth::OAuthBearer), (3, FetchAuth::XOAuth2)] {
        let secret = |token: &str| postino_control::fetch::FetchSecret::TokenCommand(vec![token.into()]);
        let base = accounts(&server).remove(base);
        let user = format!("token-{}-{auth:?}", base.user).to_lowercase();
        server.put(&user, "1.M1P1.test", b"Subject: one\n\nx\n");
        let account = FetchAccount { auth, secret: secret(&Dovecot::token(&user)), user, ..base };
        let world = World::new();
        let (outcome, result) = world.run(&account).await;
        assert_eq!((outcome.fetched, result), (1, Ok(())), "{}: {}", account.user, server.log());
        let stale = FetchAccount { secret: secret("stale"), ..account };
        assert!(matches!(world.run(&stale).await.1, Err(Trouble::Session(Broken::Login(_)))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fetched_messages_stay_for_the_days_that_were_set() {
    let server = Dovecot::start();
    for base in [accounts(&server).remove(0), accounts(&server).remove(3)] {
        let account = FetchAccount { keep_days: Some(2), ..base };
        fill(&server, &account.user);
        let world = World::new();
        assert_eq!(world.run(&account).await.0.deleted, 0);
        world.clock.0.store(2 * 86_400 - 60, Ordering::Relaxed);
        assert_eq!(world.run(&account).await.0.deleted, 0);
        world.clock.0.store(2 * 86_400 + 60, Ordering::Relaxed);
        assert_eq!(world.run(&account).await.0.deleted, 3);
        assert_eq!((server.count(&account.user), world.queued().await.len()), (0, 3));
    }
}

/// The connection is cut after k bytes, for many k; the next run goes on. No message is lost, none comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_loses_and_doubles_nothing() {
    let server = Dovecot::start();
    for (protocol, port, step) in [(FetchProtocol::Pop3, server.pop3, 23), (FetchProtocol::Imap, server.imap, 61)] {
        let (mut k, mut whole) = (0, false);
        while !whole {
            let user = format!("cut{port}-{k}");
            fill(&server, &user);
            let world = World::new();
            let good = FetchAccount { keep_days: Some(0), ..account(protocol, FetchTls::None, port, &user) };
            let cut = FetchAccount { port: cut_after(port, k), ..good.clone() };
            let (first, result) = world.run(&cut).await;
            whole = result.is_ok();
            let here = world.queued().await.len();
            assert_eq!(here, first.fetched, "cut after {k}");
            assert!(server.count(&user) + here >= 3, "cut after {k}: nothing is deleted there before it is here");
            world.run(&good).await.1.unwrap();
            assert_eq!(world.bodies().await, sorted(protocol), "cut after {k}");
            assert_eq!(server.count(&user), 0, "cut after {k}");
            k += step;
        }
    }
}

/// A crash between the queue's commit and the journal's line: the message is known by its mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_only_the_queue_knows_is_not_fetched_again() {
    let server = Dovecot::start();
    let account = accounts(&server).remove(0);
    fill(&server, &account.user);
    let world = World::new();
    world.run(&account).await.1.unwrap();
    let journal = std::fs::read_to_string(world.journal()).unwrap();
    let lines: Vec<&str> = journal.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[4]), (5, "begin", "end"));
    for kept in 0..=3 {
        std::fs::write(world.journal(), lines[..=kept].join("\n")).unwrap();
        let (outcome, result) = world.run(&account).await;
        assert_eq!((outcome.fetched, result), (0, Ok(())), "{kept} lines kept");
    }
    assert_eq!(world.queued().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_and_their_limit() {
    let server = Dovecot::start();
    for base in [accounts(&server).remove(0), accounts(&server).remove(3)] {
        let line = [b"x".repeat(5000), b"\n.\n".to_vec()].concat();
        let large = [b"Subject: large\n\n".to_vec(), line.repeat(600)].concat();
        server.put(&base.user, "1.M1P1.test", &large);
        server.put(&base.user, "2.M2P1.test", b"Subject: small\n\nx\n");
        let world = World::new();
        let mut config = (*world.live.get()).clone();
        config.server.limits.message_bytes_max = 1 << 20;
        world.live.set(config.clone());
        let account = FetchAccount { keep_days: Some(0), ..base };
        let (outcome, result) = world.run(&account).await;
        assert_eq!((outcome.fetched, outcome.left, outcome.deleted, result), (1, 1, 1, Ok(())));
        assert_eq!(server.count(&account.user), 1, "what is too large stays there");
        config.server.limits.message_bytes_max = 50 << 20;
        world.live.set(config);
        assert_eq!(world.run(&account).await.0.fetched, 0, "it is left alone for a day");
        world.clock.0.store(86_400, Ordering::Relaxed);
        let (outcome, result) = world.run(&account).await;
        assert_eq!((outcome.fetched, outcome.left, result), (1, 0, Ok(())));
        let bodies = world.bodies().await;
        assert!(bodies[0] == large);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_passwords_and_wrong_certificates() {
    let server = Dovecot::start();
    let world = World::new();
    let good = accounts(&server).remove(0);
    fill(&server, &good.user);
    let wrong = FetchAccount { secret: postino_control::fetch::FetchSecret::PasswordFile("/wrong".into()), ..good.clone() };
    assert!(matches!(world.run(&wrong).await.1, Err(Trouble::Session(Broken::Login(_)))));
    let strange = FetchAccount { trust: FetchTrust::Pinned([7; 32]), ..good.clone() };
    assert!(matches!(world.run(&strange).await.1, Err(Trouble::Tls(why)) if why.contains("sha256:")));
    let other_name = FetchAccount { host: "other.test".into(), ..good.clone() };
    assert!(matches!(world.run(&other_name).await.1, Err(Trouble::Tls(_))));
    let system = FetchAccount { trust: FetchTrust::System, ..good };
    assert!(matches!(world.run(&system).await.1, Err(Trouble::Tls(_))));
    assert!(world.queued().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_folders_and_a_few_messages_a_run() {
    let server = Dovecot::start();
    let base = accounts(&server).remove(3);
    fill(&server, &base.user);
    let account = FetchAccount { messages_max: 2, folders: vec!["INBOX".into(), "Drafts & more".into()], ..base };
    let world = World::new();
    let (outcome, result) = world.run(&account).await;
    assert_eq!((outcome.fetched, outcome.more), (2, true));
    assert!(matches!(result, Err(Trouble::Session(Broken::Command("SELECT", _)))), "{result:?}");
    let (outcome, _) = world.run(&account).await;
    assert_eq!((outcome.fetched, outcome.more), (1, false));
}
