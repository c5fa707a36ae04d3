//! What is remembered of addresses for a while: those that do not answer (as qmail's tcpto) and those whose TLS does not work. Called by
//! `open` and `deliver`; bounded, in memory only.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Addresses kept; the ones that matter least are dropped.
const ENTRIES_MAX: usize = 4096;
/// An address without trouble for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(2 * 3600);
/// How long a host whose TLS handshake failed is spoken to in clear.
const CLEAR_FOR: Duration = Duration::from_secs(600);

/// What a connection attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// No answer: each further attempt would hold a delivery for the whole time-out.
    TimedOut,
    /// Refused or unreachable: quick to find out, so a short pause is enough.
    Refused,
}

impl Trouble {
    /// (pause after the second failure, longest pause).
    const fn pauses(self) -> (Duration, Duration) {
        match self {
            Self::TimedOut => (Duration::from_secs(120), Duration::from_secs(3600)),
            Self::Refused => (Duration::from_secs(10), Duration::from_secs(300)),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Down {
    failures: u32,
    last: Duration,
    until: Duration,
}

/// When a link came up, and by whose call.
type Called = (Duration, Option<IpAddr>);

/// The memory. Times are monotonic.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    down: Mutex<HashMap<SocketAddr, Down>>,
    clear_only: Mutex<HashMap<SocketAddr, Duration>>,
    /// When each link came up, and by whose call: what failed before says nothing about it.
    links_up: Mutex<HashMap<Arc<str>, Called>>,
}

impl Remembered {
    /// Until when the address is not worth an attempt for mail of this link, or of none; `None` when it is.
    pub(crate) fn down_until(&self, address: SocketAddr, link: Option<&str>, now: Duration) -> Option<Duration> {
        let down = *self.down.lock().unwrap_or_else(PoisonError::into_inner).get(&address).filter(|d| d.until > now)?;
        let up = |link| self.links_up.lock().unwrap_or_else(PoisonError::into_inner).get(link).copied();
        if link.and_then(up).is_some_and(|(up, _)| down.last <= up) { None } else { Some(down.until) }
    }

    /// The link came up: its mail tries every address again. That of others does not: whoever may ask for one link has no say about them.
    /// `caller`: the address that asked; without one the last is kept.
    pub(crate) fn link_is_up(&self, link: Arc<str>, caller: Option<IpAddr>, now: Duration) {
        let mut up = self.links_up.lock().unwrap_or_else(PoisonError::into_inner);
        up.retain(|_, (at, _)| now.saturating_sub(*at) < FORGET_AFTER);
        let before = up.get(&link).and_then(|(_, caller)| *caller);
        up.insert(link, (now, caller.or(before)));
    }

    /// Who called a link last, within two hours.
    pub(crate) fn caller(&self, link: &str) -> Option<IpAddr> {
        self.links_up.lock().unwrap_or_else(PoisonError::into_inner).get(link).and_then(|(_, caller)| *caller)
    }

    /// An attempt that began at `began` failed at `now`. The second failure pauses the address, each further one for twice as long.
    /// Attempts that ran side by side count as one.
    pub(crate) fn failed(&self, address: SocketAddr, trouble: Trouble, began: Duration, now: Duration) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if down.len() >= ENTRIES_MAX && !down.contains_key(&address) {
            make_room(&mut down, now);
        }
        let entry = down.entry(address).or_insert(Down { failures: 0, last: Duration::ZERO, until: Duration::ZERO });
        if entry.failures > 0 && now.saturating_sub(entry.last) > FORGET_AFTER {
            entry.failures = 0;
        }
        if entry.failures > 0 && began < entry.last {
            return;
        }
        entry.failures = entry.failures.saturating_add(1).min(16);
        entry.last = now;
        if let Some(doublings) = entry.failures.checked_sub(2) {
            let (first, longest) = trouble.pauses();
            entry.until = now + first.saturating_mul(1 << doublings.min(15)).min(longest);
        }
    }

    /// The address answered.
    pub(crate) fn answered(&self, address: SocketAddr) {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
    }

    /// All addresses are worth an attempt again.
    pub(crate) fn forget_down(&self) {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// TLS with this address failed.
    pub(crate) fn tls_failed(&self, address: SocketAddr, now: Duration) {
        let mut clear = self.clear_only.lock().unwrap_or_else(PoisonError::into_inner);
        if clear.len() >= ENTRIES_MAX {
            clear.retain(|_, until| *until > now);
        }
        if clear.len() < ENTRIES_MAX {
            clear.insert(address, now + CLEAR_FOR);
        }
    }

    /// True when TLS with this address failed lately.
    pub(crate) fn is_clear_only(&self, address: SocketAddr, now: Duration) -> bool {
        let clear = self.clear_only.lock().unwrap_or_else(PoisonError::into_inner);
        clear.get(&address).is_some_and(|until| *until > now)
    }
}

fn make_room(down: &mut HashMap<SocketAddr, Down>, now: Duration) {
    down.retain(|_, d| now.saturating_sub(d.last) < FORGET_AFTER);
    if down.len() >= ENTRIES_MAX
        && let Some(oldest) = down.iter().min_by_key(|(_, d)| d.last).map(|(a, _)| *a)
    {
        down.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn address(n: u32) -> SocketAddr {
        SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 25)
    }

    #[test]
    fn the_second_failure_pauses_and_pauses_grow_to_a_limit() {
        let memory = Remembered::default();
        let a = address(1);
        memory.failed(a, Trouble::TimedOut, s(0), s(60));
        assert_eq!(memory.down_until(a, None, s(61)), None);
        memory.failed(a, Trouble::TimedOut, s(61), s(121));
        assert_eq!(memory.down_until(a, None, s(122)), Some(s(241)));
        assert_eq!(memory.down_until(a, None, s(241)), None);
        memory.failed(a, Trouble::TimedOut, s(241), s(301));
        assert_eq!(memory.down_until(a, None, s(302)), Some(s(541)));
        for n in 1..30 {
            memory.failed(a, Trouble::TimedOut, s(n * 4000), s(n * 4000));
        }
        assert_eq!(memory.down_until(a, None, s(116_001)), Some(s(116_000 + 3600)));
        memory.answered(a);
        assert_eq!(memory.down_until(a, None, s(116_001)), None);
    }

    #[test]
    fn a_link_that_comes_up_forgets_for_itself_alone() {
        let memory = Remembered::default();
        for began in [0, 61] {
            memory.failed(address(1), Trouble::TimedOut, s(began), s(began + 60));
        }
        memory.link_is_up("isp".into(), Some(address(7).ip()), s(130));
        assert_eq!(memory.down_until(address(1), Some("isp"), s(131)), None);
        assert_eq!(memory.down_until(address(1), Some("other"), s(131)), Some(s(241)));
        assert_eq!(memory.down_until(address(1), None, s(131)), Some(s(241)));
        memory.link_is_up("isp".into(), None, s(130));
        assert_eq!((memory.caller("isp"), memory.caller("other")), (Some(address(7).ip()), None));
        // What fails from then on counts.
        memory.failed(address(1), Trouble::TimedOut, s(131), s(140));
        assert_eq!(memory.down_until(address(1), Some("isp"), s(141)), Some(s(380)));
    }

    #[test]
    fn attempts_side_by_side_count_once() {
        let memory = Remembered::default();
        for _ in 0..10 {
            memory.failed(address(1), Trouble::TimedOut, s(0), s(60));
        }
        assert_eq!(memory.down_until(address(1), None, s(60)), None);
    }

    #[test]
    fn old_trouble_is_forgotten_and_the_table_is_bounded() {
        let memory = Remembered::default();
        memory.failed(address(1), Trouble::Refused, s(0), s(0));
        memory.failed(address(1), Trouble::Refused, s(9000), s(9000));
        assert_eq!(memory.down_until(address(1), None, s(9000)), None);
        for n in 0..4200 {
            memory.failed(address(n), Trouble::Refused, s(9000), s(9000 + u64::from(n)));
        }
        assert_eq!(memory.down.lock().unwrap().len(), ENTRIES_MAX);
    }

    #[test]
    fn tls_trouble_lasts_ten_minutes() {
        let memory = Remembered::default();
        memory.tls_failed(address(1), s(5));
        assert!(memory.is_clear_only(address(1), s(604)));
        assert!(!memory.is_clear_only(address(1), s(605)));
        assert!(!memory.is_clear_only(address(2), s(6)));
    }
}
