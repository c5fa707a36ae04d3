//! Dial-up: a house whose mail is held until its link is up, and the provider's server; killed while the link is being sent.

use super::client::Line;
use super::house::{House, maildir_files, postino, text, wait_for};
use std::collections::HashMap;
use std::path::PathBuf;

const MESSAGES: usize = 200;

/// The provider, with the domain far.test.
fn provider() -> House {
    let provider = House::started("");
    provider.cli(&["domain", "add", "far.test", "--postmaster-password", "segreto"]);
    provider
}

fn arrived(provider: &House) -> Vec<PathBuf> {
    maildir_files(&provider.home.join("domains/far.test/postmaster/Maildir"))
}

/// A house with this link, that takes mail for others from loopback.
fn dial_up(links: &str) -> House {
    let house = House::new("");
    house.control("links", links);
    house.control("tcp.smtp", "127.:allow,RELAYCLIENT=\"\"\n");
    house
}

fn send(port: u16, count: usize) {
    let mut line = Line::smtp(port);
    for n in 0..count {
        let content = format!("From: Pippo <pippo@example.test>\r\nSubject: T{n}\r\n\r\nbody\r\n");
        let reply = line.message("pippo@example.test", &["postmaster@far.test"], &content);
        assert!(reply.starts_with("250"), "{reply}");
    }
}

#[test]
fn held_mail_goes_when_the_link_is_up_and_a_kill_loses_none() {
    let provider = provider();
    let mut house = dial_up(&format!("ppp * 127.0.0.1:{} manual\n", provider.ports.smtp));
    house.control("masquerade", "@example.test:@isp.test\n");
    house.start();
    send(house.ports.smtp, MESSAGES);
    wait_for("every message to be looked at", || house.cli(&["queue", "list"]).matches("held for link ppp").count() == MESSAGES);
    assert!(arrived(&provider).is_empty());
    let status = house.cli(&["serialmail", "status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status[0]["up"], &status[0]["messages"]), (&false.into(), &MESSAGES.into()));

    house.cli(&["serialmail", "up", "ppp"]);
    wait_for("some mail to arrive", || arrived(&provider).len() >= MESSAGES / 10);
    house.kill();
    let before = arrived(&provider).len();
    eprintln!("killed with {before} of {MESSAGES} sent");
    house.start();
    assert!(house.cli(&["serialmail", "status"]).starts_with("ppp: down"));

    house.cli(&["serialmail", "up", "ppp", "--wait"]);
    assert!(house.cli(&["queue", "list"]).contains("the queue is empty"));
    provider.wait_empty();
    let mut found: HashMap<String, usize> = HashMap::new();
    for file in arrived(&provider) {
        let message = text(&std::fs::read(file).unwrap());
        assert!(
            message.contains("\nFrom: Pippo <pippo@isp.test>\n") && message.starts_with("Return-Path: <pippo@isp.test>\n"),
            "{message}"
        );
        let subject = message.lines().find(|line| line.starts_with("Subject: ")).unwrap().to_owned();
        *found.entry(subject).or_default() += 1;
    }
    assert_eq!(found.len(), MESSAGES, "lost");
    let twice = found.values().filter(|n| **n > 1).count();
    assert!(twice <= 1, "one connection: {twice} messages came twice");
    let connections = provider.log().matches("messages=").count();
    eprintln!("{connections} sessions at the provider");

    // Down again: the next one waits.
    house.cli(&["serialmail", "down", "ppp"]);
    send(house.ports.smtp, 1);
    wait_for("it to be held", || house.cli(&["queue", "list"]).contains("held for link ppp"));
    let nobody = postino().args(["serialmail", "up", "nosuch", "--home"]).arg(&house.home).output().unwrap();
    assert!(!nobody.status.success() && text(&nobody.stderr).contains("control/links has no link \"nosuch\""));
    house.stop();
    assert!(house.cli(&["queue", "list"]).contains("held for link ppp"), "the same is seen while the server is stopped");
}

/// A connection from another address of this host.
fn come_from(address: &str, port: u16) -> Line {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let own: std::net::SocketAddr = format!("{address}:0").parse().unwrap();
    let there: std::net::SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&fd, &own).unwrap();
    connect(&fd, &there).unwrap();
    let (line, banner) = Line::on(fd.into());
    assert!(banner.starts_with("220"), "{banner}");
    line
}

#[test]
fn a_customer_asks_for_its_mail_by_etrn_or_by_coming() {
    let customer = provider();
    let links =
        format!("asks far.test 127.0.0.1:{0} etrn=127.0.0.7,127.0.1.0/24\nother other.test - etrn=127.0.0.8\n", customer.ports.smtp);
    let mut house = dial_up(&links);
    house.start();
    send(house.ports.smtp, 20);
    wait_for("the mail to be held", || house.cli(&["queue", "list"]).matches("held for link asks").count() == 20);
    let mut stranger = Line::smtp(house.ports.smtp);
    assert_eq!(stranger.command("ETRN far.test"), "459 4.7.1 node far.test not allowed");
    let mut line = come_from("127.0.0.7", house.ports.smtp);
    assert!(line.expect("EHLO far.test", "250").contains("\n250-ETRN"));
    assert_eq!(line.command("ETRN other.test"), "459 4.7.1 node other.test not allowed");
    assert_eq!(line.command("ETRN far.test"), "253 2.0.0 ok, 20 pending messages for node far.test started");
    assert_eq!(line.command("ETRN #asks"), "250 2.0.0 ok, queuing for node #asks started");
    wait_for("the mail to arrive", || arrived(&customer).len() == 20);
    house.wait_empty();

    // AutoTURN: nothing is said, the customer only has to come.
    house.control("links", &format!("turn far.test 127.0.0.1:{} turn=127.0.0.9\n", customer.ports.smtp));
    house.signal(rustix::process::Signal::HUP);
    wait_for("a reread", || house.log().contains("configuration reread"));
    send(house.ports.smtp, 5);
    wait_for("the mail to be held", || house.cli(&["queue", "list"]).matches("held for link turn").count() == 5);
    drop(come_from("127.0.0.9", house.ports.smtp));
    wait_for("the mail to arrive", || arrived(&customer).len() == 25);
}
