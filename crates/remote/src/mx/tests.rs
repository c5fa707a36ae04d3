//! The choice of addresses as a table: null MX, own addresses, loopback, many records, the kinds of "no".

use super::*;
use postino_ports::BoxFuture;
use postino_types::PermStatus;
use std::collections::HashMap;

#[derive(Default)]
struct Zone {
    mx: HashMap<String, Result<Vec<Mx>, DnsError>>,
    addresses: HashMap<String, Result<Vec<IpAddr>, DnsError>>,
}

impl Zone {
    fn mx(mut self, name: &str, records: &[(u16, &str)]) -> Self {
        let records = records.iter().map(|(preference, host)| Mx { preference: *preference, host: (*host).to_owned() }).collect();
        self.mx.insert(name.into(), Ok(records));
        self
    }
    fn a(mut self, name: &str, addresses: &[&str]) -> Self {
        self.addresses.insert(name.into(), Ok(addresses.iter().map(|a| a.parse().unwrap()).collect()));
        self
    }
    fn no_mx(mut self, name: &str, error: DnsError) -> Self {
        self.mx.insert(name.into(), Err(error));
        self
    }
    fn no_a(mut self, name: &str, error: DnsError) -> Self {
        self.addresses.insert(name.into(), Err(error));
        self
    }
}

impl Dns for Zone {
    fn mx<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        let answer = self.mx.get(name).cloned().unwrap_or(Err(DnsError::NoName));
        Box::pin(async { answer })
    }
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        let answer = self.addresses.get(name).cloned().unwrap_or(Err(DnsError::NoName));
        Box::pin(async { answer })
    }
    fn ptr(&self, _ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
    fn txt<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
}

fn servfail() -> DnsError {
    DnsError::Temporary("SERVFAIL".into())
}

async fn choose(zone: &Zone, name: &str) -> Result<Vec<String>, String> {
    choose_by(zone, &Route::Domain(name.into())).await
}

async fn choose_by(zone: &Zone, route: &Route) -> Result<Vec<String>, String> {
    let configured = ["192.0.2.1".parse().unwrap()];
    let own = OwnAddresses { configured: &configured, allow_loopback: false };
    match resolve(zone, route, own).await {
        Ok(targets) => Ok(targets.iter().map(|t| t.ip.to_string()).collect()),
        Err(DeliveryOutcome::Failed { status, .. }) => Err(status.to_string()),
        Err(DeliveryOutcome::Deferred { status, .. }) => Err(status.to_string()),
        Err(other) => panic!("{other:?}"),
    }
}

fn list(addresses: &[&str]) -> Result<Vec<String>, String> {
    Ok(addresses.iter().map(|&a| a.to_owned()).collect())
}

fn no(status: &str) -> Result<Vec<String>, String> {
    Err(status.to_owned())
}

#[tokio::test]
async fn preference_decides_and_equal_hosts_are_mixed() {
    let zone = Zone::default()
        .mx("d.test", &[(20, "c.d.test"), (10, "a.d.test"), (10, "b.d.test")])
        .a("a.d.test", &["198.51.100.1", "2001:db8::1"])
        .a("b.d.test", &["198.51.100.2"])
        .a("c.d.test", &["198.51.100.3", "198.51.100.2"]);
    let mut first = std::collections::HashSet::new();
    for _ in 0..200 {
        let order = choose(&zone, "d.test").await.unwrap();
        assert_eq!(order.len(), 4, "each address once");
        assert_eq!(order[3], "198.51.100.3");
        first.insert(order[0].clone());
    }
    assert_eq!(first.len(), 2, "equal preferences share the load");
}

#[tokio::test]
async fn without_mx_the_name_itself() {
    let zone = Zone::default().no_mx("d.test", DnsError::NoRecord).a("d.test", &["198.51.100.1"]).a("e.test", &["2001:db8::1"]);
    assert_eq!(choose(&zone, "d.test").await, list(&["198.51.100.1"]));
    assert_eq!(choose(&zone, "e.test").await, list(&["2001:db8::1"]));
}

#[tokio::test]
async fn kinds_of_no() {
    let zone = Zone::default()
        .no_mx("soft.test", servfail())
        .no_mx("softa.test", DnsError::NoRecord)
        .no_a("softa.test", servfail())
        .no_mx("empty.test", DnsError::NoRecord)
        .no_a("empty.test", DnsError::NoRecord)
        .mx("gone.test", &[(10, "nohost.test")])
        .mx("half.test", &[(10, "nohost.test"), (20, "softa.test")])
        .mx("one.test", &[(10, "softa.test"), (20, "good.test")])
        .a("good.test", &["198.51.100.9"])
        .mx("null.test", &[(0, "")])
        .mx("nullish.test", &[(0, ""), (10, "good.test")])
        .mx("literal.test", &[(10, "198.51.100.7")])
        .mx("literal2.test", &[(10, "198.51.100.7"), (20, "good.test")]);
    for (name, expected) in [
        ("soft.test", no("4.4.3")),
        ("softa.test", no("4.4.3")),
        ("nx.test", no("5.1.2")),
        ("empty.test", no("5.1.2")),
        ("gone.test", no("5.4.4")),
        ("half.test", no("4.4.3")),
        ("one.test", list(&["198.51.100.9"])),
        ("null.test", no("5.1.10")),
        ("nullish.test", list(&["198.51.100.9"])),
        ("literal.test", no("5.4.4")),
        ("literal2.test", list(&["198.51.100.9"])),
    ] {
        assert_eq!(choose(&zone, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn own_addresses_end_the_list() {
    let zone = Zone::default()
        .mx("best.test", &[(10, "me.test"), (20, "b.test")])
        .mx("second.test", &[(10, "b.test"), (20, "me.test"), (30, "c.test")])
        .mx("equal.test", &[(10, "b.test"), (10, "me.test")])
        .mx("loop.test", &[(10, "lo.test")])
        .mx("zero.test", &[(10, "zero-a.test")])
        .mx("v6.test", &[(10, "lo6.test")])
        .mx("mapped.test", &[(10, "mapped-a.test")])
        .no_mx("me.test", DnsError::NoRecord)
        .a("me.test", &["192.0.2.1"])
        .a("b.test", &["198.51.100.2"])
        .a("c.test", &["198.51.100.3"])
        .a("lo.test", &["127.0.0.1"])
        .a("lo6.test", &["::1"])
        .a("mapped-a.test", &["::ffff:127.0.0.1"])
        .a("zero-a.test", &["0.0.0.0"]);
    for (name, expected) in [
        ("best.test", no("5.4.6")),
        ("second.test", list(&["198.51.100.2"])),
        ("equal.test", no("5.4.6")),
        ("loop.test", no("5.4.6")),
        ("zero.test", no("5.4.6")),
        ("v6.test", no("5.4.6")),
        ("mapped.test", no("5.4.6")),
        ("me.test", no("5.4.6")),
    ] {
        assert_eq!(choose(&zone, name).await, expected, "{name}");
    }
    let relay = |relay: &str| Route::Relay { relay: relay.into(), port: 25, auth: None };
    assert_eq!(choose_by(&zone, &Route::Literal("127.0.0.1".parse().unwrap())).await, no("5.4.6"));
    assert_eq!(choose_by(&zone, &relay("127.0.0.1")).await, list(&["127.0.0.1"]));
    assert_eq!(choose_by(&zone, &relay("[::1]")).await, list(&["::1"]));
    assert_eq!(choose_by(&zone, &relay("lo.test")).await, list(&["127.0.0.1"]));
    assert_eq!(choose_by(&zone, &relay("loop.test")).await, no("4.4.3"));
}

#[tokio::test]
async fn five_hundred_records_cost_sixteen_lookups() {
    let hosts: Vec<String> = (0..500).map(|n| format!("h{n}.test")).collect();
    let records: Vec<(u16, &str)> = hosts.iter().zip(0u16..500).rev().map(|(h, n)| (n, h.as_str())).collect();
    let mut zone = Zone::default().mx("many.test", &records);
    for (n, host) in hosts.iter().enumerate() {
        zone = zone.a(host, &[&format!("198.51.{}.{}", n / 250, n % 250 + 1)]);
    }
    let chosen = choose(&zone, "many.test").await.unwrap();
    assert_eq!(chosen.len(), HOSTS_MAX);
    assert_eq!(chosen[0], "198.51.0.1");
    let addresses: Vec<String> = (1..=200).map(|n| format!("198.51.100.{n}")).collect();
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let zone = Zone::default().mx("wide.test", &[(5, "w.test")]).a("w.test", &addresses);
    assert_eq!(choose(&zone, "wide.test").await.unwrap().len(), ADDRESSES_MAX);
}

#[tokio::test]
async fn texts_are_qmail_remotes() {
    let zone = Zone::default();
    let own = OwnAddresses { configured: &[], allow_loopback: false };
    let outcome = resolve(&zone, &Route::Domain("nx.test".into()), own).await.unwrap_err();
    assert_eq!(outcome, DeliveryOutcome::failed(PermStatus::NO_HOST, "Sorry, I couldn't find any host named nx.test. (#5.1.2)\n"));
}

/// Row 54: we are the backup of a host whose address DNS cannot tell now. That is no loop, and no reason to bounce.
#[tokio::test]
async fn a_better_host_without_an_answer_is_waited_for() {
    let zone = Zone::default()
        .no_a("first.test", servfail())
        .a("us.test", &["192.0.2.1"])
        .mx("backup.test", &[(10, "first.test"), (20, "us.test")])
        .mx("ours.test", &[(10, "us.test"), (20, "first.test")])
        .mx("equal.test", &[(10, "us.test"), (10, "first.test")]);
    assert_eq!(choose(&zone, "backup.test").await, no("4.4.3"));
    assert_eq!(choose(&zone, "ours.test").await, no("5.4.6"), "a worse one would hand the mail back to us");
    assert_eq!(choose(&zone, "equal.test").await, no("5.4.6"));
}
