//! Rules by client address in `serve`: they follow their file without a signal, and a broken file changes nothing.

use super::client::Line;
use super::house::{House, text, wait_for};
use std::process::Command;

/// True when the server talks to a client on loopback.
fn is_let_in(port: u16) -> bool {
    Line::try_connect(port).is_some()
}

fn may_relay(port: u16) -> bool {
    let mut line = Line::smtp(port);
    line.expect("MAIL FROM:<a@client.example>", "250");
    line.command("RCPT TO:<x@other.example>").starts_with("250")
}

/// The next connection is judged by what the file says now; no signal, no restart.
#[test]
fn a_change_of_tcp_smtp_counts_for_the_next_connection() {
    let house = House::started("");
    let port = house.ports.smtp;
    house.control("tcp.smtp", ":allow\n");
    assert!(!may_relay(port));
    house.control("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n");
    assert!(may_relay(port));
    house.control("tcp.smtp", "127.0.0.1:deny\n");
    assert!(!is_let_in(port), "denied from now on");
    assert!(is_let_in(house.ports.pop3), "POP3 has rules of its own");
    house.control("tcp.pop3", "127.:deny\n");
    assert!(!is_let_in(house.ports.pop3));
    house.control("tcp.pop3", "=localhost:deny\n127.0.0.2:allow\n");
    assert!(!is_let_in(house.ports.pop3), "by name");
    std::fs::remove_file(house.home.join("control/tcp.pop3")).unwrap();
    assert!(is_let_in(house.ports.pop3));
    wait_for("the log", || house.log().contains("access rules reread"));
    assert!(house.log().contains("denied"), "{}", house.log());
}

/// A broken file: the old rules stay, the log says where and why, once.
#[test]
fn a_broken_tcp_smtp_keeps_the_rules_that_were_read() {
    let house = House::started("");
    let port = house.ports.smtp;
    house.control("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n");
    assert!(may_relay(port));
    house.control("tcp.smtp", ":allow\n127.:alow,RELAYCLIENT=\"\"\n");
    assert!(may_relay(port) && may_relay(port), "the old rules stay in force");
    let told = "control/tcp.smtp:2: unable to parse this line: 127.:alow";
    wait_for("the log", || house.log().contains(told));
    assert_eq!(house.log().matches(told).count(), 1, "{}", house.log());
    house.control("tcp.smtp", ":allow\n");
    assert!(!may_relay(port));
}

/// A cdb that other programs keep (vpopmail's), compiled by our tcprules' own code; DATABYTES and RBLSMTPD of a rule act on the session.
#[test]
fn a_named_cdb_and_the_variables_of_its_rules() {
    let mut house = House::new("");
    let cdb = house.home.parent().unwrap().join("tcp.smtp.cdb");
    let compile = |rules: &str| {
        let compiled = postino_control::tcprules::Rules::parse(rules.as_bytes()).unwrap().to_cdb().unwrap();
        let fresh = cdb.with_extension("new");
        std::fs::write(&fresh, compiled).unwrap();
        std::fs::rename(&fresh, &cdb).unwrap();
    };
    compile("127.:allow,DATABYTES=\"5000\"\n");
    house.write_toml(&format!("[access]\nsmtp = \"{}\"\n", cdb.display()));
    house.start();
    let mut line = Line::smtp(house.ports.smtp);
    assert!(line.command("EHLO x").contains("SIZE 5000"));
    compile("127.:allow,RBLSMTPD=\"-not from here\"\n");
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@client.example>", "250");
    assert_eq!(line.command("RCPT TO:<pippo@example.test>"), "553 5.7.1 not from here");
    compile("127.:allow,RBLSMTPD=\"come later\"\n");
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@client.example>", "250");
    assert_eq!(line.command("RCPT TO:<pippo@example.test>"), "451 4.7.1 come later");
    // The same client with a login is known by that; swaks speaks TLS.
    let sent = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &house.ports.submission.to_string(), "-tls", "--hide-all"])
        .args(["--auth", "PLAIN", "--auth-user", "pippo@example.test", "--auth-password", "segreto"])
        .args(["--from", "pippo@example.test", "--to", "pluto@example.test"])
        .output();
    if let Ok(sent) = sent {
        assert!(sent.status.success(), "{}", text(&sent.stdout));
        house.wait_messages("pluto", 1);
    }
}
