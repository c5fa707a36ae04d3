//! A qmail and vpopmail machine, made in their exact formats, is imported: settings, mail with its names and times, passwords of old kinds, the
//! waiting queue with its ages; the source stays as it was, a killed import goes on.

use super::client::Line;
use super::house::{House, postino, run, text, wait_for, worker_user};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

/// `segreto` by MD5 crypt and by DES, with old salts.
const MD5: &str = "$1$saltsalt$aiyS8mM0KgZCpr50FAqpr1";
const DES: &str = "saDYtFF6NAt2A";

/// The old machine, in a folder of its own.
struct Machine {
    dir: PathBuf,
}

impl Machine {
    fn new(house: &House) -> Self {
        let machine = Self { dir: house.home.parent().unwrap().join("old") };
        machine.file("qmail/control/me", "mail.old.test\n");
        machine.file("qmail/control/locals", "mail.old.test\n");
        machine.file("qmail/control/rcpthosts", "mail.old.test\nold.test\n");
        machine.file("qmail/control/virtualdomains", "old.test:old.test\n");
        machine.file("qmail/control/smtproutes", ":127.0.0.1:9\n");
        machine.file("qmail/control/spfbehavior", "3\n");
        machine.file("qmail/rc", "#!/bin/sh\nexec env - PATH=\"/var/qmail/bin:$PATH\" \\\nqmail-start ./Maildir/ splogger qmail\n");
        machine.file("qmail/alias/.qmail-postmaster", "&pippo@old.test\n");
        let v = machine.vpopmail();
        let v = v.display();
        machine.file(
            "qmail/users/assign",
            format!("+old.test-:old.test:89:89:{v}/domains/old.test:-::\n+new.test-:old.test:89:89:{v}/domains/old.test:-::\n.\n"),
        );
        machine.file("vpopmail/domains/old.test/.qmail-default", format!("| {v}/bin/vdelivermail '' bounce-no-mailbox\n"));
        let line = |user: &str, hash: &str, at: &str| format!("{user}:{hash}:1:0:{user}:{v}/domains/old.test/{at}:NOQUOTA\n");
        let accounts = [line("pippo", MD5, "pippo"), line("pluto", DES, "0/pluto"), line("postmaster", MD5, "postmaster")].concat();
        machine.file("vpopmail/domains/old.test/vpasswd", &accounts);
        machine.file("vpopmail/domains/old.test/pippo/Maildir/cur/1000000001.1.old,S=11:2,RS", "Subject: a\n");
        machine.file("vpopmail/domains/old.test/pippo/Maildir/new/1000000002.2.old,S=11", "Subject: b\n");
        machine.file("vpopmail/domains/old.test/pippo/Maildir/tmp/unfinished", "x");
        machine.file("vpopmail/domains/old.test/pippo/Maildir/.Sent/cur/1000000003.3.old,S=11:2,S", "Subject: c\n");
        machine.file("vpopmail/domains/old.test/pippo/Maildir/courierimapuiddb", "1 1000000000 4\n1 1000000001.1.old,S=11\n");
        machine.file("vpopmail/domains/old.test/0/pluto/Maildir/new/1000000004.4.old,S=11", "Subject: d\n");
        for folder in ["pippo/Maildir", "pippo/Maildir/.Sent", "0/pluto/Maildir", "postmaster/Maildir"] {
            for part in ["cur", "new", "tmp"] {
                fs::create_dir_all(machine.vpopmail().join("domains/old.test").join(folder).join(part)).unwrap();
            }
        }
        machine.file("vpopmail/etc/vlimits.default", "maxpopaccounts 7\n");
        for folder in ["todo", "intd", "bounce", "lock", "info/1", "local/1", "remote/1", "mess/1"] {
            fs::create_dir_all(machine.dir.join("qmail/queue").join(folder)).unwrap();
        }
        machine.file("qmail/queue/lock/sendmutex", "");
        machine
    }

    fn vpopmail(&self) -> PathBuf {
        self.dir.join("vpopmail")
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A message that qmail-send was working on: recipients with `T` and `D` as they stand.
    fn waiting(&self, body: &str, born: SystemTime, files: &[(&str, &[u8])]) {
        let first = self.file("qmail/queue/mess/1/new", body);
        let number = fs::metadata(&first).unwrap().ino();
        fs::rename(&first, first.with_file_name(number.to_string())).unwrap();
        for (kind, content) in files {
            let name = match *kind {
                "bounce" | "todo" => format!("qmail/queue/{kind}/{number}"),
                _ => format!("qmail/queue/{kind}/1/{number}"),
            };
            let path = self.file(&name, content);
            File::options().write(true).open(path).unwrap().set_modified(born).unwrap();
        }
    }

    fn import(&self, house: &House, words: &[&str]) -> Output {
        let mut command = postino();
        command.args(["import", "qmail"]).arg(self.dir.join("qmail"));
        if !words.contains(&"--queue-only") {
            command.arg(self.vpopmail());
        }
        command.args(words).args(["--user", &worker_user()]).arg("--home").arg(&house.home).output().unwrap()
    }
}

/// Every name with its inode, size, mode and times.
fn state(dir: &Path) -> Vec<String> {
    let listing = run(Command::new("find").arg(dir).args(["-printf", "%p %i %s %m %U %T@\n"]));
    let mut lines: Vec<String> = text(&listing.stdout).lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}{}", text(&output.stdout), text(&output.stderr)))
}

fn login(house: &House, user: &str) -> Line {
    let mut pop = Line::try_connect(house.ports.pop3).unwrap().0;
    pop.expect(&format!("USER {user}"), "+OK");
    pop.expect("PASS segreto", "+OK");
    pop
}

#[test]
fn a_machine_moves_with_its_mail_its_passwords_and_its_waiting_queue() {
    let mut house = House::bare();
    let machine = Machine::new(&house);
    let born =
        SystemTime::UNIX_EPOCH + Duration::from_secs(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() - 86_400);
    let received = "Received: (qmail 1 invoked by uid 0); 1 Jan 2026 00:00:00 -0000\n";
    machine.waiting(
        &format!("{received}Subject: waits\n\nbody\n"),
        born,
        &[
            ("info", b"Fs@far.test\0"),
            ("local", b"Told.test-pippo@old.test\0Dold.test-pluto@old.test\0"),
            ("remote", b"Dgone@far.test\0Tr@far.test\0"),
        ],
    );
    machine.waiting("Subject: new\n\nx\n", born, &[("todo", b"u0\0p9\0Fs@far.test\0Tpluto@old.test\0")]);
    machine.waiting(
        "Subject: failed\n\nx\n",
        born,
        &[("info", b"Fpippo@old.test\0"), ("remote", b"Dx@far.test\0"), ("bounce", b"<x@far.test>:\nSorry, no such box. (#5.1.1)\n\n")],
    );
    machine.waiting("Subject: torn\n\nx\n", born, &[("info", b"Fs@far.test\0"), ("remote", b"Tr@far.te")]);
    machine.waiting("Subject: never accepted\n\nx\n", born, &[]);
    symlink("/etc/passwd", machine.vpopmail().join("domains/old.test/pippo/Maildir/new/1000000009.9.old")).unwrap();
    symlink("/etc", machine.vpopmail().join("domains/old.test/evil")).unwrap();
    let before = state(&machine.dir);

    let plan = machine.import(&house, &["--dry-run", "--json"]);
    assert_eq!(plan.status.code(), Some(3), "{}", text(&plan.stderr));
    assert_eq!(json(&plan)["messages"], 4);
    assert!(!house.home.try_exists().unwrap(), "a plan makes nothing");
    assert_eq!(state(&machine.dir), before);

    let done = machine.import(&house, &["--json"]);
    assert_eq!(done.status.code(), Some(3), "{}", text(&done.stderr));
    let report = json(&done);
    assert_eq!((&report["messages"], &report["accounts"], &report["queued"]), (&4.into(), &3.into(), &3.into()), "{report:#}");
    let left = report["not_mapped"].to_string();
    for what in ["spfbehavior", "1000000009.9.old", "evil", "torn"] {
        assert!(left.contains(what), "{what} is not in {left}");
    }
    assert_eq!(state(&machine.dir), before, "the source is never changed");

    let maildir = house.home.join("domains/old.test/pippo/Maildir");
    let kept = fs::metadata(maildir.join("cur/1000000001.1.old,S=11:2,RS")).unwrap();
    let original = fs::metadata(machine.vpopmail().join("domains/old.test/pippo/Maildir/cur/1000000001.1.old,S=11:2,RS")).unwrap();
    assert_eq!((kept.mtime(), kept.mtime_nsec(), kept.len()), (original.mtime(), original.mtime_nsec(), 11));
    assert!(maildir.join(".Sent/cur/1000000003.3.old,S=11:2,S").try_exists().unwrap());
    assert!(maildir.join("courierimapuiddb").try_exists().unwrap());
    assert!(!maildir.join("tmp/unfinished").try_exists().unwrap());
    assert_eq!(fs::read_to_string(house.home.join("control/defaultdelivery")).unwrap(), "./Maildir/\n");

    let waiting: serde_json::Value = serde_json::from_str(&house.cli(&["queue", "list", "--json"])).unwrap();
    let of = |sender: &str, count: usize| {
        let found =
            waiting.as_array().unwrap().iter().find(|e| e["sender"] == sender && e["recipients"].as_array().unwrap().len() == count);
        found.unwrap_or_else(|| panic!("{sender} with {count} in {waiting:#}")).clone()
    };
    let first = of("s@far.test", 2);
    let seconds = i64::try_from(born.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert_eq!(first["arrived"], seconds, "{first:#}");
    assert_eq!(first["expires"], seconds + 604_800, "the lifetime goes on from there");
    of("s@far.test", 1);
    of("", 1);

    house.write_toml("");
    house.start();
    assert!(login(&house, "pippo@old.test").command("UIDL 1").starts_with("+OK 1 1000000001.1.old,S=11"), "names, and so UIDLs, stay");
    login(&house, "pluto@old.test");
    wait_for("the waiting mail", || {
        let all: Vec<String> = super::house::maildir_files(&maildir).iter().map(|f| text(&fs::read(f).unwrap())).collect();
        let waits = all.iter().find(|m| m.contains("Subject: waits"));
        let notice = all.iter().find(|m| m.contains("Sorry, no such box. (#5.1.1)"));
        waits.is_some_and(|m| m.contains(received)) && notice.is_some_and(|m| m.contains("Subject: failed") && m.contains("<x@far.test>:"))
    });
    house.stop();

    let again = machine.import(&house, &["--json"]);
    assert_eq!(again.status.code(), Some(1), "a home that has been switched over asks for --again");
    let again = json(&machine.import(&house, &["--json", "--again"]));
    assert_eq!((&again["messages"], &again["queued"], &again["queued_before"]), (&0.into(), &0.into(), &3.into()), "{again:#}");
}

#[test]
fn a_queue_whose_qmail_send_runs_is_left_alone() {
    let house = House::bare();
    let machine = Machine::new(&house);
    let held = File::open(machine.dir.join("qmail/queue/lock/sendmutex")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let refused = machine.import(&house, &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("qmail-send runs"), "{}", text(&refused.stderr));
    let rest = machine.import(&house, &["--no-queue"]);
    assert_eq!(rest.status.code(), Some(3), "{}", text(&rest.stderr));
}

#[test]
fn an_import_that_is_killed_goes_on_and_takes_nothing_twice() {
    let house = House::bare();
    let machine = Machine::new(&house);
    const COUNT: usize = 400;
    let born = SystemTime::now() - Duration::from_secs(7200);
    for number in 0..COUNT {
        // Twenty of one second, one size and to one address, as cron's are.
        let born = born + Duration::from_secs(u64::try_from(number / 20).unwrap());
        machine.waiting(&format!("Subject: {number:03}\n\nx\n"), born, &[("info", b"Fs@far.test\0"), ("remote", b"Tr@far.test\0")]);
    }
    let journal = house.home.join("queue/imported");
    let mut kills = 0;
    loop {
        use std::os::unix::process::CommandExt as _;
        let before = fs::metadata(&journal).map_or(0, |m| m.len());
        let mut command = postino();
        command.args(["import", "qmail"]).arg(machine.dir.join("qmail")).arg(machine.vpopmail()).args(["--user", &worker_user()]);
        let mut child = command.arg("--home").arg(&house.home).process_group(0).stdout(Stdio::null()).spawn().unwrap();
        let mut ended = None;
        wait_for("the journal to grow", || {
            ended = child.try_wait().unwrap();
            ended.is_some() || fs::metadata(&journal).map_or(0, |m| m.len()) > before
        });
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(3));
            break;
        }
        let group = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0, "it was never killed");
    let list: serde_json::Value = serde_json::from_str(&house.cli(&["queue", "list", "--json"])).unwrap();
    let mut arrivals: Vec<i64> = list.as_array().unwrap().iter().map(|e| e["arrived"].as_i64().unwrap()).collect();
    arrivals.sort_unstable();
    assert_eq!(arrivals.len(), COUNT, "after {kills} kills");
    assert!(arrivals.chunk_by(|a, b| a == b).all(|second| second.len() == 20), "each once");
}
