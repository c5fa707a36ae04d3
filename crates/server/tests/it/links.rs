//! Dial-up: a house whose mail is held until its link is up, and the provider's server; killed while the link is being sent.

use super::client::Line;
use super::house::{House, maildir_files, postino, run, text, wait_for};
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

const MESSAGES: usize = 200;

/// The provider, with the domain far.test.
fn provider() -> House {
    let provider = House::started("");
    provider.cli(&["domain", "add", "far.test", "--postmaster-password", "segreto"]);
    provider
}

/// One that listens at this address too.
fn provider_at(address: &str) -> House {
    let mut provider = House::new("");
    let file = provider.home.join("control/server.toml");
    let port = provider.ports.smtp;
    let toml = std::fs::read_to_string(&file).unwrap();
    let one = format!("smtp = [\"127.0.0.1:{port}\"]");
    assert!(toml.contains(&one), "{toml}");
    std::fs::write(&file, toml.replacen(&one, &format!("smtp = [\"127.0.0.1:{port}\", \"{address}:{port}\"]"), 1)).unwrap();
    provider.start();
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

    // To whoever comes from that network, at the address that it comes from.
    let customer = provider_at("127.0.1.3");
    house.control("links", &format!("any far.test caller:{} turn=127.0.1.0/24\n", customer.ports.smtp));
    house.signal(rustix::process::Signal::HUP);
    wait_for("a reread", || house.log().matches("configuration reread").count() == 2);
    send(house.ports.smtp, 3);
    wait_for("the mail to be held", || house.cli(&["queue", "list"]).matches("held for link any").count() == 3);
    drop(come_from("127.0.1.3", house.ports.smtp));
    wait_for("the mail to arrive", || arrived(&customer).len() == 3);
}

/// A certificate for 127.0.0.1, for whoever is told to trust it.
fn certificate(house: &House) -> String {
    let dir = house.home.join("tls");
    let (key, pem) = (dir.join("odmr.key"), dir.join("odmr.pem"));
    run(std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=provider",
        ])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&pem));
    for file in [&key, &pem] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
    pem.to_str().unwrap().to_owned()
}

/// A house that nobody can call fetches its mail: the connection is turned round, both ends are ours.
#[test]
fn on_demand_mail_relay() {
    let mut provider = dial_up("cust far.test - atrn=pippo@example.test\nother other.test - atrn=pluto@example.test\n");
    let port = super::house::free_port();
    let toml = "\n[[tls]]\nhost = \"provider\"\ncertificate = \"tls/odmr.pem\"\nkey = \"tls/odmr.key\"\n";
    provider.write_toml(toml);
    let file = provider.home.join("control/server.toml");
    let written = std::fs::read_to_string(&file).unwrap().replace("[listen]\n", &format!("[listen]\nodmr = [\"127.0.0.1:{port}\"]\n"));
    std::fs::write(&file, written).unwrap();
    let trusted = certificate(&provider);
    provider.start();

    let mut customer = House::new("");
    customer.cli(&["domain", "add", "far.test", "--postmaster-password", "segreto"]);
    // Where the customer's worker may read.
    customer.control(".trusted.pem", &std::fs::read_to_string(trusted).unwrap());
    let trusted = customer.home.join("control/.trusted.pem");
    customer.control("links", &format!("isp far.test 127.0.0.1:{port} fetch\nbad other.test 127.0.0.1:{port} fetch\n"));
    customer.control("smtproutes.auth", &format!("127.0.0.1:{port} pippo@example.test segreto\n"));
    customer.start_by(postino().arg("serve").arg("--home").arg(&customer.home).stdin(Stdio::null()).env("SSL_CERT_FILE", &trusted));
    assert_eq!(customer.cli(&["serialmail", "fetch", "isp"]).trim(), "no mail");
    send(provider.ports.smtp, 30);
    wait_for("the mail to be held", || provider.cli(&["queue", "list"]).matches("held for link cust").count() == 30);
    let refused = postino().args(["serialmail", "fetch", "bad", "--home"]).arg(&customer.home).output().unwrap();
    assert!(text(&refused.stderr).contains("ATRN request refused"), "{}", text(&refused.stderr));
    assert_eq!(customer.cli(&["serialmail", "fetch", "isp"]).trim(), "the provider has sent what it had");
    wait_for("the mail to arrive", || arrived(&customer).len() == 30);
    provider.wait_empty();

    // Killed in the middle: what did not come stays there, and comes the next time.
    send(provider.ports.smtp, 60);
    wait_for("the mail to be held", || provider.cli(&["queue", "list"]).matches("held for link cust").count() == 60);
    let home = customer.home.clone();
    let fetching = std::thread::spawn(move || postino().args(["serialmail", "fetch", "isp", "--home"]).arg(home).output().unwrap());
    wait_for("some to arrive", || arrived(&customer).len() > 35);
    customer.kill();
    fetching.join().unwrap();
    eprintln!("killed with {} of 60 fetched", arrived(&customer).len() - 30);
    wait_for("the provider to notice", || provider.cli(&["serialmail", "status"]).starts_with("cust: down"));
    customer.start_by(postino().arg("serve").arg("--home").arg(&customer.home).stdin(Stdio::null()).env("SSL_CERT_FILE", &trusted));
    customer.cli(&["serialmail", "fetch", "isp"]);
    provider.wait_empty();
    customer.wait_empty();
    let files = arrived(&customer);
    assert!((90..=91).contains(&files.len()), "{} came", files.len());
}
