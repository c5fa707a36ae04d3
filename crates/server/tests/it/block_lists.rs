//! Block lists in `serve`, with a real DNS server: refusal, allow list, scores, a list that names everybody, one whose server is dead; and
//! the same question by hand.

use super::client::Line;
use super::house::{House, free_port, postino, run, text, wait_for};
use super::peers::name_server;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;

/// Test entries as RFC 5782 5 wants them, then the clients of these tests.
const ZONE: [&str; 11] = [
    "2.0.0.127.bl.test. A 127.0.0.2",
    "9.0.0.127.bl.test. A 127.0.0.4",
    "9.0.0.127.bl.test. TXT \"see https://bl.test/\"",
    "2.0.0.127.score.test. A 127.0.0.2",
    "10.0.0.127.score.test. A 127.0.0.7",
    "10.0.0.127.score.test. A 127.0.0.8",
    "2.0.0.127.more.test. A 127.0.0.2",
    "10.0.0.127.more.test. A 127.0.0.2",
    "11.0.0.127.bl.test. A 127.0.0.4",
    "11.0.0.127.white.test. A 127.0.0.3",
    "1.0.0.127.all.test. A 127.0.0.2",
];

fn rcpt(house: &House, last: u8, to: &str) -> String {
    let mut line = Line::smtp_from(Ipv4Addr::new(127, 0, 0, last), house.ports.smtp);
    line.expect("MAIL FROM:<a@client.example>", "250");
    line.command(&format!("RCPT TO:<{to}>"))
}

#[test]
fn listed_clients_are_refused() {
    let dns = free_port();
    let mut house = House::new(&format!("[remote]\ndns_servers = [\"127.0.0.1:{dns}\"]\n[rbl]\nexcept = [\"postmaster\"]\n"));
    let _server = name_server(&house, dns, &ZONE);
    house.control("rbl", "bl.test 553\nscore.test 127.0.0.7=4 127.0.0.8=6\nmore.test score=5\nwhite.test allow\nall.test 553\n");
    house.start();
    assert_eq!(rcpt(&house, 9, "pippo@example.test"), "553 5.7.1 see https://bl.test/");
    assert!(rcpt(&house, 9, "postmaster@example.test").starts_with("250"), "named by except");
    assert_eq!(rcpt(&house, 10, "pippo@example.test"), "553 5.7.1 sorry, 127.0.0.10 is listed by score.test", "6 and 5");
    assert!(rcpt(&house, 11, "pippo@example.test").starts_with("250"), "the allow list comes first");
    assert!(rcpt(&house, 12, "pippo@example.test").starts_with("250"));
    house.control("tcp.smtp", "127.0.0.9:allow,RELAYCLIENT=\"\"\n127.0.0.12:allow,RBLSMTPD=\"-no\"\n");
    assert!(rcpt(&house, 9, "pippo@example.test").starts_with("250"), "a rule knows it better");
    assert_eq!(rcpt(&house, 12, "pippo@example.test"), "553 5.7.1 no");
    wait_for("the log", || house.log().contains("block list left out"));
    let log = house.log();
    assert!(log.matches("names 1.0.0.127.all.test").count() == 1 && log.contains("listed"), "{log}");
    let page = format!("http://127.0.0.1:{}/metrics", house.ports.http);
    let metrics = text(&run(Command::new("curl").args(["-sS", "--max-time", "10", &page])).stdout);
    assert!(metrics.contains("postino_listings_total{list=\"bl.test\"}"), "{metrics}");
    by_hand(&house);
}

fn by_hand(house: &House) {
    let ask = |words: &[&str]| postino().arg("rbl").args(words).arg("--home").arg(&house.home).output().unwrap();
    let said = ask(&["127.0.0.9"]);
    let out = text(&said.stdout);
    assert_eq!(said.status.code(), Some(1), "{out}");
    for want in ["LISTED 127.0.0.4, 553: see https://bl.test/", "all.test", "left out: it names", "refused: 553"] {
        assert!(out.contains(want), "{want}: {out}");
    }
    let json: serde_json::Value = serde_json::from_slice(&ask(&["127.0.0.10", "--json"]).stdout).unwrap();
    assert_eq!(json["refused"]["code"], 553);
    assert_eq!(json["lists"][1]["score"], 6);
    assert_eq!(ask(&["127.0.0.12"]).status.code(), Some(0));
}

/// A DNS server that never answers: the first clients wait for the bound, never longer, and mail is taken.
#[test]
fn a_dead_list_keeps_no_mail_out() {
    let dns = free_port();
    let _deaf = UdpSocket::bind(("127.0.0.1", dns)).unwrap();
    let mut house = House::new(&format!("[remote]\ndns_servers = [\"127.0.0.1:{dns}\"]\n[rbl]\ntimeout_s = 1\n"));
    house.control("rbl", "bl.test 553\n");
    house.start();
    for _ in 0..6 {
        assert!(rcpt(&house, 9, "pippo@example.test").starts_with("250"));
    }
    wait_for("the log", || house.log().contains("bl.test does not answer"));
}

/// A mistake in control/rbl keeps the server from starting and is told with its line.
#[test]
fn a_mistake_is_told_with_its_line() {
    let house = House::new("");
    house.control("rbl", "# lists\nbl.test 552\n");
    let said = postino().arg("check").arg("--home").arg(&house.home).output().unwrap();
    assert!(text(&said.stderr).contains("control/rbl:2: has the unknown word \"552\""), "{}", text(&said.stderr));
}
