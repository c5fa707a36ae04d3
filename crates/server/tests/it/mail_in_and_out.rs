//! The main job: SMTP in, Maildir, POP3 out, byte for byte; relaying only after AUTH; bounces; the queue's commands.

use super::client::{Line, deliver};
use super::house::{House, run, text, wait_for};
use std::io::Write as _;
use std::process::Command;

/// A body with everything that line handling could break.
fn awkward_body() -> String {
    let mut body = String::from("From: a@x.test\r\nTo: pippo@example.test\r\nSubject: awkward\r\nMessage-ID: <1@x.test>\r\n\r\n");
    body.push_str("first\r\n.starts with a dot\r\n..two dots\r\n\r\n.\u{e9} eight bits \u{1F4EC}\r\n");
    body.push_str(&"x".repeat(990));
    body.push_str("\r\nFrom the middle\r\ntrailing blanks   \r\n\ttab\r\nlast");
    body
}

/// Splits what POP3 gave into the lines that the server added and the message.
fn after_added_lines<'a>(retrieved: &'a str, first_own: &str) -> &'a str {
    let at = retrieved.find(first_own).unwrap_or_else(|| panic!("no {first_own} in {retrieved}"));
    &retrieved[at..]
}

#[test]
fn curl_sends_and_reads_byte_for_byte() {
    let house = House::started("");
    let body = awkward_body();
    let file = house.home.join("message.eml");
    std::fs::write(&file, &body).unwrap();
    let ca = house.home.join("tls/ca.pem");
    run(Command::new("curl")
        .args(["-sS", "--max-time", "30", "--url", &format!("smtp://127.0.0.1:{}", house.ports.smtp)])
        .args(["--mail-from", "a@x.test", "--mail-rcpt", "pippo@example.test", "--upload-file"])
        .arg(&file));
    house.wait_messages("pippo", 1);
    let url = format!("pop3s://localhost:{}/1", house.ports.pop3s);
    let got = run(Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "30",
            "--connect-to",
            &format!("localhost:{0}:127.0.0.1:{0}", house.ports.pop3s),
            "--user",
            "pippo@example.test:segreto",
            "--cacert",
        ])
        .arg(&ca)
        .arg(&url));
    let got = text(&got.stdout);
    assert!(got.starts_with("Return-Path: <a@x.test>\r\nDelivered-To: pippo@example.test\r\nReceived: from "), "{got}");
    assert_eq!(after_added_lines(&got, "From: a@x.test"), format!("{body}\r\n"));
}

#[test]
fn relays_after_auth_only() {
    // The next hop does not answer, so what was accepted stays to be seen.
    let mut house = House::new("");
    house.control("smtproutes", &format!(":127.0.0.1:{}\n", super::house::free_port()));
    house.start();
    // No AUTH: refused on 25 for every foreign address; 587 wants AUTH before MAIL.
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<pippo@example.test>", "250");
    line.expect("RCPT TO:<somebody@elsewhere.test>", "550");
    line.expect("RCPT TO:<somebody%elsewhere.test@example.test>", "55");
    line.expect("RCPT TO:<@example.test:somebody@elsewhere.test>", "55");
    let mut line = Line::smtp(house.ports.submission);
    line.expect("MAIL FROM:<pippo@example.test>", "530");
    // AUTH over 465 relays: the message waits in the queue for elsewhere.test.
    let file = house.home.join("out.eml");
    std::fs::write(&file, "Subject: out\r\n\r\nhello\r\n").unwrap();
    run(Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "30",
            "--connect-to",
            &format!("localhost:{0}:127.0.0.1:{0}", house.ports.submissions),
            "--url",
            &format!("smtps://localhost:{}", house.ports.submissions),
        ])
        .args([
            "--user",
            "pippo@example.test:segreto",
            "--mail-from",
            "pippo@example.test",
            "--mail-rcpt",
            "somebody@elsewhere.test",
            "--upload-file",
        ])
        .arg(&file)
        .arg("--cacert")
        .arg(house.home.join("tls/ca.pem")));
    let list: serde_json::Value = serde_json::from_str(&house.cli(&["queue", "list", "--json"])).unwrap();
    assert_eq!(list[0]["recipients"][0]["address"], "somebody@elsewhere.test", "{list}");
    // A wrong password relays nothing.
    let failed = Command::new("curl")
        .args(["-sS", "--max-time", "30", "--insecure", "--url", &format!("smtps://127.0.0.1:{}", house.ports.submissions)])
        .args([
            "--user",
            "pippo@example.test:wrong",
            "--mail-from",
            "pippo@example.test",
            "--mail-rcpt",
            "somebody@elsewhere.test",
            "--upload-file",
        ])
        .arg(&file)
        .output()
        .unwrap();
    assert!(!failed.status.success());
}

#[test]
fn forty_megabytes_in_bounded_memory() {
    let house = House::started("");
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@x.test>", "250");
    line.expect("RCPT TO:<pippo@example.test>", "250");
    line.expect("DATA", "354");
    line.send(b"Subject: large\r\n\r\n");
    let row = "0123456789abcdef".repeat(4) + "\r\n";
    let block = row.repeat(1000);
    let blocks = 40_000_000 / block.len();
    for _ in 0..blocks {
        assert!(line.send(block.as_bytes()));
    }
    assert!(line.command(".").starts_with("250"));
    let files = house.wait_messages("pippo", 1);
    let size = std::fs::metadata(&files[0]).unwrap().len();
    assert!(size > u64::try_from(blocks * (row.len() - 1) * 1000).unwrap(), "{size}");
    let mut peak_kb = 0u64;
    for pid in house.family() {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix("VmHWM:"))
            .unwrap_or("0 kB")
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .unwrap_or(0);
        peak_kb = peak_kb.max(line);
    }
    assert!(peak_kb < 64 << 10, "peak resident memory {peak_kb} kB for a 40 MB message");
    // And out again, the same size, by POP3.
    let (mut pop, _) = Line::try_connect(house.ports.pop3).unwrap();
    pop.send(b"USER pippo@example.test\r\nPASS segreto\r\nRETR 1\r\nQUIT\r\n");
    let all = pop.rest();
    assert!(all.len() > 40_000_000 - block.len(), "{}", all.len());
}

#[test]
fn unknown_users_are_refused_at_rcpt_and_nothing_is_queued() {
    let house = House::started("");
    let mut line = Line::smtp(house.ports.smtp);
    line.expect("MAIL FROM:<a@x.test>", "250");
    assert!(line.expect("RCPT TO:<nobody-here@example.test>", "550").contains("5.1.1"));
    line.expect("RCPT TO:<PIPPO@EXAMPLE.TEST>", "250");
    line.expect("RSET", "250");
    assert_eq!(house.cli(&["queue", "list", "--json"]).trim().replace(char::is_whitespace, ""), "[]");
}

/// RFC 5321 4.5.1: `<Postmaster>` without a domain is always taken, and somebody gets it.
#[test]
fn postmaster_without_a_domain_reaches_the_postmaster() {
    let house = House::started("");
    deliver(house.ports.smtp, "a@x.test", "Postmaster", "Subject: for whoever is in charge\r\n\r\nhello");
    let files = house.wait_messages("postmaster", 1);
    assert!(text(&std::fs::read(&files[0]).unwrap()).contains("Subject: for whoever"), "{}", house.log());
}

#[test]
fn one_message_to_two_users_and_an_alias() {
    let house = House::started("");
    house.cli(&["alias", "add", "tutti@example.test", "pippo@example.test", "pluto@example.test"]);
    let mut line = Line::smtp(house.ports.smtp);
    let reply = line.message("a@x.test", &["pippo@example.test", "pluto@example.test", "tutti@example.test"], "Subject: many\r\n\r\nhello");
    assert!(reply.starts_with("250"), "{reply}");
    house.wait_messages("pippo", 2);
    house.wait_messages("pluto", 2);
    house.wait_empty();
}

#[test]
fn a_refused_message_comes_back_as_a_bounce_that_people_and_programs_read() {
    let house = House::new("");
    let sink = super::peers::Sink::refusing();
    house.control("smtproutes", &format!(":127.0.0.1:{}\n", sink.port));
    house.control("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n");
    let mut house = house;
    house.start();
    let reply = Line::smtp(house.ports.smtp).message("pippo@example.test", &["gone@elsewhere.test"], "Subject: to be refused\r\n\r\nhello");
    assert!(reply.starts_with("250"), "{reply}");
    let files = house.wait_messages("pippo", 1);
    let bounce = text(&std::fs::read(&files[0]).unwrap());
    for wanted in [
        "Return-Path: <>",
        "Subject: failure notice",
        "multipart/report",
        "Hi. This is the",
        "<gone@elsewhere.test>:",
        "Final-Recipient: rfc822; gone@elsewhere.test",
        "Action: failed",
        "Status: 5.",
        "Subject: to be refused",
    ] {
        assert!(bounce.contains(wanted), "no {wanted} in\n{bounce}");
    }
    house.wait_empty();
}

#[test]
fn the_queue_commands_hold_release_retry_and_remove() {
    let house = House::new("");
    house.control("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n");
    let closed = super::house::free_port();
    house.control("smtproutes", &format!(":127.0.0.1:{closed}\n"));
    let mut house = house;
    house.start();
    deliver(house.ports.smtp, "pippo@example.test", "far@elsewhere.test", "Subject: waits\r\n\r\nhello");
    let entry =
        || -> serde_json::Value { serde_json::from_str::<serde_json::Value>(&house.cli(&["queue", "list", "--json"])).unwrap()[0].clone() };
    wait_for("a deferral", || entry()["recipients"][0]["attempts"].as_u64() == Some(1));
    let id = entry()["id"].to_string();
    assert!(entry()["recipients"][0]["last"].as_str().is_some_and(|l| l.contains("4.4.1")), "{}", entry());
    house.cli(&["queue", "hold", &id]);
    assert_eq!(entry()["recipients"][0]["state"], "held");
    house.cli(&["queue", "release", &id]);
    assert!(house.cli(&["queue", "show", &id, "--raw"]).contains("Subject: waits"));
    // The host comes up: a retry delivers.
    let sink = super::peers::Sink::accepting_on(closed);
    house.cli(&["queue", "retry", "--all"]);
    house.wait_empty();
    assert_eq!(sink.received().len(), 1);
    deliver(house.ports.smtp, "pippo@example.test", "far@elsewhere.test", "Subject: two\r\n\r\nhello");
    house.wait_empty();
    house.stop();
    // With the server stopped the same commands open the queue themselves.
    assert_eq!(house.cli(&["queue", "list"]).trim(), "the queue is empty");
    house.cli(&["check-store"]);
}

#[test]
fn sendmail_style_injection_by_qmail_queue_with_the_server_up_and_down() {
    let Some(program) = super::peers::compat() else { return };
    let mut house = House::started("");
    let inject = |house: &House, subject: &str| {
        let envelope = house.home.join("envelope");
        std::fs::write(&envelope, b"Fpippo@example.test\0Tpluto@example.test\0\0").unwrap();
        let mut child = Command::new(&program)
            .arg("qmail-queue")
            .env("POSTINO_HOME", &house.home)
            .stdin(std::process::Stdio::piped())
            .stdout(std::fs::File::open(&envelope).unwrap())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(format!("Subject: {subject}\n\nhello\n").as_bytes()).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
    };
    inject(&house, "while up");
    house.wait_messages("pluto", 1);
    house.stop();
    inject(&house, "while down");
    house.start();
    let files = house.wait_messages("pluto", 2);
    let all: String = files.iter().map(|f| text(&std::fs::read(f).unwrap())).collect();
    assert!(all.contains("Subject: while up") && all.contains("Subject: while down"), "{all}");
    assert!(all.contains("invoked by uid"), "{all}");
}
