//! qmail-remote, held to the recorded reports and dialogues of the original; the server is a thread on loopback.

use super::program;
use super::sink::Sink;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

fn home(port: u16) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let control = home.path().join("control");
    fs::create_dir(&control).unwrap();
    fs::write(control.join("me"), "oracle.test\n").unwrap();
    fs::write(control.join("smtproutes"), format!(":127.0.0.1:{port}\n")).unwrap();
    home
}

/// What it prints, with NUL as `\0`.
fn report(command: &mut Command, message: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // One that ends early does not read it.
    let _ = child.stdin.take().unwrap().write_all(message.as_bytes());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().replace('\0', "\\0")
}

fn remote(home: &Path, message: &str, args: &[&str]) -> String {
    report(program("qmail-remote", home).args(args), message)
}

fn case(id: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cases/{id}.json"));
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn raw_reports() {
    for id in ["rr01", "rr02", "rr03"] {
        let case = case(id);
        let sink = Sink::new(&case["setup"]["remote server replies"], 1);
        let home = home(sink.port);
        let args: Vec<&str> = case["input"]["argv"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let message = case["input"]["stdin"].as_str().unwrap();
        assert_eq!(remote(home.path(), message, &args), case["expected"]["stdout"].as_str().unwrap(), "{id}");
        sink.sessions();
    }
}

/// The verdict as qmail-send logs it, without the classes' words.
fn logged(case: &Value) -> String {
    let lines = case["expected"]["log"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let line = lines.into_iter().find(|line| line.starts_with("delivery 1: ")).unwrap();
    line.splitn(3, ": ").last().unwrap().to_owned()
}

#[test]
fn dialogues() {
    for id in ["rm02", "rm03", "rm04", "rm06", "rm07", "rm08", "rm10", "rm11", "rm12", "rm15"] {
        let case = case(id);
        let expected = case["expected"]["remote sessions"].as_array().cloned().unwrap_or_default();
        let sink = Sink::new(&case["setup"]["remote server replies"], expected.len());
        let home = home(sink.port);
        if expected.is_empty() {
            fs::write(home.path().join("control/smtproutes"), ":127.0.0.1:1\n").unwrap();
        }
        let message = case["input"]["message"].as_str().unwrap();
        let recipient = case["input"]["recipients"][0].as_str().unwrap();
        let sender = case["input"]["sender"].as_str().unwrap();
        let said = remote(home.path(), message, &["remote.test", sender, recipient]);
        let said = said.replace("\\0", "").replace(' ', "_").replace('\n', "/");
        let said = said.trim_start_matches(['r', 'h', 's', 'K', 'Z', 'D']).replace("/DGiving", "/Giving");
        assert_eq!(said, logged(&case), "{id}");
        for (session, expected) in sink.sessions().iter().zip(&expected) {
            assert_eq!(serde_json::json!(session.commands), expected["commands"], "{id}");
            let data = expected["data"].as_str().map(|data| data.split_once("\r\n").unwrap().1.to_owned());
            assert_eq!(session.data, data, "{id}");
        }
    }
}

#[test]
fn a_stale_address_is_skipped_and_addresses_with_line_ends_are_refused() {
    let home = home(9);
    let table = home.path().join("queue/lock/tcpto");
    fs::create_dir_all(table.parent().unwrap()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut bytes = vec![0u8; 1024];
    bytes[32..37].copy_from_slice(&[127, 0, 0, 1, 2]);
    bytes[40..44].copy_from_slice(&u32::try_from(now - 600).unwrap().to_le_bytes());
    fs::write(&table, &bytes).unwrap();
    let refused = "ZSorry, I wasn't able to establish an SMTP connection. (#4.4.1)\n\\0";
    assert_eq!(remote(home.path(), "x\n", &["a.test", "s@a.test", "r@a.test"]), refused);
    let improper = "DI (qmail-remote) was invoked improperly. (#5.3.5)\n\\0";
    assert_eq!(remote(home.path(), "x\n", &["a.test", "s@a.test", "r\nDATA@a.test"]), improper);
    assert_eq!(remote(home.path(), "x\n", &["a.test", "s@a.test"]), improper);
}

#[test]
fn without_a_route_this_host_is_not_mailed_and_names_are_asked_for() {
    let home = home(9);
    fs::remove_file(home.path().join("control/smtproutes")).unwrap();
    let said = remote(home.path(), "x\n", &["[127.0.0.1]", "s@a.test", "r@[127.0.0.1]"]);
    assert!(said.starts_with("DSorry. Although I'm listed as a best-preference MX or A for that host,\n"), "{said}");
    fs::remove_file(home.path().join("control/me")).unwrap();
    assert_eq!(remote(home.path(), "x\n", &["a.test", "s@a.test", "r@a.test"]), "ZUnable to read control files. (#4.3.0)\n\\0");
}
