//! The world of one case: accounts, homes, control files, the programs under `/var/qmail/bin`, and a running `qmail-start`. Called by
//! `qmail_cases` in namespaces of its own, where covering `/var` and `/home` harms nobody.

use super::super::house::{run, text};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const QMAIL: &str = "/var/qmail";
/// Users of the recorded cases with their numbers; the first three own mail.
const ACCOUNTS: [(&str, u32); 9] = [
    ("oqalice", 5992),
    ("oqbob", 5993),
    ("alias", 1001),
    ("qmaild", 5981),
    ("qmaill", 5982),
    ("qmailp", 5983),
    ("qmailq", 5984),
    ("qmailr", 5985),
    ("qmails", 5986),
];
/// How long a case may take to settle; a case that leaves a message waiting settles when its lines are there.
const SETTLED: Duration = Duration::from_secs(15);

/// The names that a seed gives.
pub(super) struct Names {
    swaps: Vec<(&'static str, String)>,
}

impl Names {
    /// 0 is the names as recorded.
    pub(super) fn new(seed: u64) -> Self {
        if seed == 0 {
            return Self { swaps: Vec::new() };
        }
        let syllables = ["ka", "mo", "ri", "tu", "le", "po", "sa", "vi"];
        let word = |salt: u64| {
            let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(salt.wrapping_mul(1_442_695_040_888_963_407)) | 1;
            let mut word = String::new();
            for _ in 0..3 + (state >> 60) % 2 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                word.push_str(syllables[usize::try_from(state >> 61).unwrap()]);
            }
            word
        };
        let swaps = vec![
            ("oqalice", format!("a{}", word(1))),
            ("oqbob", format!("b{}", word(2))),
            // One label for one: HOST2 and its like count them.
            ("oracle", word(3)),
            ("body line", format!("{} {}", word(5), word(6))),
            ("Subject: t\\n", format!("Subject: {}\\n", word(7))),
        ];
        Self { swaps }
    }

    /// The text with other names.
    pub(super) fn varied(&self, text: &str) -> String {
        self.swaps.iter().fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    /// How the cases write this user's number.
    pub(super) fn token(&self, uid: &str) -> String {
        let known = ACCOUNTS.iter().find(|(_, number)| number.to_string() == uid);
        known.map_or_else(|| uid.to_owned(), |(name, _)| format!("<{}>", name.to_uppercase()))
    }

    fn users(&self) -> Vec<(String, u32, PathBuf)> {
        let home = |name: &str| if name.starts_with("qmail") { QMAIL.into() } else { Path::new("/home").join(name) };
        let home = |name: &str| if name == "alias" { Path::new(QMAIL).join("alias") } else { home(name) };
        ACCOUNTS.iter().map(|(name, uid)| (self.varied(name), *uid)).map(|(name, uid)| (name.clone(), uid, home(&name))).collect()
    }
}

/// What a run left.
pub(super) struct Seen {
    pub(super) queue_exit: i32,
    pub(super) log: String,
    pub(super) files: Vec<(String, String)>,
}

/// Made and not yet started.
pub(super) struct World {
    before: Vec<PathBuf>,
}

impl World {
    pub(super) fn new(names: &Names, setup: &Value) -> Self {
        covers();
        accounts(names);
        programs();
        for name in ["control", "users"] {
            fs::create_dir(Path::new(QMAIL).join(name)).unwrap();
        }
        fs::write(Path::new(QMAIL).join("control/me"), names.varied("oracle.test\n")).unwrap();
        let users = names.users();
        for (_, uid, home) in users.iter().take(3) {
            fs::create_dir_all(home).unwrap();
            fs::set_permissions(home, Permissions::from_mode(0o700)).unwrap();
            chown(home, Some(*uid), Some(*uid)).unwrap();
            maildir(&home.join("Maildir"), *uid);
        }
        let mut world = Self { before: Vec::new() };
        for (name, value) in setup.as_object().into_iter().flatten() {
            world.place(&users, name, value);
        }
        if Path::new(QMAIL).join("users/assign").is_file() {
            run(&mut Command::new("/var/qmail/bin/qmail-newu"));
        }
        world
    }

    fn place(&mut self, users: &[(String, u32, PathBuf)], name: &str, value: &Value) {
        let owned = name.strip_prefix('~').map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let Some((user, rest)) = owned else {
            let path = Path::new(QMAIL).join(name);
            match value.as_str() {
                Some(content) => fs::write(path, content).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            return;
        };
        let (_, uid, home) = users.iter().find(|(name, _, _)| name == user).unwrap();
        let path = home.join(rest);
        let (content, mode) = match value {
            Value::String(content) => (Some(content.as_str()), None),
            other => (other["content"].as_str(), other["mode"].as_str()),
        };
        if content == Some("(maildir)") {
            return maildir(&path, *uid);
        }
        if !rest.is_empty() {
            fs::write(&path, content.unwrap_or_default()).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
            chown(&path, Some(*uid), Some(*uid)).unwrap();
            self.before.push(path.clone());
        }
        if let Some(mode) = mode {
            fs::set_permissions(&path, Permissions::from_mode(u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap())).unwrap();
        }
    }

    /// Starts the queue manager, hands it the message, waits for `lines` of the log, ends it.
    pub(super) fn run(&self, names: &Names, input: &Value, lines: usize) -> Seen {
        let mut engine = Command::new("/var/qmail/bin/qmail-start");
        let log = Path::new("/var/log.txt");
        engine.arg("./Maildir/").env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null()).stdout(File::create(log).unwrap());
        let mut engine = engine.spawn().unwrap();
        let read = || text(&fs::read(log).unwrap());
        until(&mut engine, || read().contains("status: "));
        let queue_exit = inject(names, input);
        until(&mut engine, || read().lines().count() >= lines);
        let pid = rustix::process::Pid::from_raw(i32::try_from(engine.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let patience = Instant::now();
        while engine.try_wait().unwrap().is_none() && patience.elapsed() < SETTLED {
            std::thread::sleep(Duration::from_millis(10));
        }
        Seen { queue_exit, log: read(), files: self.files(names) }
    }

    fn files(&self, names: &Names) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (name, _, home) in names.users().iter().take(3) {
            let mut folders = vec![home.clone()];
            while let Some(folder) = folders.pop() {
                for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                    if path.is_dir() {
                        folders.push(path);
                    } else if !self.before.contains(&path) {
                        let short = format!("~{name}/{}", path.strip_prefix(home).unwrap().display());
                        found.push((short, text(&fs::read(&path).unwrap())));
                    }
                }
            }
        }
        found
    }
}

/// Waits; a case that never gets there shows in what it left.
fn until(engine: &mut Child, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() && start.elapsed() < SETTLED && engine.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn inject(names: &Names, input: &Value) -> i32 {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let recipients: String = input["recipients"].as_array().unwrap().iter().map(|to| format!("T{}\0", word(to))).collect();
    fs::write("/var/envelope", format!("F{}\0{recipients}\0", word(&input["sender"]))).unwrap();
    fs::write("/var/message", word(&input["message"])).unwrap();
    let by = word(&input["injected by"]);
    let uid = names.users().iter().find(|(name, _, _)| *name == by).map_or(0, |(_, uid, _)| *uid);
    let mut queue = Command::new("/var/qmail/bin/qmail-queue");
    queue.uid(uid).gid(uid).stdin(File::open("/var/message").unwrap()).stdout(File::open("/var/envelope").unwrap());
    queue.status().unwrap().code().unwrap_or(-1)
}

fn mount(words: &[&str]) {
    run(Command::new("mount").args(words));
}

fn covers() {
    for binary in binaries() {
        assert!(binary.is_file(), "{} is not built: cargo build -p postino-compat", binary.display());
    }
    fs::create_dir_all("/tmp").unwrap();
    mount(&["-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/tmp"]);
    fs::create_dir("/tmp/bin").unwrap();
    for (binary, name) in binaries().iter().zip(["postino", "postino-compat"]) {
        File::create(Path::new("/tmp/bin").join(name)).unwrap();
        mount(&["--bind", binary.to_str().unwrap(), &format!("/tmp/bin/{name}")]);
    }
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var"]);
    mount(&["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/home"]);
    run(Command::new("ip").args(["link", "set", "lo", "up"]));
}

/// Under the target folder, which may itself lie where the world is about to be.
fn binaries() -> [PathBuf; 2] {
    let postino = PathBuf::from(env!("CARGO_BIN_EXE_postino"));
    let beside = postino.with_file_name("postino-compat");
    [postino, beside]
}

fn programs() {
    let bin = Path::new(QMAIL).join("bin");
    fs::create_dir_all(&bin).unwrap();
    for (from, name) in [("postino", "qmail-send"), ("postino-compat", "postino-compat")] {
        File::create(bin.join(name)).unwrap();
        mount(&["--bind", &format!("/tmp/bin/{from}"), bin.join(name).to_str().unwrap()]);
    }
    for name in [
        "qmail-start",
        "qmail-queue",
        "qmail-newu",
        "qmail-local",
        "qmail-remote",
        "qmail-getpw",
        "qmail-inject",
        "forward",
        "bouncesaying",
        "condredirect",
        "except",
        "maildirmake",
    ] {
        std::os::unix::fs::symlink("postino-compat", bin.join(name)).unwrap();
    }
}

fn accounts(names: &Names) {
    let mut passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n".to_owned();
    let mut group = "root:x:0:\nnogroup:x:65534:\n".to_owned();
    for (name, uid, home) in names.users() {
        passwd += &format!("{name}:x:{uid}:{uid}::{}:/bin/sh\n", home.display());
        group += &format!("{name}:x:{uid}:\n");
    }
    for (name, content) in [("passwd", passwd), ("group", group)] {
        fs::write(Path::new("/tmp").join(name), content).unwrap();
        mount(&["--bind", &format!("/tmp/{name}"), &format!("/etc/{name}")]);
    }
}

fn maildir(path: &Path, uid: u32) {
    for part in [path.to_path_buf(), path.join("tmp"), path.join("new"), path.join("cur")] {
        fs::create_dir(&part).unwrap();
        fs::set_permissions(&part, Permissions::from_mode(0o700)).unwrap();
        chown(&part, Some(uid), Some(uid)).unwrap();
    }
}
