//! In-process delivery against a real disk and a directory of fixed answers.

use super::*;
use postino_disk::RealDisk;
use postino_ports::directory::DotQmail;
use postino_ports::directory::{Credentials, Login};
use postino_ports::spawn::ChildReport;
use postino_types::{BodyKind, Channel, DsnWish, Envelope, Notify, Origin, QueueId, RecipientState, Routed};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Mutex;

struct Fixed(Result<Resolution, LookupError>);

impl Directory for Fixed {
    fn resolve<'a>(&'a self, _routed: &'a Address) -> BoxFuture<'a, Result<Resolution, LookupError>> {
        Box::pin(async { self.0.clone() })
    }
    fn authenticate(&self, _credentials: Credentials) -> BoxFuture<'_, Result<Login, LookupError>> {
        Box::pin(async { Ok(Login::Denied) })
    }
}

#[derive(Default)]
struct FakeSpawn(Mutex<Vec<(Vec<u8>, Vec<u8>)>>);

impl Spawn for FakeSpawn {
    fn run_local(&self, delivery: spawn::LocalDelivery) -> BoxFuture<'_, ChildReport> {
        self.0.lock().unwrap().push((delivery.local, delivery.sender));
        Box::pin(async { ChildReport { exit: 0, text: b"did 1+0+0\n".to_vec(), forwards: Vec::new(), uid: 1 } })
    }
}

fn address(text: &str) -> Address {
    Address::from_bytes(text.as_bytes()).unwrap()
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn mailbox(home: &Path, uid: u32) -> Mailbox {
    let account = home.join("domains/example.org/joe");
    Mailbox {
        address: "joe@example.org".to_owned(),
        maildir: account.join("Maildir"),
        home: account,
        uid,
        gid: 0,
        quota: "NOQUOTA".to_owned(),
        flags: 0,
    }
}

struct House {
    home: tempfile::TempDir,
    spawn: Arc<FakeSpawn>,
}

impl House {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), spawn: Arc::default() }
    }
    fn maildir(&self) -> std::path::PathBuf {
        mailbox(self.home.path(), 0).maildir
    }
    fn own_mailbox(&self) -> Resolution {
        Resolution::Mailbox(mailbox(self.home.path(), own_uid()))
    }
    fn delivery(&self, answer: Result<Resolution, LookupError>) -> LocalDelivery {
        self.delivery_with(answer, Arc::new(NoQuota))
    }
    fn delivery_with(&self, answer: Result<Resolution, LookupError>, quota: Arc<dyn QuotaGate>) -> LocalDelivery {
        let mut config = Config { home: self.home.path().to_path_buf(), ..Config::default() };
        config.locals.insert(b"here.test".to_vec());
        let ports = Ports { directory: Arc::new(Fixed(answer)), spawn: self.spawn.clone(), disk: Arc::new(RealDisk::new()), quota };
        LocalDelivery::new(ports, Live::new(config), Time::from_secs(1_000_000))
    }
    fn new_files(&self) -> Vec<(String, String)> {
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        };
        std::fs::read_dir(self.maildir().join("new")).map(|d| d.map(read).collect()).unwrap_or_default()
    }
}

fn job(sender: &str, body: &str, attempts: u16) -> Job {
    let routed = Routed { channel: Channel::Local, address: address("example.org-joe@example.org") };
    let recipient = Recipient { address: address("joe@example.org"), routed, notify: Notify::default(), original: None };
    let envelope = Envelope {
        sender: ReversePath::from_bytes(sender.as_bytes()).unwrap(),
        recipients: vec![recipient],
        body: BodyKind::SevenBit,
        utf8: false,
        dsn: DsnWish::default(),
        require_tls: false,
    };
    let entry = QueueEntry {
        id: QueueId(77),
        envelope,
        origin: Origin::Local { uid: 1 },
        prepend: "Received: here\n".into(),
        body_bytes: body.len() as u64,
        arrived: Time::from_secs(2_000_000),
        expires: Time::from_secs(3_000_000),
        states: vec![RecipientState::Pending { attempts, last: None, delay_told: false }],
        next_at: Time::from_secs(0),
        held: false,
    };
    Job { entry: Arc::new(entry), body: Body::Memory(bytes::Bytes::from(body.to_owned())), recipients: vec![0] }
}

async fn deliver(delivery: &LocalDelivery, job: Job) -> DeliveryOutcome {
    let mut outcomes = delivery.deliver(job).await;
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

fn is_failed(outcome: &DeliveryOutcome, wanted: PermStatus) -> bool {
    matches!(outcome, DeliveryOutcome::Failed { status, .. } if *status == wanted)
}

fn is_deferred(outcome: &DeliveryOutcome, wanted: TempStatus) -> bool {
    matches!(outcome, DeliveryOutcome::Deferred { status, .. } if *status == wanted)
}

#[tokio::test]
async fn message_arrives_unchanged_under_its_lines_in_a_new_maildir() {
    let house = House::new();
    let delivery = house.delivery(Ok(house.own_mailbox()));
    let outcome = deliver(&delivery, job("s p@x.test", "From: a\n\nFrom b\nno end", 0)).await;
    assert_eq!(outcome, DeliveryOutcome::delivered("did 0+0+1\n"));
    let files = house.new_files();
    let want = "Return-Path: <\"s p\"@x.test>\nDelivered-To: joe@example.org\nReceived: here\nFrom: a\n\nFrom b\nno end";
    assert_eq!(files.iter().map(|f| f.1.as_str()).collect::<Vec<_>>(), [want]);
    let name = &files[0].0;
    assert!(name.starts_with("2000000.M77P0Q") && name.ends_with(&format!(",S={}", want.len())), "{name}");
    for part in ["", "cur", "new", "tmp"] {
        let meta = std::fs::metadata(house.maildir().join(part)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o700, "{part}");
    }
    assert_eq!(std::fs::read_dir(house.maildir().join("tmp")).unwrap().count(), 0);
}

// M-ONCE: an attempt whose success was not recorded is repeated and makes no second copy.
#[tokio::test]
async fn a_repeated_delivery_lands_on_the_same_name() {
    let house = House::new();
    let first = house.delivery(Ok(house.own_mailbox()));
    deliver(&first, job("s@x", "b\n", 0)).await;
    let again = house.delivery(Ok(house.own_mailbox()));
    assert!(matches!(deliver(&again, job("s@x", "b\n", 0)).await, DeliveryOutcome::Delivered { .. }));
    assert_eq!(house.new_files().len(), 1);
    let name = house.new_files()[0].0.clone();
    std::fs::rename(house.maildir().join("new").join(&name), house.maildir().join("cur").join(format!("{name}:2,S"))).unwrap();
    assert!(matches!(deliver(&again, job("s@x", "b\n", 1)).await, DeliveryOutcome::Delivered { .. }));
    assert!(house.new_files().is_empty(), "the reader had it already");
}

#[tokio::test]
async fn own_delivered_to_in_the_header_is_a_loop_in_any_case() {
    let house = House::new();
    let delivery = house.delivery(Ok(house.own_mailbox()));
    let outcome = deliver(&delivery, job("s@x", "delivered-TO: JOE@example.org\n\nb\n", 0)).await;
    assert!(is_failed(&outcome, PermStatus::LOOP), "{outcome:?}");
    assert!(house.new_files().is_empty());
    let outcome = deliver(&delivery, job("s@x", "X: y\n\nDelivered-To: joe@example.org\n", 0)).await;
    assert!(matches!(outcome, DeliveryOutcome::Delivered { .. }), "{outcome:?}");
}

// Attack 22: a mailbox path that leads elsewhere is not followed.
#[tokio::test]
async fn links_in_place_of_a_maildir_or_its_parts_are_not_followed() {
    for part in ["", "tmp", "new"] {
        let house = House::new();
        let elsewhere = house.home.path().join("elsewhere");
        for directory in ["", "cur", "new", "tmp"] {
            std::fs::create_dir_all(elsewhere.join(directory)).unwrap();
            std::fs::create_dir_all(house.maildir().join(directory)).unwrap();
        }
        let link = if part.is_empty() { house.maildir() } else { house.maildir().join(part) };
        std::fs::remove_dir_all(&link).unwrap();
        symlink(if part.is_empty() { elsewhere.clone() } else { elsewhere.join(part) }, &link).unwrap();
        let delivery = house.delivery(Ok(house.own_mailbox()));
        let outcome = deliver(&delivery, job("s@x", "b\n", 0)).await;
        assert!(is_deferred(&outcome, TempStatus::SYSTEM), "{part}: {outcome:?}");
        for directory in ["cur", "new", "tmp"] {
            assert_eq!(std::fs::read_dir(elsewhere.join(directory)).unwrap().count(), 0, "{part}: written through a link");
        }
    }
}

#[tokio::test]
async fn a_maildir_that_became_a_strangers_is_left_alone() {
    let house = House::new();
    let delivery = house.delivery(Ok(house.own_mailbox()));
    deliver(&delivery, job("s@x", "b\n", 0)).await;
    let new = house.maildir().join("new");
    if std::os::unix::fs::chown(&new, Some(own_uid() + 1), None).is_err() {
        println!("skipped: giving a directory away needs root");
        return;
    }
    let before = std::fs::metadata(&new).unwrap().mtime_nsec();
    let mut later = job("s@x", "c\n", 0);
    Arc::get_mut(&mut later.entry).unwrap().id = QueueId(78);
    assert!(is_deferred(&deliver(&delivery, later).await, TempStatus::SYSTEM));
    assert_eq!(std::fs::metadata(&new).unwrap().mtime_nsec(), before);
}

#[tokio::test]
async fn a_mailbox_of_another_uid_waits_for_the_administrator() {
    let house = House::new();
    let delivery = house.delivery(Ok(Resolution::Mailbox(mailbox(house.home.path(), own_uid() + 1))));
    let outcome = deliver(&delivery, job("s@x", "b\n", 0)).await;
    assert!(is_deferred(&outcome, TempStatus::new(3, 5)), "{outcome:?}");
    assert!(house.new_files().is_empty());
}

#[tokio::test]
async fn answers_of_the_directory_become_outcomes() {
    let house = House::new();
    let text = "Sorry, no mailbox here by that name. (#5.1.1)".to_owned();
    let none = house.delivery(Ok(Resolution::NoMailbox { text }));
    let outcome = deliver(&none, job("s@x", "b\n", 0)).await;
    assert_eq!(outcome, DeliveryOutcome::failed(PermStatus::NO_MAILBOX, "Sorry, no mailbox here by that name. (#5.1.1)\n"));
    let locked = house.delivery(Ok(Resolution::Locked { text: "account is locked".to_owned() }));
    assert!(is_failed(&deliver(&locked, job("s@x", "b\n", 0)).await, PermStatus::new(2, 1)));
    let unknown = house.delivery(Err(LookupError { what: "disk".to_owned() }));
    assert!(is_deferred(&deliver(&unknown, job("s@x", "b\n", 0)).await, TempStatus::SYSTEM));
    let discard = house.delivery(Ok(Resolution::Discard));
    assert!(matches!(deliver(&discard, job("s@x", "b\n", 0)).await, DeliveryOutcome::Delivered { forwards, .. } if forwards.is_empty()));
}

#[tokio::test]
async fn forwards_are_routed_and_do_not_loop() {
    let house = House::new();
    let forward = Resolution::Forward {
        to: vec![address("ann@here.test"), address("u@far.test")],
        delivered_to: address("joe@example.org"),
        uid: 89,
    };
    let delivery = house.delivery(Ok(forward));
    let DeliveryOutcome::Delivered { forwards, .. } = deliver(&delivery, job("s@x", "b\n", 0)).await else { panic!("not delivered") };
    let forward = forwards.first().unwrap();
    assert_eq!((forward.prepend.as_slice(), forward.uid), (&b"Delivered-To: joe@example.org\n"[..], 89));
    assert_eq!(forward.recipients.iter().map(|r| r.routed.channel).collect::<Vec<_>>(), [Channel::Local, Channel::Remote]);
    let again = deliver(&delivery, job("s@x", "Delivered-To: joe@example.org\n\nb\n", 0)).await;
    assert!(is_failed(&again, PermStatus::LOOP));
}

#[tokio::test]
async fn verp_senders_are_expanded_for_local_recipients() {
    let house = House::new();
    let dot = DotQmail { user: "joe".to_owned(), uid: 1, gid: 1, home: "/".into(), dash: Vec::new(), ext: Vec::new() };
    let delivery = house.delivery(Ok(Resolution::DotQmail(dot)));
    deliver(&delivery, job("l-owner-@x.test-@[]", "b\n", 0)).await;
    let seen = house.spawn.0.lock().unwrap().clone();
    assert_eq!(seen, [(b"example.org-joe".to_vec(), b"l-owner-example.org-joe=example.org@x.test".to_vec())]);
}

/// Takes what is shorter than this.
struct Small(u64);

impl QuotaGate for Small {
    fn admit(&self, _mailbox: &Mailbox, size: Size) -> std::io::Result<Admitted> {
        Ok(if size.message_bytes > self.0 { Admitted::Full("user is over quota\n".to_owned()) } else { Admitted::Free })
    }
}

#[tokio::test]
async fn a_full_mailbox_is_a_failure_unless_the_message_is_in_it() {
    let house = House::new();
    let roomy = house.delivery_with(Ok(house.own_mailbox()), Arc::new(Small(100)));
    let full = house.delivery_with(Ok(house.own_mailbox()), Arc::new(Small(0)));
    assert!(is_failed(&deliver(&full, job("s@x", "b\n", 0)).await, PermStatus::MAILBOX_FULL));
    assert!(house.new_files().is_empty());
    assert!(matches!(deliver(&roomy, job("s@x", "b\n", 0)).await, DeliveryOutcome::Delivered { .. }));
    assert!(matches!(deliver(&full, job("s@x", "b\n", 1)).await, DeliveryOutcome::Delivered { .. }), "bounced what was delivered");
    let name = house.new_files()[0].0.clone();
    std::fs::rename(house.maildir().join("new").join(&name), house.maildir().join("cur").join(format!("{name}:2,S"))).unwrap();
    assert!(matches!(deliver(&full, job("s@x", "b\n", 1)).await, DeliveryOutcome::Delivered { .. }), "bounced what was read");
}

fn with_quota(house: &House, quota: &str) -> LocalDelivery {
    let mut config = Config { home: house.home.path().to_path_buf(), ..Config::default() };
    config.vpopmail_home = house.home.path().to_path_buf();
    let mailbox = Mailbox { quota: quota.to_owned(), ..mailbox(house.home.path(), own_uid()) };
    let gate = quotas::MailboxQuotas::new(Arc::new(RealDisk::new()), Live::new(config));
    house.delivery_with(Ok(Resolution::Mailbox(mailbox)), Arc::new(gate))
}

fn with_id(id: u64, body: &str) -> Job {
    let mut job = job("s@x", body, 0);
    Arc::get_mut(&mut job.entry).unwrap().id = QueueId(id);
    job
}

#[tokio::test]
async fn a_mailbox_fills_up_to_its_quota_and_says_so_in_vpopmails_words() {
    let house = House::new();
    let delivery = with_quota(&house, "2C");
    for id in 0..2 {
        assert!(matches!(deliver(&delivery, with_id(id, "b\n")).await, DeliveryOutcome::Delivered { .. }));
    }
    let outcome = deliver(&delivery, with_id(3, "b\n")).await;
    assert_eq!(outcome, DeliveryOutcome::failed(PermStatus::MAILBOX_FULL, "user is over quota\n"));
    assert_eq!(house.new_files().len(), 2);
    let bytes = house.new_files()[0].1.len();
    let sum = std::fs::read_to_string(house.maildir().join("maildirsize")).unwrap();
    assert_eq!(sum, format!("2C\n{} 2\n", 2 * bytes), "counted before the refusal");
}

#[tokio::test]
async fn deliveries_at_the_same_time_do_not_exceed_the_quota() {
    let house = House::new();
    let delivery = Arc::new(with_quota(&house, "5C"));
    let all: Vec<_> = (0..20)
        .map(|id| {
            let delivery = Arc::clone(&delivery);
            tokio::spawn(async move { deliver(&delivery, with_id(id, "b\n")).await })
        })
        .collect();
    let mut full = 0;
    for one in all {
        full += usize::from(is_failed(&one.await.unwrap(), PermStatus::MAILBOX_FULL));
    }
    assert_eq!((house.new_files().len(), full), (5, 15));
}
