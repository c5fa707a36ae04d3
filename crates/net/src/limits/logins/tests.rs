//! The throttle, with a clock in hand.

use super::*;

const A: &str = "192.0.2.1";
const B: &str = "198.51.100.7";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One attempt with a wrong password, made at once; how long it had to wait.
fn wrong(throttle: &LoginThrottle, from: &str, login: &str, now: Duration) -> Option<Duration> {
    let wait = match throttle.admit(ip(from), login.as_bytes(), now) {
        Admission::Now => Duration::ZERO,
        Admission::After(wait) => wait,
        Admission::Refuse => return None,
    };
    throttle.failed(ip(from), login.as_bytes(), now + wait);
    Some(wait)
}

#[test]
fn a_few_are_free_then_the_wait_doubles_up_to_its_limit() {
    let throttle = LoginThrottle::new(3);
    let mut waits = Vec::new();
    for _ in 0..12 {
        // All within one second, so that nothing is forgiven between them.
        let Admission::After(wait) = throttle.admit(ip(A), b"u", s(1000)) else {
            waits.push(0);
            throttle.failed(ip(A), b"u", s(1000));
            continue;
        };
        waits.push(wait.as_secs());
        throttle.failed(ip(A), b"u", s(1000));
    }
    assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]);
}

#[test]
fn quiet_time_forgives() {
    let throttle = LoginThrottle::new(3);
    for _ in 0..20 {
        wrong(&throttle, A, "u", s(1000));
    }
    assert!(wrong(&throttle, A, "u", s(1001)).is_none_or(|w| w >= s(16)));
    // Nine failures at most are remembered; three are forgiven a minute.
    assert_eq!(wrong(&throttle, A, "u", s(1000 + 200)), Some(Duration::ZERO));
}

#[test]
fn an_address_is_slow_for_every_account_and_an_account_for_every_address() {
    let throttle = LoginThrottle::new(3);
    for n in 0..6 {
        wrong(&throttle, A, &format!("user{n}"), s(1000));
    }
    assert!(wrong(&throttle, A, "fresh", s(1001)).unwrap() >= s(1));
    assert_eq!(wrong(&throttle, B, "fresh", s(1001)), Some(Duration::ZERO));
    let throttle = LoginThrottle::new(3);
    for n in 0..6 {
        wrong(&throttle, &format!("203.0.113.{n}"), "Victim@Example.org", s(1000));
    }
    assert!(wrong(&throttle, B, "victim@example.org", s(1001)).unwrap() >= s(1), "whatever the case");
    assert_eq!(wrong(&throttle, B, "other", s(1001)), Some(Duration::ZERO));
}

#[test]
fn the_owner_is_never_locked_out_by_strangers() {
    let throttle = LoginThrottle::new(3);
    assert_eq!(throttle.admit(ip(A), b"u", s(10)), Admission::Now);
    throttle.succeeded(ip(A), b"u", s(10));
    for n in 0..2000u32 {
        wrong(&throttle, &format!("10.0.{}.{}", n / 250, n % 250), "u", s(20));
    }
    assert_eq!(throttle.admit(ip(A), b"u", s(21)), Admission::Now);
    throttle.succeeded(ip(A), b"u", s(21));
    // A neighbour behind the same address does not disturb him either.
    for n in 0..50 {
        wrong(&throttle, A, &format!("guess{n}"), s(22));
    }
    assert_eq!(throttle.admit(ip(A), b"u", s(23)), Admission::Now);
    // But his own place gets no unlimited guesses.
    let slow = (0..20).filter_map(|_| wrong(&throttle, A, "u", s(24))).max().unwrap();
    assert_eq!(slow, s(30));
    assert!(wrong(&throttle, A, "u", s(25)).is_some(), "never refused outright");
}

#[test]
fn attempts_side_by_side_do_not_slip_through() {
    let throttle = LoginThrottle::new(10);
    let (mut now, mut later, mut refused) = (0, 0, 0);
    for _ in 0..400 {
        match throttle.admit(ip(A), b"u", s(1000)) {
            Admission::Now => now += 1,
            Admission::After(wait) => {
                later += 1;
                assert!(wait <= s(30));
            }
            Admission::Refuse => refused += 1,
        }
    }
    assert_eq!(now, 1);
    assert_eq!(later, 150, "five a second for thirty seconds");
    assert_eq!(refused, 249);
    // What was refused did not push the queue further away.
    assert_ne!(throttle.admit(ip(A), b"u", s(1002)), Admission::Refuse);
}

#[test]
fn good_logins_cost_nothing() {
    let throttle = LoginThrottle::new(3);
    for n in 0..1000 {
        let login = format!("user{n}");
        assert_eq!(throttle.admit(ip(A), login.as_bytes(), s(1000)), Admission::Now);
        throttle.succeeded(ip(A), login.as_bytes(), s(1000));
    }
    for _ in 0..1000 {
        assert_eq!(throttle.admit(ip(B), b"x", s(1000)), Admission::Now);
        throttle.undecided(ip(B), b"x", s(1000));
    }
}

#[test]
fn zero_switches_it_off() {
    let throttle = LoginThrottle::new(0);
    for _ in 0..1000 {
        assert_eq!(wrong(&throttle, A, "u", s(1)), Some(Duration::ZERO));
    }
    throttle.set_limit(1);
    assert_eq!(wrong(&throttle, A, "u", s(1)), Some(Duration::ZERO));
    assert_eq!(wrong(&throttle, A, "u", s(1)), Some(s(1)));
}

#[test]
fn memory_is_bounded_under_a_flood() {
    let mut core = Core::new(5);
    for n in 0..100_000u32 {
        let peer = IpAddr::V4(n.into());
        core.admit(peer, &n.to_be_bytes(), s(1));
        core.forgive(peer, &n.to_be_bytes(), s(1), Outcome::Granted);
    }
    assert!(core.records.len() <= 2 * RECORDS_MAX);
    assert!(core.known.len() <= 2 * KNOWN_MAX);
}

#[test]
fn the_whole_house_slows_down_for_strangers_when_everybody_guesses() {
    let throttle = LoginThrottle::new(1);
    for n in 0..200u32 {
        wrong(&throttle, &format!("10.1.{}.{}", n / 250, n % 250), &format!("u{n}"), s(100));
    }
    assert_eq!(wrong(&throttle, B, "new", s(100)), Some(s(1)));
}
