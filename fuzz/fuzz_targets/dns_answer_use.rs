//! What delivery makes of arbitrary DNS answers: bounded targets, never this host itself or a worse exchanger than it, never multicast, and
//! "no answer" never turns into a bounce. The files are included from crate `remote`, which as a whole would pull TLS in.
#![no_main]
#![allow(dead_code)]

#[path = "../../crates/remote/src/mx.rs"]
mod mx;
#[path = "../../crates/remote/src/own.rs"]
mod own;
#[path = "../../crates/remote/src/report.rs"]
mod report;
#[path = "../../crates/remote/src/route.rs"]
mod route;

/// What `report` needs of the real module.
mod connection {
    #[derive(Debug)]
    pub(crate) enum Broken {
        Closed,
        TimedOut,
        Io,
        Protocol(postino_smtp::client::ProtocolError),
        Body,
    }
}

use postino_control::Config;
use postino_fuzz::Source;
use postino_ports::BoxFuture;
use postino_ports::dns::{Dns, DnsError, Mx};
use postino_types::DeliveryOutcome;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

/// Answers are read from the input as they are asked for.
struct Zone<'a> {
    source: Mutex<RefCell<Source<'a>>>,
    asked: Mutex<Cell<usize>>,
    temporary: Mutex<Cell<bool>>,
    preferences: Mutex<HashMap<String, u16>>,
    /// Best preference of an exchanger that gave no answer, and of one that is this host.
    unanswered: Mutex<Cell<u16>>,
    best_of_ours: Mutex<Cell<u16>>,
}

impl Zone<'_> {
    fn error(&self, kind: u8) -> Option<DnsError> {
        match kind % 8 {
            1 => Some(DnsError::NoName),
            2 => Some(DnsError::NoRecord),
            3 => {
                self.temporary.lock().unwrap().set(true);
                Some(DnsError::Temporary("SERVFAIL".into()))
            }
            _ => None,
        }
    }
}

const OWN_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn ip(source: &mut Source<'_>) -> IpAddr {
    match source.byte() {
        0 => IpAddr::V4(Ipv4Addr::LOCALHOST),
        1 => "192.0.2.1".parse().unwrap(),
        2 => "::ffff:192.0.2.1".parse().unwrap(),
        3 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        4 => IpAddr::V4(Ipv4Addr::BROADCAST),
        5 => "ff02::1".parse().unwrap(),
        kind if kind < 128 => IpAddr::V4(Ipv4Addr::from([192, 0, 2, source.byte()])),
        _ => {
            let mut octets = [0u8; 16];
            octets[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            octets[15] = source.byte();
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }
}

/// Hosts have different names, so that each is asked for once; the null MX and bare addresses stay as they are.
fn exchanger(number: u8, source: &mut Source<'_>) -> Mx {
    let (preference, text) = (source.u16() % 4, source.text());
    let host = if text.is_empty() || text.parse::<IpAddr>().is_ok() { text } else { format!("{number}-{text}") };
    Mx { preference, host }
}

/// The interfaces of the machine that runs this count as well.
const OWN: own::OwnAddresses<'static> = own::OwnAddresses { configured: &[OWN_IP], allow_loopback: false };

fn is_ours(ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || ip.is_unspecified() || OWN.holds(ip)
}

impl Dns for Zone<'_> {
    fn mx<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<Mx>, DnsError>> {
        let guard = self.source.lock().unwrap();
        let mut source = guard.borrow_mut();
        let kind = source.byte();
        let answer = match self.error(kind) {
            Some(error) => Err(error),
            None => Ok((0..kind).map(|n| exchanger(n, &mut source)).collect::<Vec<_>>()),
        };
        if let Ok(records) = &answer {
            self.preferences.lock().unwrap().extend(records.iter().map(|mx| (mx.host.clone(), mx.preference)));
        }
        Box::pin(async { answer })
    }
    fn addresses<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, DnsError>> {
        let asked = self.asked.lock().unwrap();
        asked.set(asked.get() + 1);
        assert!(asked.get() <= mx::HOSTS_MAX, "too many questions for one message");
        let guard = self.source.lock().unwrap();
        let mut source = guard.borrow_mut();
        let kind = source.byte();
        let answer = match self.error(kind) {
            Some(error) => Err(error),
            None => Ok((0..kind).map(|_| ip(&mut source)).collect::<Vec<_>>()),
        };
        if let Some(&preference) = self.preferences.lock().unwrap().get(name) {
            let best = match &answer {
                Err(DnsError::Temporary(_)) => Some(&self.unanswered),
                Ok(addresses) if addresses.iter().any(|ip| is_ours(*ip)) => Some(&self.best_of_ours),
                _ => None,
            };
            if let Some(best) = best {
                let best = best.lock().unwrap();
                best.set(best.get().min(preference));
            }
        }
        Box::pin(async { answer })
    }
    fn ptr(&self, _ip: IpAddr) -> BoxFuture<'_, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
    fn txt<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Vec<String>, DnsError>> {
        Box::pin(async { Err(DnsError::NoName) })
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

postino_fuzz::fuzz_target!(|input: &[u8]| {
    let mut source = Source::new(input);
    let host = source.bytes();
    let way = route::find_route(&Config::default(), host);
    let far = || Mutex::new(Cell::new(u16::MAX));
    let zone = Zone {
        source: Mutex::new(RefCell::new(source)),
        asked: Mutex::default(),
        temporary: Mutex::default(),
        preferences: Mutex::default(),
        unanswered: far(),
        best_of_ours: far(),
    };
    match block_on(mx::resolve(&zone, &way, OWN)) {
        Ok(targets) => {
            assert!(!targets.is_empty() && targets.len() <= mx::ADDRESSES_MAX);
            for target in &targets {
                assert!(!is_ours(target.ip), "mail to ourselves: {target:?}");
                let literal = matches!(way, route::Route::Literal(_));
                assert!(literal || !target.ip.is_multicast(), "{target:?}");
            }
        }
        Err(DeliveryOutcome::Failed { detail, .. }) => {
            // We are listed, and only exchangers not better than us gave no answer: a misconfiguration whatever they would say.
            let found_us = detail.to_text().contains("best-preference");
            let bounced_too_early = zone.unanswered.lock().unwrap().get() < zone.best_of_ours.lock().unwrap().get();
            assert!(found_us || !zone.temporary.lock().unwrap().get(), "bounced for want of an answer: {detail}");
            assert!(!found_us || !bounced_too_early, "a better exchanger gave no answer: {detail}");
        }
        Err(DeliveryOutcome::Deferred { .. }) => {}
        Err(DeliveryOutcome::Delivered { .. }) => panic!("delivered without a word"),
    }
});
