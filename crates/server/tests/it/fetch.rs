//! `[[fetch]]`: mail of another mailbox brought here on a timer and by `postino fetch`, through kill -9, with the server running and without. The other
//! server is Postino's own POP3; crate fetch's tests speak with Dovecot.

use super::client::deliver;
use super::house::{House, postino, text, wait_for};
use std::os::unix::fs::PermissionsExt as _;

/// An account over pluto's mailbox at `port`, for pippo.
fn account(port: u16, more: &str) -> String {
    format!(
        "[[fetch]]\nname = \"pluto\"\nprotocol = \"pop3\"\nserver = \"127.0.0.1:{port}\"\ntls = \"none\"\nuser = \"pluto@example.test\"\nto = \"pippo@example.test\"\n{more}"
    )
}

fn password_file(house: &House, mode: u32) {
    let path = house.home.join("control/fetch.pluto");
    std::fs::write(&path, "segreto\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn send(house: &House, count: usize) {
    for n in 0..count {
        deliver(house.ports.smtp, "ann@else.test", "pluto@example.test", &format!("Subject: number {n}\r\n\r\n.dot {n}"));
    }
    house.wait_messages("pluto", count);
}

fn fetch_json(house: &House, words: &[&str]) -> serde_json::Value {
    let out = postino().arg("fetch").args(words).args(["--json", "--home"]).arg(&house.home).output().unwrap();
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {} {}", text(&out.stdout), text(&out.stderr)))
}

#[test]
fn on_a_timer_and_deleted_there() {
    let mut house = House::new("");
    house.write_toml(&account(house.ports.pop3, "password_file = \"control/fetch.pluto\"\nevery_s = 1\nkeep_days = 0\n"));
    password_file(&house, 0o600);
    house.start();
    send(&house, 3);
    let here = house.wait_messages("pippo", 3);
    wait_for("the deletion there", || house.messages("pluto").is_empty());
    let message = std::fs::read_to_string(&here[0]).unwrap();
    assert!(
        message.contains("Received: from 127.0.0.1 (POP3 account pluto@example.test)\n  by mail.example.test with POP3 id fetch-"),
        "{message}"
    );
    assert!(message.starts_with("Return-Path: <ann@else.test>\n"), "{message}");
    assert!(message.ends_with("\n.dot 0\n") || message.ends_with("\n.dot 1\n") || message.ends_with("\n.dot 2\n"), "{message}");
    assert!(!house.log().contains("segreto"));
}

#[test]
fn by_command_with_a_program_for_the_password() {
    let mut house = House::new("");
    let command = "password_command = [\"/bin/sh\", \"-c\", \"echo segreto\"]\nevery_s = 0\n";
    house.write_toml(&account(house.ports.pop3, command));
    house.start();
    send(&house, 2);
    let dry = fetch_json(&house, &["--dry-run"]);
    assert_eq!((&dry[0]["state"], &dry[0]["new"], &dry[0]["fetched"]), (&"done".into(), &2.into(), &0.into()), "{dry}");
    let done = fetch_json(&house, &["pluto"]);
    assert_eq!(
        (&done[0]["state"], &done[0]["fetched"], &done[0]["error"]),
        (&"done".into(), &2.into(), &serde_json::Value::Null),
        "{done}"
    );
    house.wait_messages("pippo", 2);
    let again = house.cli(&["fetch"]);
    assert_eq!(again, "pluto: 2 there, 0 fetched, 0 deleted there\n");
    assert_eq!(house.messages("pluto").len(), 2, "they stay there unless the account says otherwise");
    let unknown = postino().args(["fetch", "nobody", "--home"]).arg(&house.home).output().unwrap();
    assert!(!unknown.status.success() && text(&unknown.stderr).contains("no account \"nobody\""), "{}", text(&unknown.stderr));
}

#[test]
fn a_password_that_others_can_read_is_not_used() {
    let mut house = House::new("");
    house.write_toml(&account(house.ports.pop3, "password_file = \"control/fetch.pluto\"\nevery_s = 0\n"));
    password_file(&house, 0o644);
    house.start();
    let failed = fetch_json(&house, &[]);
    assert_eq!(failed[0]["state"], "failed");
    assert!(failed[0]["error"].as_str().unwrap().contains("chmod 600"), "{failed}");
    password_file(&house, 0o600);
    assert_eq!(fetch_json(&house, &[])[0]["state"], "done");
}

#[test]
fn without_a_running_server_the_mail_waits_for_the_next_start() {
    let other = House::started("");
    send(&other, 3);
    let mut house = House::new("");
    house.write_toml(&account(other.ports.pop3, "password_file = \"control/fetch.pluto\"\nevery_s = 0\nkeep_days = 0\n"));
    password_file(&house, 0o600);
    assert_eq!(house.cli(&["fetch"]), "pluto: 3 there, 3 fetched, 3 deleted there\n");
    assert_eq!((house.messages("pippo").len(), other.messages("pluto").len()), (0, 0));
    house.start();
    house.wait_messages("pippo", 3);
    assert_eq!(fetch_json(&house, &[])[0]["listed"], 0);
}

/// Nothing is lost, and at most the message on its way comes twice at each death.
#[test]
fn kill_9_at_any_moment() {
    const MESSAGES: usize = 120;
    const DEATHS: usize = 5;
    let other = House::started("");
    send(&other, MESSAGES);
    let mut house = House::new("");
    house.write_toml(&account(other.ports.pop3, "password_file = \"control/fetch.pluto\"\nevery_s = 1\nkeep_days = 0\n"));
    password_file(&house, 0o600);
    for death in 1..=DEATHS {
        house.start();
        wait_for("some of the messages", || house.messages("pippo").len() >= death * MESSAGES / (DEATHS + 2));
        house.kill();
    }
    house.start();
    wait_for("the deletion there", || other.messages("pluto").is_empty());
    house.wait_messages("pippo", MESSAGES);
    house.wait_empty();
    let here = house.messages("pippo");
    let subject = |path: &std::path::PathBuf| {
        let message = std::fs::read_to_string(path).unwrap();
        message.lines().find(|l| l.starts_with("Subject: ")).unwrap().to_owned()
    };
    let different: std::collections::HashSet<String> = here.iter().map(subject).collect();
    assert_eq!(different.len(), MESSAGES, "none is lost");
    assert!(here.len() <= MESSAGES + DEATHS, "{} messages for {MESSAGES} after {DEATHS} deaths", here.len());
}
