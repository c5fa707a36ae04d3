//! The adapter against a real server on a loopback port.

use super::*;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_server::proto::rr::{LowerName, Record};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, MessageResponseBuilder, ZoneType};
use std::net::Ipv6Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, UdpSocket};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// Two zones; names that begin with `servfail` fail.
struct Zones {
    catalog: Catalog,
    asked: Arc<AtomicUsize>,
}

impl RequestHandler for Zones {
    fn handle_request<'a, 'b, 'r, R, T>(
        &'a self,
        request: &'b Request,
        mut answer: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'r>>
    where
        R: ResponseHandler + 'r,
        T: Time + 'r,
        'a: 'r,
        'b: 'r,
        Self: 'r,
    {
        Box::pin(async move {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let query = request.request_info().unwrap();
            if !query.query.name().to_string().starts_with("servfail") {
                return self.catalog.handle_request::<R, T>(request, answer).await;
            }
            let builder = MessageResponseBuilder::from_message_request(request);
            let failure = builder.error_msg(query.metadata, ResponseCode::ServFail);
            answer.send_response(failure).await.unwrap()
        })
    }
}

fn zone(origin: &str, records: Vec<(&str, RData)>) -> Arc<InMemoryZoneHandler> {
    let mut zone: InMemoryZoneHandler = InMemoryZoneHandler::empty(name(origin), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = SOA::new(name("ns.example.test."), name("root.example.test."), 1, 60, 60, 60, 60);
    zone.upsert_mut(Record::from_rdata(name(origin), 60, RData::SOA(soa)), 1);
    for (owner, data) in records {
        zone.upsert_mut(Record::from_rdata(name(owner), 60, data), 1);
    }
    Arc::new(zone)
}

fn catalog() -> Catalog {
    let mx = |preference, host: &str| RData::MX(MX::new(preference, name(host)));
    let cname = |host: &str| RData::CNAME(CNAME(name(host)));
    let v4 = |last| RData::A(A::new(192, 0, 2, last));
    let mut records = vec![
        ("example.test.", mx(20, "B.Example.Test.")),
        ("example.test.", mx(10, "a.example.test.")),
        ("null.example.test.", mx(0, ".")),
        ("alias.example.test.", cname("example.test.")),
        ("alias2.example.test.", cname("alias.example.test.")),
        ("dangling.example.test.", cname("nowhere.example.test.")),
        ("empty.example.test.", cname("a.example.test.")),
        ("loop1.example.test.", cname("loop2.example.test.")),
        ("loop2.example.test.", cname("loop1.example.test.")),
        ("a.example.test.", v4(1)),
        ("a.example.test.", v4(2)),
        ("a.example.test.", RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
        ("six.example.test.", RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))),
        ("a.example.test.", RData::TXT(TXT::new(vec!["v=spf1 ".into(), "-all".into()]))),
        ("xn--caf-dma.example.test.", mx(5, "a.example.test.")),
    ];
    let hosts: Vec<String> = (0..500).map(|n| format!("mx{n}.example.test.")).collect();
    for (n, host) in hosts.iter().enumerate() {
        records.push(("many.example.test.", mx(u16::try_from(999 - n).unwrap(), host)));
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::from(name("example.test.")), vec![zone("example.test.", records)]);
    let reverse = vec![("1.2.0.192.in-addr.arpa.", RData::PTR(PTR(name("A.Example.Test."))))];
    catalog.upsert(LowerName::from(name("2.0.192.in-addr.arpa.")), vec![zone("2.0.192.in-addr.arpa.", reverse)]);
    catalog
}

/// The server and a resolver that asks it.
struct House {
    resolver: Resolver,
    lists: Resolver,
    asked: Arc<AtomicUsize>,
    _server: Server<Zones>,
}

async fn house() -> House {
    // The same port for both transports; another process may hold one of them.
    let (tcp, udp) = loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
            break (tcp, udp);
        }
    };
    let address = tcp.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let mut server = Server::new(Zones { catalog: catalog(), asked: asked.clone() });
    server.register_socket(udp);
    server.register_listener(tcp, Duration::from_secs(5), 32);
    let lists = Resolver::for_lists(&[address]).unwrap();
    House { resolver: Resolver::new(&[address]).unwrap(), lists, asked, _server: server }
}

fn hosts(found: &[Mx]) -> Vec<(u16, &str)> {
    found.iter().map(|mx| (mx.preference, mx.host.as_str())).collect()
}

#[tokio::test]
async fn mx_by_preference_also_through_aliases() {
    let house = house().await;
    let expected = [(10, "a.example.test"), (20, "b.example.test")];
    for asked in ["example.test", "Example.TEST.", "alias.example.test", "alias2.example.test"] {
        let found = house.resolver.mx(asked).await.unwrap();
        assert_eq!(hosts(&found), expected, "{asked}");
    }
}

/// Row 54: what is no, and what is no answer.
#[tokio::test]
async fn row_54_the_three_kinds_of_no() {
    let house = house().await;
    let dns = &house.resolver;
    assert_eq!(dns.mx("nowhere.example.test").await, Err(DnsError::NoName));
    assert_eq!(dns.mx("a.example.test").await, Err(DnsError::NoRecord));
    assert!(matches!(dns.mx("servfail.example.test").await, Err(DnsError::Temporary(_))));
    assert_eq!(dns.addresses("nowhere.example.test").await, Err(DnsError::NoName));
    assert_eq!(dns.addresses("example.test").await, Err(DnsError::NoRecord));
    assert!(matches!(dns.addresses("servfail.example.test").await, Err(DnsError::Temporary(_))));
    // A server that does not know the zone says REFUSED: no word about the name.
    assert!(matches!(dns.mx("other.test").await, Err(DnsError::Temporary(_))));
    // An alias to nowhere names nothing; one to a host without MX leaves the host itself.
    assert_eq!(dns.mx("dangling.example.test").await, Err(DnsError::NoName));
    assert_eq!(dns.mx("empty.example.test").await, Err(DnsError::NoRecord));
}

#[tokio::test]
async fn row_54_null_mx_and_an_endless_alias() {
    let house = house().await;
    let null = house.resolver.mx("null.example.test").await.unwrap();
    assert_eq!(hosts(&null), [(0, "")], "RFC 7505");
    assert_eq!(house.resolver.mx("loop1.example.test").await, Err(DnsError::NoRecord));
    assert!(house.asked.load(Ordering::SeqCst) < 30, "a loop is left soon");
}

/// 500 MX come over TCP; the best hundred are kept.
#[tokio::test]
async fn row_54_five_hundred_mx() {
    let house = house().await;
    let found = house.resolver.mx("many.example.test").await.unwrap();
    assert_eq!(found.len(), 100);
    assert_eq!(hosts(&found)[0], (500, "mx499.example.test"));
    assert_eq!(hosts(&found)[99], (599, "mx400.example.test"));
}

#[tokio::test]
async fn addresses_of_both_families() {
    let house = house().await;
    let mut found = house.resolver.addresses("a.example.test").await.unwrap();
    found.sort();
    let expected: Vec<IpAddr> = ["192.0.2.1", "192.0.2.2", "::1"].iter().map(|a| a.parse().unwrap()).collect();
    assert_eq!(found, expected);
    let six = house.resolver.addresses("six.example.test").await.unwrap();
    assert_eq!(six, [IpAddr::V6(Ipv6Addr::LOCALHOST)]);
}

#[tokio::test]
async fn text_and_names_of_addresses() {
    let house = house().await;
    assert_eq!(house.resolver.txt("a.example.test").await.unwrap(), ["v=spf1 -all"]);
    let ptr = house.resolver.ptr("::ffff:192.0.2.1".parse().unwrap()).await.unwrap();
    assert_eq!(ptr, ["a.example.test"]);
    assert_eq!(house.resolver.ptr("192.0.2.9".parse().unwrap()).await, Err(DnsError::NoName));
}

#[tokio::test]
async fn names_in_other_scripts_and_names_that_are_none() {
    let house = house().await;
    let found = house.resolver.mx("CAF\u{c9}.example.test").await.unwrap();
    assert_eq!(hosts(&found), [(5, "a.example.test")]);
    let before = house.asked.load(Ordering::SeqCst);
    let long = format!("{}.test", "x".repeat(64));
    let longer = format!("{}test", "label.".repeat(50));
    for bad in ["", ".", "a..b", "a b.test", "a\\.b.test", "a\nb.test", "\u{0}.test", &long, &longer] {
        assert_eq!(house.resolver.mx(bad).await, Err(DnsError::NoName), "{bad:?}");
    }
    assert_eq!(house.asked.load(Ordering::SeqCst), before, "and nobody is asked about them");
}

#[tokio::test]
async fn answers_are_remembered_failures_are_not() {
    let house = house().await;
    for _ in 0..5 {
        house.resolver.mx("example.test").await.unwrap();
        assert_eq!(house.resolver.mx("nowhere.example.test").await, Err(DnsError::NoName));
    }
    assert_eq!(house.asked.load(Ordering::SeqCst), 2);
    let _ = house.resolver.mx("servfail.example.test").await;
    let once = house.asked.load(Ordering::SeqCst);
    let _ = house.resolver.mx("servfail.example.test").await;
    assert!(house.asked.load(Ordering::SeqCst) > once);
}

/// The resolver for block lists asks for A alone, remembers both kinds of answer, and has a memory of its own.
#[tokio::test]
async fn lists_are_asked_once() {
    let house = house().await;
    for _ in 0..5 {
        assert_eq!(house.lists.a("a.example.test").await.unwrap().len(), 2);
        assert_eq!(house.lists.a("six.example.test").await, Err(DnsError::NoRecord));
        assert_eq!(house.lists.a("nowhere.example.test").await, Err(DnsError::NoName));
    }
    assert_eq!(house.asked.load(Ordering::SeqCst), 3);
    assert!(matches!(house.lists.a("servfail.example.test").await, Err(DnsError::Temporary(_))));
}

#[test]
fn one_family_without_answer_does_not_hide_the_other_nor_make_a_no() {
    let found = || Ok(vec![IpAddr::V6(Ipv6Addr::LOCALHOST)]);
    let broken = || Err(DnsError::Temporary("x".into()));
    assert_eq!(both(broken(), found()), found());
    assert_eq!(both(Err(DnsError::NoRecord), broken()), broken());
    assert_eq!(both(broken(), Err(DnsError::NoName)), broken());
    assert_eq!(both(Err(DnsError::NoRecord), Err(DnsError::NoRecord)), Err(DnsError::NoRecord));
}
