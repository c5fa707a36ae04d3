//! Admission: totals, addresses, and who makes room.

use super::*;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Polls once, without a runtime.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn the_total_is_bounded_and_places_come_back() {
    let limits = ConnectionLimits::new(2, 0);
    let a = limits.try_slot().unwrap().admit(ip("192.0.2.1")).unwrap();
    let b = limits.try_slot().unwrap().admit(ip("192.0.2.1")).unwrap();
    assert!(limits.try_slot().is_none());
    assert_eq!(limits.open(), 2);
    assert_ne!(a.session(), b.session());
    drop(a);
    assert!(limits.try_slot().is_some());
    drop(b);
    assert_eq!(limits.open(), 0);
    assert!(limits.state().by_address.is_empty(), "no address is remembered for nothing");
}

#[test]
fn an_address_is_bounded_and_an_ipv6_customer_is_one_address() {
    let limits = ConnectionLimits::new(0, 2);
    let admit = |text: &str| limits.try_slot().unwrap().admit(ip(text));
    let held = [admit("2001:db8:1:2::1"), admit("2001:db8:1:2:ffff::9")];
    assert!(held.iter().all(Option::is_some));
    assert!(admit("2001:db8:1:2::77").is_none());
    assert!(admit("2001:db8:1:3::1").is_some());
    let four = [admit("192.0.2.1"), admit("::ffff:192.0.2.1")];
    assert!(four.iter().all(Option::is_some));
    assert!(admit("192.0.2.1").is_none(), "an IPv4 address in IPv6 form is the same one");
    limits.set_per_address(3);
    assert!(admit("192.0.2.1").is_some());
}

#[test]
fn no_limit_is_no_limit() {
    let limits = ConnectionLimits::new(0, 0);
    let held: Vec<_> = (0..5000).map(|_| limits.try_slot().unwrap().admit(ip("192.0.2.1"))).collect();
    assert!(held.iter().all(Option::is_some));
    assert!(!limits.under_stress());
}

#[test]
fn stress_begins_at_nine_tenths() {
    let limits = ConnectionLimits::new(20, 0);
    let mut held: Vec<_> = (0..17).map(|_| limits.try_slot().unwrap().admit(ip("192.0.2.1")).unwrap()).collect();
    assert!(!limits.under_stress());
    held.push(limits.try_slot().unwrap().admit(ip("192.0.2.1")).unwrap());
    assert!(limits.under_stress() && held[0].under_stress());
}

#[test]
fn the_oldest_idle_session_makes_room_and_only_while_it_idles() {
    let limits = ConnectionLimits::new(3, 0);
    let held: Vec<_> = (0..3).map(|_| limits.try_slot().unwrap().admit(ip("192.0.2.1")).unwrap()).collect();
    let mut first = Box::pin(held[0].evicted());
    let mut second = Box::pin(held[1].evicted());
    // The second began to idle before the first; age is the connection's.
    assert!(poll(&mut second).is_pending() && poll(&mut first).is_pending());
    let mut waiting = pin!(limits.slot());
    assert!(poll(&mut waiting).is_pending());
    assert!(poll(&mut first).is_ready());
    assert!(poll(&mut second).is_pending());
    assert_eq!(limits.evictions(), 1);
    drop((first, second));
    // Nobody idles now: nobody is disturbed.
    let mut another = Box::pin(limits.slot());
    assert!(poll(&mut another).is_pending());
    assert_eq!(limits.evictions(), 1);
}
