//! Bad input and limits against the whole server; rows are those of the attack table in docs/attacks.md.

use super::client::Line;
use super::house::{House, text};

/// Row 1: no spelling of an end of data but CRLF.CRLF makes a second message, whole or split into single bytes.
#[test]
fn row_01_smuggling_makes_no_second_message() {
    let house = House::started("");
    let ends =
        ["\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n\n.\r\n", "\r\r\n.\r\r\n", "\n.\r", "\r\n\0.\r\n", "\r\n.\0\r\n"];
    for end in ends {
        let mut line = Line::smtp(house.ports.smtp);
        line.expect("MAIL FROM:<a@x.test>", "250");
        line.expect("RCPT TO:<pippo@example.test>", "250");
        line.expect("DATA", "354");
        let smuggled = format!(
            "Subject: outer\r\n\r\nouter{end}MAIL FROM:<evil@x.test>\r\nRCPT TO:<pluto@example.test>\r\nDATA\r\nSubject: smuggled\r\n\r\ninner\r\n.\r\n"
        );
        line.send(smuggled.as_bytes());
        let reply = line.reply();
        assert!(reply.starts_with("250") || reply.starts_with('5'), "{end:?}: {reply}");
        line.expect("QUIT", "2");
    }
    house.wait_empty();
    assert!(house.messages("pluto").is_empty(), "a smuggled message was delivered");
}

/// Row 3: what follows STARTTLS in clear is never obeyed.
#[test]
fn row_03_commands_behind_starttls_are_dropped() {
    let house = House::started("");
    let mut line = Line::smtp(house.ports.smtp);
    line.send(b"STARTTLS\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<pluto@example.test>\r\nNOOP\r\n");
    let said = line.reply();
    assert!(said.starts_with("220"), "{said}");
    let rest = text(&line.rest());
    assert!(!rest.contains("250 "), "answered plaintext after STARTTLS: {rest}");
}

/// Row 6: a browser's words end the connection.
#[test]
fn row_06_http_verbs_close_the_connection() {
    let house = House::started("");
    for verb in ["GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT x:25 HTTP/1.0"] {
        let (mut line, _) = Line::try_connect(house.ports.smtp).unwrap();
        line.send(format!("{verb}\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@x.test>\r\n").as_bytes());
        let said = text(&line.rest());
        assert!(!said.contains("250"), "{verb}: {said}");
    }
}

/// Rows 8 and 10: shell words in addresses reach no shell; rows 7 and 20: nothing is expanded, no path is left.
#[test]
fn rows_07_08_10_20_hostile_local_parts_do_nothing() {
    let house = House::started("");
    let sentinel = house.home.join("pwned");
    let shell = sentinel.display();
    let locals = [
        format!("\"; touch {shell};\""),
        format!("\"`touch {shell}`\""),
        format!("\"$(touch {shell})\""),
        format!("\"|touch {shell}\""),
        "\"${run{/bin/sh}}\"".into(),
        "\"../../../../etc/passwd\"".into(),
        "pippo-../../pluto".into(),
        "\"() { :; }; echo\"".into(),
        "pippo/../pluto".into(),
        "\"\"".into(),
    ];
    for local in &locals {
        let mut line = Line::smtp(house.ports.smtp);
        // As sender and as recipient; any answer will do but an effect.
        let from = line.command(&format!("MAIL FROM:<{local}@x.test>"));
        if from.starts_with("250") {
            line.command("RCPT TO:<pippo@example.test>");
            line.command(&format!("RCPT TO:<{local}@example.test>"));
            if line.command("DATA").starts_with("354") {
                line.command("hello\r\n.");
            }
        }
    }
    house.wait_empty();
    assert!(!sentinel.try_exists().unwrap());
    assert!(house.messages("pluto").is_empty());
    let stray: Vec<_> = walk(&house.home.join("domains")).into_iter().filter(|p| p.to_string_lossy().contains("..")).collect();
    assert!(stray.is_empty(), "{stray:?}");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        all.push(entry.path());
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            all.extend(walk(&entry.path()));
        }
    }
    all
}

/// Row 55: a message that has gone round too often ends.
#[test]
fn row_55_too_many_hops() {
    let house = House::started("");
    let hops = "Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000\r\n".repeat(120);
    let reply = Line::smtp(house.ports.smtp).message("a@x.test", &["pippo@example.test"], &format!("{hops}Subject: x\r\n\r\nhello"));
    assert!(reply.starts_with("554"), "{reply}");
}

/// Row 56: many idle connections from one address leave a place for others.
#[test]
fn row_56_one_address_cannot_take_all_places() {
    let house = House::started("[limits]\nconnections_per_address = 5\n");
    let held: Vec<_> = (0..5).map(|_| Line::try_connect(house.ports.smtp).unwrap()).collect();
    let (_, banner) = Line::try_connect(house.ports.smtp).unwrap();
    assert!(banner.starts_with("421"), "{banner}");
    drop(held);
}

/// Row 61: control bytes never reach the log.
#[test]
fn row_61_the_log_holds_printable_bytes_only() {
    let house = House::started("");
    let mut line = Line::smtp(house.ports.smtp);
    line.send(b"EHLO \x1b[31mred\x07\r\n");
    line.reply();
    line.send(b"MAIL FROM:<\"\x1b]0;owned\x07\"@x.test>\r\n");
    line.reply();
    line.expect("MAIL FROM:<a@x.test>", "2");
    line.send(b"RCPT TO:<no\x1b[2Jbody@example.test>\r\n");
    line.reply();
    line.expect("QUIT", "2");
    super::house::wait_for("the session's line", || house.log().contains("session ended"));
    let log = house.log();
    assert!(log.bytes().all(|b| b == b'\n' || (32..127).contains(&b)), "{log:?}");
}

/// Row 69: a dropped POP3 connection removes nothing.
#[test]
fn row_69_nothing_is_removed_without_quit() {
    let house = House::started("");
    super::client::deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: kept\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    let (mut pop, _) = Line::try_connect(house.ports.pop3).unwrap();
    pop.send(b"USER pippo@example.test\r\nPASS segreto\r\nDELE 1\r\nNOOP\r\n");
    for _ in 0..4 {
        assert!(pop.line().is_some_and(|l| l.starts_with("+OK")));
    }
    drop(pop);
    // The next login sees the drop whole; its QUIT after DELE removes.
    let (mut pop, _) = Line::try_connect(house.ports.pop3).unwrap();
    pop.send(b"USER pippo@example.test\r\nPASS segreto\r\nSTAT\r\nDELE 1\r\nQUIT\r\n");
    assert!(text(&pop.rest()).contains("+OK 1 "));
    assert!(house.messages("pippo").is_empty());
}
