//! A qmail machine made by `install-compat` in namespaces of its own: mail that ordinary users send while qmail-send is stopped, and an engine that
//! is killed again and again under load. Needs root and util-linux; without them it says so.

use super::client::Line;
use super::house::{is_root, run, text, wait_for};
use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Set in the namespaces.
const INSIDE: &str = "POSTINO_QMAIL_DOWN";
const NEW: &str = "/home/ann/Maildir/new";
const ANN: u32 = 6001;
const PORT: u16 = 2525;
/// The account `nobody`.
const NOBODY: u32 = 65534;
/// Kills of the engine in the short form; `POSTINO_CRASH_ROUNDS` makes it longer.
const KILLS: usize = 6;

/// Accounts, the installed names, one user with a Maildir. `$1` and `$2`: the two binaries.
const SETUP: &str = r#"
mount -t tmpfs -o mode=1777 tmpfs /tmp; mkdir /tmp/bin
for file in "$1" "$2"; do n=${file##*/}; cp "$file" /tmp/bin/$n; done
mount -t tmpfs -o mode=755 tmpfs /var; mount -t tmpfs -o mode=755 tmpfs /home; mkdir -m 1777 /var/tmp
mkdir /tmp/usr; for d in /usr/local/bin /usr/local/sbin; do mount -t tmpfs -o mode=755 tmpfs $d; done
ip link set lo up
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\nann:x:6001:6001::/home/ann:/bin/sh\nvpopmail:x:5978:5978::/home/vpopmail:/bin/sh\n' >/tmp/passwd
printf 'root:x:0:\nnogroup:x:65534:\nann:x:6001:\nvchkpw:x:5978:\nqmail:x:5980:\nnofiles:x:5979:\n' >/tmp/group
i=5981; for a in alias qmaild qmaill qmailp qmailq qmailr qmails; do echo "$a:x:$i:5980::/var/qmail:/bin/false" >>/tmp/passwd; i=$((i+1)); done
mount --bind /tmp/passwd /etc/passwd; mount --bind /tmp/group /etc/group
/tmp/bin/postino install-compat >/dev/null
q=/var/qmail; chown qmails $q/queue/lock; for f in me locals rcpthosts; do echo h.test >$q/control/$f; done
mkdir -p /home/ann; for d in "" /new /cur /tmp; do mkdir /home/ann/Maildir$d; done; chown -R 6001:6001 /home/ann
"#;

fn possible() -> bool {
    let able = is_root()
        && Command::new("unshare").args(["-m", "-p", "-n", "-f", "--mount-proc", "true"]).status().is_ok_and(|status| status.success());
    if !able {
        println!("skipped: a qmail machine of its own needs root and unshare");
    }
    able
}

/// Runs one of the tests below in namespaces of its own.
fn inside(name: &str) {
    if !possible() {
        return;
    }
    let output = Command::new("unshare")
        .args(["-m", "-p", "-n", "-f", "--mount-proc", "--kill-child", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(INSIDE, "yes")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&output.stderr);
    print!("{said}");
    assert!(output.status.success() && said.contains("in its world: "), "{}{said}", text(&output.stdout));
}

fn set_up() {
    let postino = Path::new(env!("CARGO_BIN_EXE_postino"));
    let compat = postino.with_file_name("postino-compat");
    assert!(compat.is_file(), "{} is not built: cargo build -p postino-compat", compat.display());
    run(Command::new("sh").args(["-e", "-c", SETUP, "sh"]).arg(postino).arg(compat));
}

/// A historical program with an empty environment.
fn program(name: &str) -> Command {
    let folder = if name == "tcpserver" { "/usr/local/bin" } else { "/var/qmail/bin" };
    let mut command = Command::new(Path::new(folder).join(name));
    command.env_clear().env("PATH", "/var/qmail/bin:/usr/local/bin:/usr/bin:/bin").current_dir("/");
    command
}

/// An ordinary user.
fn as_user(mut command: Command, id: u32) -> Command {
    command.uid(id).gid(id);
    command
}

fn fed(command: &mut Command, input: &str) -> Option<i32> {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait().unwrap().code()
}

fn engine() -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open("/tmp/log").unwrap();
    program("qmail-start").arg("./Maildir/").stdin(Stdio::null()).stdout(log).spawn().unwrap()
}

fn log() -> String {
    text(&std::fs::read("/tmp/log").unwrap_or_default())
}

fn delivered() -> Vec<String> {
    std::fs::read_dir(NEW).unwrap().map(|entry| text(&std::fs::read(entry.unwrap().path()).unwrap())).collect()
}

fn count_in(messages: &[String], subject: &str) -> usize {
    messages.iter().filter(|message| message.contains(&format!("Subject: {subject}\n"))).count()
}

#[test]
fn while_qmail_send_is_stopped_users_mail_is_safe_and_delivered_once_later() {
    inside("qmail_down::stopped_in_its_world");
}

#[test]
#[ignore = "started by the test above"]
fn stopped_in_its_world() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    set_up();
    let mail = |subject: &str| format!("From: x@h.test\nTo: ann@h.test\nSubject: {subject}\n\nhello\n");
    assert_eq!(fed(as_user(program("qmail-inject"), NOBODY).arg("ann@h.test"), &mail("inject")), Some(0));
    assert_eq!(fed(as_user(program("sendmail"), NOBODY).arg("-t"), &mail("sendmail")), Some(0));
    std::fs::write("/tmp/envelope", b"Fx@h.test\0Tann@h.test\0\0").unwrap();
    let envelope = std::fs::File::open("/tmp/envelope").unwrap();
    assert_eq!(fed(as_user(program("qmail-queue"), NOBODY).stdout(envelope), &mail("queue")), Some(0));
    let mut send = Command::new("/tmp/bin/postino");
    send.args(["send", "--from", "x@h.test", "--to", "ann@h.test"]);
    assert_eq!(fed(&mut as_user(send, NOBODY), &mail("send")), Some(0));
    // An SMTP client, too: qmail-smtpd has no right to the drop directory, qmail-queue has.
    let session = format!("HELO x\nMAIL FROM:<x@h.test>\nRCPT TO:<ann@h.test>\nDATA\n{}.\nQUIT\n", mail("smtp")).replace('\n', "\r\n");
    assert_eq!(fed(as_user(program("qmail-smtpd"), 5982).stdout(Stdio::null()), &session), Some(0));
    // Nobody reads what others left, nor takes it away.
    let left: Vec<_> = std::fs::read_dir("/var/qmail/queue/drop").unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left.len(), 5);
    for path in &left {
        for tool in ["cat", "rm"] {
            let mut command = Command::new(tool);
            command.arg(path).stdin(Stdio::null()).stderr(Stdio::null());
            assert!(!as_user(command, ANN).status().unwrap().success(), "{tool} {}", path.display());
        }
    }
    // The engine dies at once, twice, and then lives. Its parts end a moment after it.
    let socket = || std::os::unix::net::UnixStream::connect("/var/qmail/run/queue.sock");
    for _ in 0..2 {
        let mut first = engine();
        wait_for("the socket", || socket().is_ok());
        first.kill().unwrap();
        first.wait().unwrap();
        wait_for("the end of all parts", || socket().is_err() && lock_is_free());
    }
    let mut engine = engine();
    // A message of the drop directory is not in the queue yet, or in both: when both are empty everything is delivered.
    wait_for("five messages", || delivered_count() >= 5 && queue_is_empty());
    let messages = delivered();
    for subject in ["inject", "sendmail", "queue", "send", "smtp"] {
        assert!(count_in(&messages, subject) >= 1, "{subject} is missing\n{}", log());
    }
    // The drop directory is emptied one by one: a kill repeats one message at most.
    assert!(messages.len() <= 7, "{} copies of 5 messages\n{}", messages.len(), log());
    assert!(messages.iter().any(|message| message.contains(" invoked by uid 65534); ")), "{}", messages[0]);
    engine.kill().unwrap();
    engine.wait().unwrap();
    eprintln!("in its world: {} copies of 5 messages", messages.len());
}

#[test]
fn an_engine_killed_under_load_loses_nothing() {
    inside("qmail_down::killed_in_its_world");
}

/// Sends until told to stop; notes what was answered with 250.
fn sender(number: usize, stop: &AtomicBool, accepted: &Mutex<HashSet<String>>) {
    let mut sequence = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let Some((mut line, _)) = Line::try_connect(PORT) else { continue };
        line.command("EHLO client.example");
        for _ in 0..20 {
            sequence += 1;
            let token = format!("T{number}x{sequence}");
            line.command("MAIL FROM:<x@h.test>");
            line.command("RCPT TO:<ann@h.test>");
            line.command("DATA");
            line.send(format!("Subject: {token}\r\n\r\nhello\r\n").as_bytes());
            let reply = line.command(".");
            if reply.starts_with("250") {
                accepted.lock().unwrap().insert(token);
            }
            if reply.is_empty() || stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
}

#[test]
#[ignore = "started by the test above"]
fn killed_in_its_world() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    set_up();
    let kills = std::env::var("POSTINO_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(KILLS);
    let mut engine_now = engine();
    let port = PORT.to_string();
    let mut server =
        program("tcpserver").args(["-HRl0", "-u5982", "-g5980", "127.0.0.1", &port, "/var/qmail/bin/qmail-smtpd"]).spawn().unwrap();
    wait_for("a banner", || Line::try_connect(PORT).is_some());
    let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(HashSet::new())));
    let senders: Vec<_> = (0..4)
        .map(|number| {
            let (stop, accepted) = (Arc::clone(&stop), Arc::clone(&accepted));
            std::thread::spawn(move || sender(number, &stop, &accepted))
        })
        .collect();
    for round in 1..=kills {
        wait_for("accepted mail", || accepted.lock().unwrap().len() >= 60 * round && delivered_count() > 20 * round);
        engine_now.kill().unwrap();
        engine_now.wait().unwrap();
        // Some are left in the drop directory meanwhile.
        let before = accepted.lock().unwrap().len();
        wait_for("mail accepted without an engine", || accepted.lock().unwrap().len() > before + 5);
        engine_now = engine();
    }
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let accepted = accepted.lock().unwrap();
    wait_for("everything", || delivered_count() >= accepted.len() && queue_is_empty());
    let messages = delivered();
    let subjects: Vec<&str> = messages.iter().filter_map(|m| m.split("Subject: ").nth(1)?.lines().next()).collect();
    let distinct: HashSet<&str> = subjects.iter().copied().collect();
    let lost: Vec<&String> = accepted.iter().filter(|token| !distinct.contains(token.as_str())).collect();
    let duplicates = subjects.len() - distinct.len();
    eprintln!("in its world: {kills} kills, {} accepted, {} lost, {duplicates} duplicates", accepted.len(), lost.len());
    assert!(lost.is_empty(), "{lost:?}\n{}", log());
    assert!(duplicates < kills, "{duplicates} duplicates in {kills} kills");
    for child in [&mut engine_now, &mut server] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// The worker that is ending holds it to its last moment.
fn lock_is_free() -> bool {
    Command::new("flock").args(["-n", "/var/qmail/queue/lock/sendmutex", "true"]).status().unwrap().success()
}

fn delivered_count() -> usize {
    std::fs::read_dir(NEW).unwrap().count()
}

fn queue_is_empty() -> bool {
    let drop = std::fs::read_dir("/var/qmail/queue/drop").unwrap().count();
    drop == 0 && Command::new("/tmp/bin/postino").args(["queue", "stat", "--empty"]).status().unwrap().success()
}

/// HOWTO 3.9: qmail-queue moved aside, a shell script in its place.
const SCANNER: &str = "#!/bin/sh\nd=$(mktemp -d /tmp/scan.XXXXXX) || exit 53; trap 'rm -rf $d' EXIT\ncat >$d/m || exit 54; cat <&1 >$d/e || exit 54\n\
    grep -q EICAR-LIKE $d/m && exit 31\nsed '1i X-Scanned: yes' $d/m >$d/n\n/var/qmail/bin/qmail-queue-real <$d/n 1<$d/e\n";

#[test]
fn a_scanner_in_place_of_qmail_queue_sees_everything() {
    inside("qmail_down::scanned_in_its_world");
}

#[test]
#[ignore = "started by the test above"]
fn scanned_in_its_world() {
    if std::env::var_os(INSIDE).is_none() {
        return;
    }
    set_up();
    let bin = Path::new("/var/qmail/bin");
    std::fs::rename(bin.join("qmail-queue"), bin.join("qmail-queue-real")).unwrap();
    std::fs::write(bin.join("qmail-queue"), SCANNER).unwrap();
    std::fs::set_permissions(bin.join("qmail-queue"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write("/home/ann/.qmail-away", "&ann@h.test\n").unwrap();
    let mail = |subject: &str, text: &str| format!("From: x@h.test\nSubject: {subject}\n\n{text}\n");
    let inject = |to: &str, mail: &str| {
        let mut command = as_user(program("qmail-inject"), NOBODY);
        fed(command.args(["-f", "ann@h.test", to]).stderr(Stdio::null()), mail)
    };
    // Once while the engine is down: the script's qmail-queue-real leaves it in the drop directory.
    assert_eq!(inject("ann@h.test", &mail("down", "fine")), Some(0));
    let mut engine = engine();
    wait_for("the socket", || Path::new("/var/qmail/run/queue.sock").try_exists().unwrap());
    assert_eq!(inject("ann@h.test", &mail("bad", "EICAR-LIKE")), Some(100));
    assert_eq!(inject("ann@h.test", &mail("good", "fine")), Some(0));
    assert_eq!(inject("ann-away@h.test", &mail("forwarded", "fine")), Some(0));
    assert_eq!(inject("nosuch@h.test", &mail("bounced", "fine")), Some(0));
    let session = |text: &str| {
        let mail = mail("smtp", text);
        format!("HELO x\nMAIL FROM:<x@h.test>\nRCPT TO:<ann@h.test>\nDATA\n{mail}.\nQUIT\n").replace('\n', "\r\n")
    };
    for (words, reply) in [("EICAR-LIKE", "554 mail server permanently rejected message (#5.3.0)\r\n"), ("fine", "250 ok ")] {
        std::fs::write("/tmp/session", session(words)).unwrap();
        let mut command = as_user(program("qmail-smtpd"), 5982);
        let said = text(&run(command.stdin(std::fs::File::open("/tmp/session").unwrap())).stdout);
        assert!(said.contains(reply), "{said}");
    }
    wait_for("five messages", || delivered_count() >= 5 && queue_is_empty());
    let messages = delivered();
    assert_eq!(messages.len(), 5, "{messages:#?}\n{}", log());
    for (subject, scans) in [("down", 1), ("good", 1), ("smtp", 1), ("forwarded", 2)] {
        let message = messages.iter().find(|message| message.contains(&format!("\nSubject: {subject}\n"))).expect(subject);
        assert_eq!(message.matches("X-Scanned: yes\n").count(), scans, "{message}");
    }
    let bounce = messages.iter().find(|message| message.contains("\nSubject: failure notice\n")).expect("a bounce");
    let (head, _) = bounce.split_once("\n\n").unwrap();
    assert!(head.contains(" invoked for bounce); ") && head.contains("\nX-Scanned: yes\n"), "{bounce}");
    engine.kill().unwrap();
    engine.wait().unwrap();
    eprintln!("in its world: {} messages scanned", messages.len());
}
