//! Block lists: who is asked and who is not, what an answer leads to, lists that do not work. The DNS is played; time is tokio's and stands still
//! but for waits.

use crate::house::{Client, House};
use postino_control::Config;
use postino_control::resolved::ListenerKind;
use postino_ports::BoxFuture;
use postino_ports::dns::{Dns, DnsError, Mx};
use postino_smtpd::lists::BlockLists;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::time::Instant;

/// Names with their answers; a name below `dead.test` gets none, `fail.test` fails, `all.test` names everybody.
#[derive(Default)]
struct Zone {
    a: Mutex<HashMap<String, Vec<Ipv4Addr>>>,
    txt: HashMap<String, String>,
    asked: Mutex<Vec<String>>,
    /// Questions that wait for an answer.
    waiting: AtomicUsize,
}

/// Counts a question that waits, until it is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Zone {
    /// Works as RFC 5782 wants it: `base` has the test entries.
    fn list(mut self, base: &str, entries: &[(&str, &str)]) -> Self {
        let a = self.a.get_mut().unwrap();
        a.insert(format!("2.0.0.127.{base}"), vec![Ipv4Addr::new(127, 0, 0, 2)]);
        a.insert(format!("test.{base}"), vec![Ipv4Addr::new(127, 0, 0, 2)]);
        for (name, answer) in entries {
            a.insert(format!("{name}.{base}"), vec![answer.parse().unwrap()]);
        }
        self
    }
    fn text(mut self, name: &str, text: &str) -> Self {
        self.txt.insert(name.into(), text.into());
        self
    }
    async fn find<T: Clone>(&self, name: &str, found: Option<T>, always: T) -> Result<T, DnsError> {
        self.asked.lock().unwrap().push(name.to_owned());
        if name.ends_with("dead.test") {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let _waits = Waits(&self.waiting);
            return std::future::pending().await;
        }
        match found {
            _ if name.ends_with("fail.test") => Err(DnsError::Temporary("SERVFAIL".into())),
            _ if name.ends_with("all.test") => Ok(always),
            Some(found) => Ok(found),
            None => Err(DnsError::NoName),
        }
    }
}

impl Dns for Zone {
    fn mx<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
    fn addresses<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        Box::pin(async { panic!("lists have A records") })
    }
    fn a<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Ipv4Addr>, DnsError>> {
        let found = self.a.lock().unwrap().get(name).cloned();
        Box::pin(self.find(name, found, vec![Ipv4Addr::new(127, 0, 0, 2)]))
    }
    fn ptr(&self, _ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        let found = self.txt.get(name).map(|text| vec![text.clone()]);
        Box::pin(self.find(name, found, vec!["everybody".into()]))
    }
}

/// The client is 192.0.2.77.
const ME: &str = "77.2.0.192";

fn house(zone: Zone, lists: &str, change: impl FnOnce(&mut Config)) -> (House, Arc<Zone>) {
    let mut house = House::with(|config| {
        config.rbl = postino_control::rbl::parse(lists.as_bytes()).unwrap().into();
        change(config);
    });
    let zone = Arc::new(zone);
    house.context.lists = Some(BlockLists::new(zone.clone(), house.context.events.clone()));
    (house, zone)
}

async fn mail(house: &House) -> Client<DuplexStream> {
    let mut client = house.greeted().await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client
}

/// The reply to one recipient here.
async fn rcpt(house: &House) -> String {
    mail(house).await.say("RCPT TO:<user1@example.test>", "").await.trim_end().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_listed_client_is_refused_with_the_lists_code_and_text() {
    let zone = || Zone::default().list("bl.test", &[(ME, "127.0.0.4")]).text(&format!("{ME}.bl.test"), "see https://bl.test/");
    for (line, want) in [
        ("bl.test", "451 4.7.1 see https://bl.test/"),
        ("bl.test 553", "553 5.7.1 see https://bl.test/"),
        ("bl.test 553: no %IP% here", "553 5.7.1 no 192.0.2.77 here"),
        ("bl.test 553 127.0.0.9", "250 2.1.5"),
        ("bl.test 553\nw.test allow", "553"),
    ] {
        let (house, _) = house(zone(), line, |_| {});
        let reply = rcpt(&house).await;
        assert!(reply.starts_with(want), "{line}: {reply}");
    }
    let (house, _) = house(zone(), "bl.test 553", |config| config.server.rbl.except = vec!["postmaster".into()]);
    let mut client = mail(&house).await;
    client.say("RCPT TO:<user1@example.test>", "553").await;
    client.say("RCPT TO:<postmaster@example.test>", "250").await;
    assert_eq!(house.told("Listed").len(), 1, "once a connection");
    assert_eq!(house.told("Refused").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_log_refuses_nobody() {
    let (house, _) = house(Zone::default().list("bl.test", &[(ME, "127.0.0.4")]), "bl.test 553", |c| c.server.rbl.only_log = true);
    assert!(rcpt(&house).await.starts_with("250"));
    assert_eq!(house.told("Listed").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_allow_list_comes_first_and_scores_are_summed() {
    let zone = || Zone::default().list("a.test", &[(ME, "127.0.0.2")]).list("b.test", &[(ME, "127.0.0.11")]);
    let refused = "553 5.7.1 sorry, 192.0.2.77 is listed by b.test";
    let (both, _) = house(zone(), "a.test score=4\nb.test 127.0.0.11=6", |_| {});
    assert_eq!(rcpt(&both).await, refused);
    let (less, _) = house(zone(), "a.test score=4\nb.test 127.0.0.11=5", |_| {});
    assert!(rcpt(&less).await.starts_with("250"));
    let (defer, _) = house(zone(), "a.test score=4\nb.test 127.0.0.11=5", |c| c.server.rbl.defer_score = 9);
    assert!(rcpt(&defer).await.starts_with("451"));
    let white = Zone::default().list("a.test", &[(ME, "127.0.0.2")]).list("w.test", &[(ME, "127.0.0.5")]);
    let (white, _) = house(white, "a.test 553\nw.test allow", |_| {});
    assert!(rcpt(&white).await.starts_with("250"));
}

#[tokio::test(start_paused = true)]
async fn those_who_are_known_are_not_asked_about() {
    let zone = || Zone::default().list("bl.test", &[(ME, "127.0.0.4")]);
    let rules = |text: &str| postino_control::tcprules::Rules::parse(text.as_bytes()).unwrap();
    for (rule, want) in [
        ("192.0.2.:allow,RELAYCLIENT=\"\"\n", "250"),
        ("192.0.2.:allow,RBLSMTPD=\"\"\n", "250"),
        ("192.0.2.:allow,RBLSMTPD=\"-no\"\n", "553 5.7.1 no"),
        (":allow\n", "451"),
    ] {
        let (house, zone) = house(zone(), "bl.test", |c| c.tcprules = rules(rule));
        let reply = rcpt(&house).await;
        assert!(reply.starts_with(want), "{rule}: {reply}");
        assert_eq!(zone.asked.lock().unwrap().is_empty(), want != "451", "{rule}");
    }
    // A login outweighs the list; users' ports ask nobody.
    let (house, zone) = house(zone(), "bl.test 553", |_| {});
    let mut client = house.greeted().await;
    client.say("STARTTLS", "220").await;
    client.say("EHLO client.test", "250").await;
    client.say("AUTH PLAIN AHVzZXIxQGV4YW1wbGUudGVzdABwdw==", "235").await;
    client.say("MAIL FROM:<a@sender.test>", "250").await;
    client.say("RCPT TO:<user1@example.test>", "250").await;
    zone.asked.lock().unwrap().clear();
    let mut client = house.pipe(ListenerKind::Submission, 1 << 16);
    client.reply().await;
    client.say("EHLO client.test", "250").await;
    assert!(zone.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn ipv6_clients_are_asked_about_by_half_bytes() {
    let name = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2";
    let (mut house, _) = house(Zone::default().list("bl.test", &[(name, "127.0.0.4")]), "bl.test 553", |_| {});
    house.peer = "[2001:db8:1:2:3:4:567:89ab]:4000".parse().unwrap();
    assert_eq!(rcpt(&house).await, "553 5.7.1 sorry, 2001:db8:1:2:3:4:567:89ab is listed by bl.test");
    house.peer = "[2001:db8::1]:4000".parse().unwrap();
    assert!(rcpt(&house).await.starts_with("250"));
}

#[tokio::test(start_paused = true)]
async fn domains_of_senders_and_helo_names() {
    let zone = Zone::default().list("d.test", &[("bad.test", "127.0.1.2"), ("client.test", "127.0.1.3")]);
    let (house, _) = house(zone, "d.test sender 553 127.0.1.2\n d.test helo 127.0.1.9\n".trim_start(), |_| {});
    let mut client = house.greeted().await;
    for (sender, want) in [("x@Bad.test", "553 5.7.1 sorry, bad.test is listed by d.test"), ("x@good.test", "250"), ("", "250")] {
        client.say(&format!("MAIL FROM:<{sender}>"), "250").await;
        let reply = client.say("RCPT TO:<user1@example.test>", want).await;
        assert!(reply.starts_with(want), "{reply}");
        client.say("RSET", "250").await;
    }
    let zone = Zone::default().list("d.test", &[("client.test", "127.0.1.3")]);
    let (house, _) = house_with_helo(zone);
    assert_eq!(rcpt(&house).await, "451 4.7.1 sorry, client.test is listed by d.test");
}

fn house_with_helo(zone: Zone) -> (House, Arc<Zone>) {
    house(zone, "d.test helo", |_| {})
}

/// Whatever it says: a list that names 127.0.0.1, or not 127.0.0.2, is left out with one line, and tested again later.
#[tokio::test(start_paused = true)]
async fn a_list_that_names_everybody_is_left_out() {
    for (list, why) in [("all.test", "names 1.0.0.127.all.test"), ("none.test", "does not name 2.0.0.127.none.test")] {
        let zone = Zone::default().list("x.test", &[]);
        let (house, zone) = house(zone, &format!("{list} 553"), |_| {});
        for _ in 0..3 {
            assert!(rcpt(&house).await.starts_with("250"), "{list}");
        }
        let told = house.told("Warning");
        assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
        let asked = zone.asked.lock().unwrap().len();
        rcpt(&house).await;
        assert_eq!(zone.asked.lock().unwrap().len(), asked, "nothing is asked of it meanwhile");
        tokio::time::advance(Duration::from_secs(601)).await;
        rcpt(&house).await;
        assert!(zone.asked.lock().unwrap().len() > asked);
        assert_eq!(house.told("Warning").len(), 1, "still one line");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_mended_counts_again() {
    let (house, zone) = house(Zone::default(), "late.test 553", |_| {});
    assert!(rcpt(&house).await.starts_with("250"));
    for name in ["2.0.0.127", ME] {
        zone.a.lock().unwrap().insert(format!("{name}.late.test"), vec![Ipv4Addr::new(127, 0, 0, 2)]);
    }
    assert!(rcpt(&house).await.starts_with("250"), "not before its time");
    tokio::time::advance(Duration::from_secs(601)).await;
    assert!(rcpt(&house).await.starts_with("553"));
    assert_eq!(house.told("Notice").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_refuses_to_answer_is_no_listing() {
    let zone = Zone::default().list("pub.test", &[(ME, "127.255.255.254")]);
    let (house, _) = house(zone, "pub.test 553", |_| {});
    assert!(rcpt(&house).await.starts_with("250"));
    assert!(house.told("Warning")[0].contains("refuses to answer this server (127.255.255.254)"));
}

/// A dead list costs each client the bound at most, and after a few nothing; the other lists count all the while.
#[tokio::test(start_paused = true)]
async fn a_dead_list_costs_no_more_than_the_bound() {
    let zone = Zone::default().list("bl.test", &[(ME, "127.0.0.4")]);
    let (house, _) = house(zone, "dead.test 553\nfail.test 553\nbl.test 451", |_| {});
    for turn in 0..8 {
        let start = Instant::now();
        assert!(rcpt(&house).await.starts_with("451"), "the living list counts");
        let waited = start.elapsed();
        assert!(waited <= Duration::from_secs(6), "{waited:?}");
        if turn > 5 {
            assert!(waited < Duration::from_secs(1), "left out by now: {waited:?}");
        }
    }
    assert_eq!(house.told("Warning").len(), 2, "{:?}", house.told("Warning"));
}

/// A client may begin thousands of transactions and name no recipient in any: only the last one's questions are still asked.
#[tokio::test(start_paused = true)]
async fn transactions_without_recipients_leave_no_questions_behind() {
    let (house, zone) = house(Zone::default(), "dead.test sender untested", |_| {});
    let mut client = house.greeted().await;
    for number in 0..50 {
        client.say(&format!("MAIL FROM:<x@a{number}.test>"), "250").await;
        client.say("RSET", "250").await;
    }
    let waiting = zone.waiting.load(Ordering::SeqCst);
    assert!(waiting <= 1, "{waiting} questions wait");
}

/// The lists are asked while the client still says hello: who takes his time waits for nothing.
#[tokio::test(start_paused = true)]
async fn the_lists_are_asked_at_connect() {
    let (house, zone) = house(Zone::default().list("bl.test", &[]), "bl.test", |_| {});
    let _client = house.connect().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(zone.asked.lock().unwrap().contains(&format!("{ME}.bl.test")));
}
