//! Running it: start, reload, clean stop, metrics, wrong configuration, privileges.

use super::client::{Line, deliver};
use super::house::{House, is_root, postino, run, text, wait_for};
use std::process::Command;

#[test]
fn a_reload_takes_new_domains_and_keeps_the_old_configuration_on_errors() {
    let house = House::started("");
    let refused = |to: &str| {
        let mut line = Line::smtp(house.ports.smtp);
        line.expect("MAIL FROM:<a@x.test>", "250");
        line.command(&format!("RCPT TO:<{to}>"))
    };
    assert!(refused("x@later.test").starts_with("550"));
    house.cli(&["domain", "add", "later.test", "--postmaster-password", "segreto"]);
    // The tool tells the running server itself.
    assert!(refused("postmaster@later.test").starts_with("250"), "{}", house.log());
    let before = std::fs::read_to_string(house.home.join("control/server.toml")).unwrap();
    house.write_toml("[limits]\nmessage_bytes_max = \"many\"\n");
    house.signal(rustix::process::Signal::HUP);
    wait_for("the complaint", || house.log().contains("server.toml"));
    assert!(refused("pippo@example.test").starts_with("250"), "the old configuration stays in force");
    let check = postino().arg("check").arg("--home").arg(&house.home).output().unwrap();
    assert!(!check.status.success());
    let said = text(&check.stderr) + &text(&check.stdout);
    assert!(said.contains("server.toml") && said.contains("message_bytes_max"), "{said}");
    std::fs::write(house.home.join("control/server.toml"), before).unwrap();
    house.cli(&["check"]);
}

#[test]
fn stops_cleanly_and_finds_its_mail_again() {
    let mut house = House::started("");
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    assert_eq!(house.stop(), 0, "{}", house.log());
    house.start();
    let (mut pop, _) = Line::try_connect(house.ports.pop3).unwrap();
    pop.send(b"USER pippo@example.test\r\nPASS segreto\r\nSTAT\r\nQUIT\r\n");
    let said = text(&pop.rest());
    assert!(said.contains("+OK 1 "), "{said}");
}

#[test]
fn metrics_count_what_happened() {
    let house = House::started("");
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    house.wait_empty();
    let page = run(Command::new("curl").args(["-sS", "--max-time", "10", &format!("http://127.0.0.1:{}/metrics", house.ports.http)]));
    let page = text(&page.stdout);
    assert!(page.contains("postino_messages_queued_total 1\n"), "{page}");
    assert!(page.contains("postino_deliveries_succeeded_total 1\n"), "{page}");
    assert!(page.contains("postino_queue_entries 0\n"), "{page}");
}

#[test]
fn qmail_log_lines_stand_as_qmail_send_writes_them() {
    let house = House::started("[log]\nformat = \"qmail\"\n");
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: one\r\n\r\nhello");
    house.wait_messages("pippo", 1);
    wait_for("the end of the message in the log", || house.log().contains("end msg"));
    let log = house.log();
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("no {what:?} in\n{log}"));
    assert!(at("new msg ") < at("info msg "));
    assert!(at("info msg ") < at("starting delivery 1: msg "));
    assert!(at("to local example.test-pippo@example.test") < at("status: local 1/10 remote 0/20"));
    assert!(at("delivery 1: success: ") < at("end msg "));
}

#[test]
fn a_second_server_on_the_same_home_refuses_to_start() {
    let house = House::started("");
    let toml = std::fs::read_to_string(house.home.join("control/server.toml")).unwrap();
    // Other ports, same queue.
    let other = toml.lines().filter(|l| l.starts_with("user")).collect::<String>()
        + &format!("\n[listen]\nsmtp = [\"127.0.0.1:{}\"]\n", super::house::free_port());
    std::fs::write(house.home.join("control/server.toml"), other).unwrap();
    let second = postino().arg("serve").arg("--home").arg(&house.home).output().unwrap();
    assert!(!second.status.success());
    assert!(text(&second.stderr).contains("already"), "{}", text(&second.stderr));
    deliver(house.ports.smtp, "a@x.test", "pippo@example.test", "Subject: the first one works on\r\n\r\nhello");
}

#[test]
fn the_worker_is_not_root_and_stays_so() {
    if !is_root() {
        eprintln!("skipped: not root");
        return;
    }
    let house = House::started("");
    let worker = house
        .family()
        .into_iter()
        .find(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| text(&c).contains("\0worker\0")))
        .expect("a worker process");
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
    assert!(field("Uid:").split_whitespace().all(|uid| uid != "0"), "{status}");
    assert!(field("Gid:").split_whitespace().all(|gid| gid != "0"), "{status}");
    assert_eq!(field("Groups:"), "", "no supplementary groups");
    for set in ["CapInh:", "CapPrm:", "CapEff:"] {
        assert_eq!(u64::from_str_radix(&field(set), 16).unwrap(), 0, "{set}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Seccomp:"), "2", "a seccomp filter is in force");
}

#[test]
fn configuration_commands_show_set_and_explain() {
    let house = House::new("");
    assert!(house.cli(&["config", "get", "me"]).contains("mail.example.test"));
    house.cli(&["config", "set", "queuelifetime", "86400"]);
    assert_eq!(std::fs::read_to_string(house.home.join("control/queuelifetime")).unwrap(), "86400\n");
    assert!(house.cli(&["config", "doc", "queuelifetime"]).contains("seconds"));
    house.cli(&["config", "unset", "queuelifetime"]);
    assert!(!house.home.join("control/queuelifetime").try_exists().unwrap());
    let wrong = postino().args(["config", "set", "concurrencyremote", "lots", "--home"]).arg(&house.home).output().unwrap();
    assert!(!wrong.status.success());
}
