//! The spawner with its real children: who is refused, what a child still has, what happens to a child that does not end. Needs root to become
//! somebody else; without root each test says so and ends.

use postino_local::spawn_link::SpawnLink;
use postino_ports::body::Body;
use postino_ports::spawn::{ChildReport, LocalDelivery, Spawn};
use postino_spawn::{ChildLimits, Ids, PrivilegeGain, Settings};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nobody's number on any machine.
const JOE: u32 = 54_321;
const CHILD: &str = env!("CARGO_BIN_EXE_postino-compat");

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: becoming another user needs root");
    }
    root
}

struct House {
    directory: tempfile::TempDir,
    settings: Settings,
}

impl House {
    /// A home with user joe (by users/cdb) and an alias directory.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = directory.path().to_path_buf();
        for name in ["joe", "alias", "users"] {
            fs::create_dir(home.join(name)).unwrap();
        }
        chown(home.join("alias"), Some(JOE + 1), Some(JOE + 1)).unwrap();
        let house = Self { settings: settings(&home), directory };
        house.give("joe", JOE);
        let joe = house.path("joe").display().to_string();
        house.assign(&format!(
            "=joe:joe:{JOE}:{JOE}:{joe}:::\n+joe-:joe:{JOE}:{JOE}:{joe}:-::\n=root:root:0:0:{joe}:::\n=low:low:7:7:{joe}:::\n"
        ));
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn give(&self, name: &str, uid: u32) {
        chown(self.path(name), Some(uid), Some(uid)).unwrap();
    }

    fn assign(&self, lines: &str) {
        let lines = postino_control::assign::parse(format!("{lines}.\n").as_bytes()).unwrap();
        fs::write(self.path("users/cdb"), postino_control::assign::to_cdb(&lines).unwrap()).unwrap();
        fs::set_permissions(self.path("users/cdb"), fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn start(&self) -> (SpawnLink, JoinHandle<std::io::Result<()>>) {
        let (ours, theirs) = postino_spawn::pair().unwrap();
        let settings = self.settings.clone();
        let spawner = std::thread::spawn(move || postino_spawn::serve(theirs, &settings));
        (SpawnLink::start(ours, 20, self.directory.path()).unwrap(), spawner)
    }

    async fn deliver(&self, local: &str) -> ChildReport {
        let (link, _spawner) = self.start();
        link.run_local(delivery(local, Body::Memory("A: b\n\nc\n".into()))).await
    }
}

fn settings(home: &Path) -> Settings {
    Settings {
        home: home.to_path_buf(),
        child: vec![CHILD.into(), postino_local::CHILD_WORD.into()],
        getpw: vec![CHILD.into(), postino_local::GETPW_WORD.into()],
        getpw_ids: Ids { uid: 65534, gid: 65534 },
        minuid: 100,
        concurrency: 10,
        timeout: Duration::from_secs(60),
        queue: postino_spawn::QueuePrograms {
            child: vec![CHILD.into(), postino_local::QUEUE_WORD.into()],
            programs: vec![home.join("scan")],
            rules: postino_spawn::RuledPrograms::new(postino_control::access::Sources::default()),
            ids: Ids { uid: 65534, gid: 65534 },
            timeout: Duration::from_secs(60),
            concurrency: 2,
        },
        remote: None,
        secret: Vec::new(),
        limits: ChildLimits { memory_bytes: 1 << 30, processes: 0, file_bytes: 1 << 20, gain: PrivilegeGain::Refused },
    }
}

fn delivery(local: &str, body: Body) -> LocalDelivery {
    LocalDelivery {
        local: local.into(),
        host: b"here.test".to_vec(),
        sender: b"s@x.test".to_vec(),
        default_delivery: b"./Maildir/".to_vec(),
        once: postino_ports::spawn::Once::None,
        prepend: "Received: here\n".into(),
        body,
    }
}

fn said(report: &ChildReport) -> (i32, String) {
    (report.exit, String::from_utf8_lossy(&report.text).into_owned())
}

#[tokio::test]
async fn delivers_as_the_user_and_reports_forwards() {
    if !is_root() {
        return;
    }
    let house = House::new();
    for part in ["joe/Maildir", "joe/Maildir/cur", "joe/Maildir/new", "joe/Maildir/tmp"] {
        fs::create_dir(house.path(part)).unwrap();
        house.give(part, JOE);
    }
    house.write("joe/.qmail", "./Maildir/\n&ann@x.test\nbob\n");
    let report = house.deliver("JOE").await;
    assert!(said(&report).1.starts_with("did 1+2+0\nqp "), "{report:?}");
    assert_eq!((report.exit, report.uid), (0, JOE));
    let forward = &report.forwards[0];
    assert_eq!((forward.sender.as_slice(), forward.to.as_slice()), (&b"s@x.test"[..], &[b"ann@x.test".to_vec(), b"bob".to_vec()][..]));
    let file = fs::read_dir(house.path("joe/Maildir/new")).unwrap().next().unwrap().unwrap();
    assert_eq!((file.metadata().unwrap().uid(), file.metadata().unwrap().gid()), (JOE, JOE));
    let text = fs::read_to_string(file.path()).unwrap();
    assert_eq!(text, "Return-Path: <s@x.test>\nDelivered-To: JOE@here.test\nReceived: here\nA: b\n\nc\n");
}

// Attack 23: nothing of root is left in a child, and it cannot be had back.
#[tokio::test]
async fn a_child_has_only_its_user_three_descriptors_and_a_clean_environment() {
    if !is_root() {
        return;
    }
    let house = House::new();
    house.write("joe/.qmail", "|cat /proc/self/status > status; ls /proc/self/fd > fds; env > env; umask > umask; ulimit -c > core\n");
    assert_eq!(said(&house.deliver("joe").await), (0, "did 0+0+1\n".to_owned()));
    let status = house.read("joe/status");
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let four = format!("{JOE} {JOE} {JOE} {JOE}");
    assert_eq!((field("Uid:"), field("Gid:"), field("Groups:")), (four.clone(), four, String::new()));
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(set).trim_start_matches('0'), "", "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    // 3 is ls's own, the directory that it lists.
    assert_eq!(house.read("joe/fds").split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    let known = [
        "USER",
        "HOME",
        "LOCAL",
        "HOST",
        "RECIPIENT",
        "EXT",
        "SENDER",
        "NEWSENDER",
        "DTLINE",
        "RPLINE",
        "UFLINE",
        "PATH",
        "PWD",
        "POSTINO_HOME",
        "_",
        "SHLVL",
        "OLDPWD",
    ];
    for line in house.read("joe/env").lines().filter(|l| !l.is_empty()) {
        let name = line.split('=').next().unwrap().trim_end_matches(char::is_numeric);
        assert!(known.contains(&name), "inherited: {line}");
    }
    assert_eq!((house.read("joe/umask").trim(), house.read("joe/core").trim()), ("0077", "0"));
}

#[tokio::test]
async fn root_and_low_uids_never_receive() {
    if !is_root() {
        return;
    }
    let house = House::new();
    house.write("joe/.qmail", "|touch ran\n");
    assert_eq!(said(&house.deliver("root").await), (111, "Not allowed to perform deliveries as root.\n".to_owned()));
    let (exit, text) = said(&house.deliver("low").await);
    assert_eq!((exit, text.contains("(#4.3.5)")), (111, true), "{text}");
    assert!(!house.path("joe/ran").try_exists().unwrap());
}

#[tokio::test]
async fn unknown_names_fall_to_the_owner_of_alias() {
    if !is_root() {
        return;
    }
    if nix::unistd::User::from_name("alias").unwrap().is_some() {
        println!("skipped: this machine has an alias account");
        return;
    }
    let house = House::new();
    house.write("alias/.qmail-default", "|id -u > who; echo \"$EXT\" >> who\n");
    for local in ["no.such-User", "root-x"] {
        house.assign("");
        let report = house.deliver(local).await;
        assert_eq!(said(&report), (0, "did 0+0+1\n".to_owned()));
        assert_eq!(house.read("alias/who"), format!("{}\n{local}\n", JOE + 1));
    }
    fs::remove_dir_all(house.path("alias")).unwrap();
    assert_eq!(said(&house.deliver("nobody-here").await), (111, "Unable to find alias user!\n".to_owned()));
    std::os::unix::fs::symlink("/root", house.path("alias")).unwrap();
    assert_eq!(said(&house.deliver("nobody-here").await), (111, "Unable to find alias user!\n".to_owned()));
}

#[tokio::test]
async fn a_damaged_cdb_or_one_that_is_not_roots_is_temporary() {
    if !is_root() {
        return;
    }
    let house = House::new();
    fs::set_permissions(house.path("users/cdb"), fs::Permissions::from_mode(0o664)).unwrap();
    assert_eq!(said(&house.deliver("joe").await), (111, "Trouble reading users/cdb in qmail-lspawn.\n".to_owned()));
    fs::set_permissions(house.path("users/cdb"), fs::Permissions::from_mode(0o644)).unwrap();
    house.give("users/cdb", JOE);
    assert_eq!(said(&house.deliver("joe").await), (111, "Trouble reading users/cdb in qmail-lspawn.\n".to_owned()));
    house.give("users/cdb", 0);
    house.write("users/cdb", "short");
    assert_eq!(said(&house.deliver("joe").await), (111, "Trouble reading users/cdb in qmail-lspawn.\n".to_owned()));
}

#[tokio::test]
async fn a_late_child_is_killed_with_its_whole_group() {
    if !is_root() {
        return;
    }
    let mut house = House::new();
    house.write("joe/.qmail", "|sleep 1000 & echo $! > pid; echo partial; wait\n");
    // On a busy machine the shell may not come far in a short time: longer, until it has left its word.
    for millis in [500, 2000, 8000, 32_000] {
        house.settings.timeout = Duration::from_millis(millis);
        let report = house.deliver("joe").await;
        assert_eq!(said(&report), (111, "Delivery took too long and was stopped. (#4.3.0)\n".to_owned()));
        if house.path("joe/pid").try_exists().unwrap() {
            break;
        }
    }
    let pid: i32 = house.read("joe/pid").trim().parse().unwrap();
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { panic!("no pid") };
    // The signal is sent, but on a busy machine the process may need its turn to die: its pidfd tells the moment.
    if let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let mut fds = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
        let wait = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut fds, Some(&wait)).unwrap(), 1, "the grandchild was not killed");
    }
}

#[tokio::test]
async fn output_is_capped_and_crashes_are_temporary() {
    if !is_root() {
        return;
    }
    let house = House::new();
    house.write("joe/.qmail", "|yes x | head -c 3000000; exit 100\n");
    let report = house.deliver("joe").await;
    assert_eq!((report.exit, report.text.len()), (100, 10_000));
    house.write("joe/.qmail-crash", "|kill -9 $PPID\n");
    assert_eq!(said(&house.deliver("joe-crash").await), (111, "qmail-local crashed.\n".to_owned()));
}

// A message too large for memory travels in an unlinked file, which the user's programs can open again by name.
#[tokio::test]
async fn large_messages_arrive_whole_and_cannot_be_changed() {
    if !is_root() {
        return;
    }
    let house = House::new();
    house.write("joe/.qmail", "|wc -c < /dev/stdin > size; (echo x >> /dev/stdin) 2>/dev/null; true\n|wc -c > again\n");
    for bytes in [1000usize, 3 << 20] {
        let (link, _spawner) = house.start();
        let report = link.run_local(delivery("joe", Body::Memory(vec![b'x'; bytes].into()))).await;
        assert_eq!(said(&report), (0, "did 0+0+2\n".to_owned()));
        let want = (bytes + "Received: here\n".len()).to_string();
        assert_eq!((house.read("joe/size").trim(), house.read("joe/again").trim()), (want.as_str(), want.as_str()));
    }
}

#[tokio::test]
async fn more_deliveries_than_places_all_end_and_the_spawner_ends_with_its_worker() {
    if !is_root() {
        return;
    }
    let mut house = House::new();
    house.settings.concurrency = 2;
    house.write("joe/.qmail-default", "|echo \"$EXT\"\n");
    let (link, spawner) = house.start();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..12 {
        let link = link.clone();
        running.spawn(async move {
            let report = link.run_local(delivery(&format!("joe-{number}"), Body::Memory("b\n".into()))).await;
            assert_eq!(said(&report), (0, format!("{number}\ndid 0+0+1\n")));
        });
    }
    assert_eq!(running.join_all().await.len(), 12);
    link.close();
    assert!(spawner.join().unwrap().is_ok());
    link.closed().await;
    let report = link.run_local(delivery("joe-x", Body::Memory("b\n".into()))).await;
    assert_eq!(said(&report), (111, "The spawner is gone. (#4.3.0)\n".to_owned()));
}

// A broken worker must not have deliveries run that nobody counts and stops.
#[test]
fn a_number_in_use_begins_no_second_delivery() {
    if !is_root() {
        return;
    }
    let house = House::new();
    house.write("joe/.qmail", "|echo >>ran; sleep 0.3\n");
    let (ours, theirs) = postino_spawn::pair().unwrap();
    let settings = house.settings.clone();
    let spawner = std::thread::spawn(move || postino_spawn::serve(theirs, &settings));
    let request = postino_types::spawn_frame::Request { id: 7, local: b"joe".to_vec(), host: b"x".to_vec(), ..Default::default() };
    let message = house.path("message");
    fs::write(&message, "A: b\n\nc\n").unwrap();
    let packet = request.encode().unwrap();
    for _ in 0..2 {
        let file = fs::File::open(&message).unwrap();
        postino_spawn::send(&ours, &packet, Some(std::os::fd::AsFd::as_fd(&file))).unwrap();
    }
    let mut answer = [0u8; 4096];
    assert!(rustix::io::read(&ours, &mut answer).unwrap() > 0);
    drop(ours);
    spawner.join().unwrap().unwrap();
    assert_eq!(house.read("joe/ran"), "\n");
}
