//! Addresses opened in memory and in the keeper's file, with a clock of the test's.

use super::*;
use postino_ports::event::Silent;
use postino_ports::roaming::Roaming as _;
use postino_types::Time;
use std::sync::atomic::{AtomicI64, Ordering};

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Time {
        Time::from_secs(self.0.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

struct House {
    dir: tempfile::TempDir,
    clock: Arc<Hand>,
    open: Arc<OpenRelays>,
    file: OpenSmtp,
}

fn house(roaming_users: bool) -> House {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/tcp.smtp"), ":allow\n").unwrap();
    let mut config = Config { home: dir.path().into(), vpopmail_home: dir.path().into(), ..Config::default() };
    config.vpopmail.roaming_users = roaming_users;
    let clock = Arc::new(Hand(AtomicI64::new(1_000_000)));
    let file = OpenSmtp::new(dir.path());
    let open = OpenRelays::new(Live::new(config), clock.clone(), Arc::new(Silent), Arc::new(file.clone()));
    House { dir, clock, open: Arc::new(open), file }
}

fn mailbox(flags: u32) -> Mailbox {
    let home = std::path::PathBuf::from("/d/u");
    Mailbox { address: "u@d.test".into(), maildir: home.join("Maildir"), home, uid: 89, gid: 89, quota: "NOQUOTA".into(), flags }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_login_opens_exactly_its_address_for_the_time() {
    let house = house(true);
    house.open.logged_in(ip("::ffff:192.0.2.1"), &mailbox(0));
    house.open.logged_in(ip("2001:db8::1"), &mailbox(0));
    assert!(house.open.is_open(ip("192.0.2.1")), "at once, before anything is written");
    assert!(house.open.is_open(ip("2001:db8::1")) && !house.open.is_open(ip("2001:db8::2")));
    house.open.look().await;
    assert_eq!(house.file.list().unwrap().len(), 2);
    assert!(house.dir.path().join("etc/tcp.smtp.cdb").is_file(), "tcpserver sees it too");
    house.clock.0.fetch_add(10_799, Ordering::SeqCst);
    assert!(house.open.is_open(ip("192.0.2.1")));
    house.open.logged_in(ip("2001:db8::1"), &mailbox(0));
    house.clock.0.fetch_add(1, Ordering::SeqCst);
    assert!(!house.open.is_open(ip("192.0.2.1")), "closed by time alone");
    house.open.look().await;
    assert_eq!(house.file.list().unwrap(), [(ip("2001:db8::1"), 1_010_799)], "and forgotten in the file");
}

#[tokio::test]
async fn who_may_not_opens_nothing() {
    let closed = house(false);
    closed.open.logged_in(ip("192.0.2.1"), &mailbox(0));
    closed.file.open(ip("192.0.2.2"), 1_000_000).unwrap();
    closed.open.look().await;
    assert!(!closed.open.is_open(ip("192.0.2.1")) && !closed.open.is_open(ip("192.0.2.2")), "off unless configured");
    let house = house(true);
    house.open.logged_in(ip("192.0.2.1"), &mailbox(FLAG_NO_RELAY));
    for local in ["127.0.0.1", "::1", "::ffff:127.0.0.9", "0.0.0.0"] {
        house.open.logged_in(ip(local), &mailbox(0));
        house.file.open(ip(local), 1_000_000).unwrap();
        house.open.look().await;
        assert!(!house.open.is_open(ip(local)), "{local}");
    }
    assert!(!house.open.is_open(ip("192.0.2.1")));
}

#[tokio::test]
async fn what_others_write_counts() {
    let house = house(true);
    house.file.open(ip("192.0.2.7"), 999_999).unwrap();
    house.file.open(ip("192.0.2.8"), 2_000_000).unwrap();
    house.file.open(ip("192.0.2.9"), 1).unwrap();
    house.open.look().await;
    assert!(house.open.is_open(ip("192.0.2.7")), "a login at vchkpw");
    assert!(!house.open.is_open(ip("192.0.2.8")), "a row from the future");
    assert!(!house.open.is_open(ip("192.0.2.9")), "a row of long ago");
    house.open.logged_in(ip("192.0.2.7"), &mailbox(0));
    house.file.close(ip("192.0.2.7")).unwrap();
    house.open.look().await;
    assert!(!house.open.is_open(ip("192.0.2.7")), "closed by hand");
    std::fs::remove_dir_all(house.dir.path().join("etc")).unwrap();
    house.open.logged_in(ip("192.0.2.7"), &mailbox(0));
    house.open.look().await;
    assert!(house.open.is_open(ip("192.0.2.7")), "a keeper in trouble keeps nobody out");
}
