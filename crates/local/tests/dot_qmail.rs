//! Runs recorded cases of dot-qmail deliveries: what lies in the home before, what qmail-local says, asks to forward, and leaves behind.
//! Cases whose preparation needs another account than the one running the tests are skipped, each with its reason.

use postino_local::qmail_local::{Action, Delivery, Ended, Forwarding, Surroundings, run};
use postino_ports::spawn::Once;
use postino_types::printable::report;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const RECEIVED: &str = "Received: (qmail <PID> invoked by uid <BOB>); <DATE>\n";

fn text(case: &Value, field: &str) -> String {
    case[field].as_str().unwrap_or_else(|| panic!("{field} missing")).to_owned()
}

fn skip_reason(case: &Value) -> Option<&'static str> {
    let unreadable = case["files_before"].as_object().unwrap().values().any(|v| v["mode"] == "0o0");
    (unreadable && rustix::process::geteuid().is_root()).then_some("root reads a file of mode 0 all the same")
}

fn prepare(home: &Path, case: &Value) {
    let set_mode = |path: &Path, value: &Value| {
        if let Some(mode) = value["mode"].as_str() {
            let mode = u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    fs::set_permissions(home, fs::Permissions::from_mode(0o700)).unwrap();
    for maildir in ["Maildir", "Second", "other"] {
        let wanted = maildir == "Maildir" || case["files_before"][maildir] == "(maildir)";
        for part in ["cur", "new", "tmp"].iter().filter(|_| wanted) {
            fs::create_dir_all(home.join(maildir).join(part)).unwrap();
        }
    }
    for (name, value) in case["files_before"].as_object().unwrap() {
        let path = home.join(name);
        let content = value.as_str().or(value["content"].as_str());
        if let Some(content) = content.filter(|c| *c != "(maildir)") {
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
    for (name, value) in case["files_before"].as_object().unwrap() {
        set_mode(&if name.is_empty() { home.to_path_buf() } else { home.join(name) }, value);
    }
}

fn run_case(home: &Path, case: &Value) -> (Ended, String) {
    let bytes = |field| text(case, field).into_bytes();
    let delivery = Delivery {
        user: bytes("user"),
        home: home.to_path_buf(),
        local: bytes("local"),
        dash: bytes("dash"),
        ext: bytes("ext"),
        domain: bytes("domain"),
        sender: bytes("sender"),
        default_delivery: bytes("default"),
    };
    let mut message = tempfile::tempfile().unwrap();
    message.write_all(format!("{RECEIVED}{}", text(case, "message")).as_bytes()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = fs::OpenOptions::new().create(true).append(true).open(dir.path().join("out")).unwrap();
    let around = Surroundings {
        message: &message,
        out: &out,
        err: &out,
        action: Action::Deliver,
        forwarding: Forwarding::Collect,
        lock_wait: Duration::ZERO,
        maildir_time: Duration::from_secs(60),
        program_file_bytes: 0,
        once: Once::None,
    };
    let ended = run(&delivery, &around);
    let said = fs::read(dir.path().join("out")).unwrap();
    let said = said.split(|&b| b == 0).next().unwrap_or_default();
    let pid = format!("qp {}\n", std::process::id());
    (ended, report(String::from_utf8_lossy(said).replace(&pid, "qp <PID>\n").as_bytes()))
}

fn exit_class(exit: i32) -> &'static str {
    match exit {
        0 => "success",
        111 => "deferral",
        _ => "failure",
    }
}

/// A forward's target as the log shows it after routing.
fn as_logged(to: &[u8]) -> String {
    let host: &[u8] = if to.contains(&b'@') { b"" } else { b"@example.test" };
    report(&[to, host].concat())
}

fn check_file(home: &Path, name: &str, want: &str) {
    let path = if let Some(directory) = name.strip_suffix("<UNIQ>") {
        let files: Vec<_> = fs::read_dir(home.join(directory)).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{directory} holds {files:?}");
        files[0].clone()
    } else {
        home.join(name)
    };
    let got = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
    let home_text = home.to_str().unwrap();
    let want = want.replace("/home/alice", home_text);
    if name.starts_with("env") {
        // The tests' own environment shines through; every recorded line but PATH must be there.
        for line in want.lines().filter(|l| !l.is_empty() && !l.starts_with("PATH=")) {
            let found = got.lines().any(|l| l == line || (line.starts_with("UFLINE") && dateless(l, 4) == line.replace(" <CTIME>", "")));
            assert!(found, "{name} lacks {line:?}:\n{got}");
        }
        return;
    }
    let got = match got.split_once('\n') {
        Some((first, rest)) if first.starts_with("From ") && want.starts_with("From ") => format!("{} <CTIME>\n{rest}", dateless(first, 4)),
        _ => got,
    };
    assert_eq!(got, want, "{name}");
}

/// A From_ line without its date (five words).
fn dateless(line: &str, last: usize) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words[..words.len().saturating_sub(last + 1)].join(" ")
}

fn files_left(home: &Path) -> usize {
    let count = |directory: &str| fs::read_dir(home.join(directory)).map(Iterator::count).unwrap_or(0);
    count("Maildir/new") + count("Second/new") + count("other/new") + count("Maildir/tmp")
}

#[test]
fn recorded_cases() {
    let cases: Value = serde_json::from_str(include_str!("data/dot_qmail.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert!(cases.len() >= 70);
    for case in cases {
        let title = text(case, "title");
        if let Some(reason) = skip_reason(case) {
            println!("skipped: {title}: {reason}");
            continue;
        }
        println!("case: {title}"); // shown when an assertion below fails
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        fs::create_dir(&home).unwrap();
        prepare(&home, case);
        let (ended, said) = run_case(&home, case);
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!((exit_class(ended.exit), said.as_str()), (case["exit"].as_str().unwrap(), case["report"].as_str().unwrap()));
        let mut got: Vec<(String, Vec<String>)> =
            ended.forwards.iter().map(|f| (report(&f.sender), f.to.iter().map(|t| as_logged(t)).collect())).collect();
        got.iter_mut().for_each(|f| f.1.sort());
        let list = |v: &Value| v.as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()).collect();
        let mut want: Vec<(String, Vec<String>)> =
            case["forwards"].as_array().unwrap().iter().map(|f| (text(f, "sender"), list(&f["to"]))).collect();
        want.iter_mut().for_each(|f| f.1.sort());
        assert_eq!(got, want);
        for forward in &ended.forwards {
            let line = format!("Delivered-To: {}@{}\n", text(case, "local"), text(case, "domain"));
            assert_eq!(String::from_utf8_lossy(&forward.delivered_to), line);
        }
        let after = case["files_after"].as_object().unwrap();
        for (name, want) in after {
            check_file(&home, name, want.as_str().unwrap());
        }
        assert_eq!(files_left(&home), after.keys().filter(|k| k.ends_with("<UNIQ>")).count(), "messages beside the expected ones");
    }
}
