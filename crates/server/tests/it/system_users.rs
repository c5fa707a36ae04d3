//! System users: `.qmail` read and run as the user, through the spawner, after the drop.

use super::client::{Line, deliver};
use super::house::{House, is_root, run, text, wait_for};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A system account made for the test and removed after it.
struct Account {
    name: String,
    home: PathBuf,
}

impl Account {
    fn new(house: &House, name: &str) -> Self {
        let home = house.home.parent().unwrap().join(name);
        let _ = Command::new("userdel").arg(name).output();
        run(Command::new("useradd").args(["--no-user-group", "--create-home", "--shell", "/bin/sh", "--home-dir"]).arg(&home).arg(name));
        Self { name: name.into(), home }
    }
    fn write(&self, file: &str, content: &str) {
        let path = self.home.join(file);
        std::fs::write(&path, content).unwrap();
        run(Command::new("chown").arg(&self.name).arg(&path));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    fn uid(&self) -> u32 {
        std::fs::metadata(&self.home).unwrap().uid()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.name).output();
    }
}

fn content_of_dir(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
}

#[test]
fn dot_qmail_runs_as_the_user_and_forwards_and_bounces() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let house = House::new("");
    house.control("locals", "mail.example.test\n");
    let anna = Account::new(&house, "pstitanna");
    let mut house = house;
    house.start();
    // A program sees the user's uid, the environment and the message; its answer reaches the log.
    anna.write(".qmail", "|id -u > seen; echo \"$SENDER|$RECIPIENT|$EXT\" >> seen; cat >> seen; echo done\n./Maildir/\n");
    for d in ["Maildir", "Maildir/new", "Maildir/cur", "Maildir/tmp"] {
        std::fs::create_dir(anna.home.join(d)).unwrap();
        run(Command::new("chown").arg(&anna.name).arg(anna.home.join(d)));
    }
    deliver(house.ports.smtp, "a@x.test", "pstitanna@mail.example.test", "Subject: for Anna\r\n\r\nhello");
    wait_for("Anna's Maildir", || !content_of_dir(&anna.home.join("Maildir/new")).is_empty());
    let seen = text(&std::fs::read(anna.home.join("seen")).unwrap());
    assert!(seen.starts_with(&format!("{}\na@x.test|pstitanna@mail.example.test|\n", anna.uid())), "{seen}");
    assert!(seen.contains("Subject: for Anna"), "{seen}");
    let delivered = content_of_dir(&anna.home.join("Maildir/new"));
    assert_eq!(std::fs::metadata(&delivered[0]).unwrap().uid(), anna.uid());
    // An extension that forwards to a virtual user.
    anna.write(".qmail-list", "&pippo@example.test\n&pluto@example.test\n");
    deliver(house.ports.smtp, "a@x.test", "pstitanna-list@mail.example.test", "Subject: to the list\r\n\r\nhello");
    let files = house.wait_messages("pippo", 1);
    house.wait_messages("pluto", 1);
    let got = text(&std::fs::read(&files[0]).unwrap());
    assert!(got.contains("Delivered-To: pstitanna-list@mail.example.test"), "{got}");
    // Exit 100 bounces with the program's words.
    anna.write(".qmail-no", "|echo not today; exit 100\n");
    deliver(house.ports.smtp, "pippo@example.test", "pstitanna-no@mail.example.test", "Subject: no\r\n\r\nhello");
    let files = house.wait_messages("pippo", 2);
    assert!(files.iter().any(|f| text(&std::fs::read(f).unwrap()).contains("not today")));
    // A user who is not there is refused at RCPT; root never gets mail.
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@x.test>", "250");
    line.expect("RCPT TO:<pstitnobody@mail.example.test>", "550");
    line.expect("RCPT TO:<root@mail.example.test>", "550");
    house.wait_empty();
}

#[test]
fn an_alias_file_answers_for_a_name() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let house = House::new("");
    house.control("locals", "mail.example.test\n");
    std::fs::write(house.home.join("alias/.qmail-info:desk"), "pippo@example.test\n").unwrap();
    let mut house = house;
    house.start();
    deliver(house.ports.smtp, "a@x.test", "Info.Desk@mail.example.test", "Subject: alias\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@x.test>", "250");
    line.expect("RCPT TO:<other@mail.example.test>", "550");
}
