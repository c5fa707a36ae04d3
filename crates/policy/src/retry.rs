//! When a message is tried again and when it is given up: qmail-send(8)'s quadratic schedule.
//! Called by the scheduler with times; never reads a clock.

use postino_control::Config;
use postino_types::{Channel, Time};

/// The line added to the report of a delivery that is given up.
pub const DYING_TEXT: &str = "I'm not going to try again; this message has been in the queue too long.\n";

/// The skip of a channel: the k-th attempt comes about (k · skip)² seconds after birth.
#[must_use]
pub const fn skip(channel: Channel) -> i64 {
    match channel {
        Channel::Local => 10,
        Channel::Remote => 20,
    }
}

/// The next attempt after one that began at `now`: arrival + (√age + skip)², or `retry_interval_s` after `now` when that is set.
/// Always later than `now`; a message from the future (the clock went back) counts as new, so it does not wait for years.
#[must_use]
pub fn next_attempt(config: &Config, channel: Channel, arrived: Time, now: Time) -> Time {
    if let Some(interval_s) = config.server.retry_interval_s {
        return now.plus_secs(interval_s.max(1));
    }
    let birth = arrived.min(now);
    let age_s = now.secs_since(birth).max(0);
    let root = age_s.isqrt().saturating_add(skip(channel));
    birth.plus_secs(root.saturating_mul(root)).max(now.plus_secs(1))
}

/// When a temporary failure becomes permanent: arrival + queuelifetime.
#[must_use]
pub fn expires(config: &Config, arrived: Time) -> Time {
    arrived.plus_secs(config.queue_lifetime_s)
}

/// Whether the wall clock may be believed for giving up mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Two observations agree.
    Agreed,
    /// Only one observation so far, or a jump lately.
    Doubtful,
}

/// True when a temporary failure in a pass that began at `now` is to be turned into a permanent one.
#[must_use]
pub fn is_dying(expires: Time, now: Time, trust: Trust) -> bool {
    trust == Trust::Agreed && now > expires
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Ages in seconds at which attempts are made when each pass starts exactly on time.
    fn ages(channel: Channel, count: usize) -> Vec<i64> {
        let config = Config::default();
        let birth = Time::from_secs(1_700_000_000);
        let next = |now: &Time| Some(next_attempt(&config, channel, birth, *now));
        std::iter::successors(Some(birth), next).take(count).map(|t| t.secs_since(birth)).collect()
    }

    #[test]
    fn the_schedule_is_quadratic() {
        let local = ages(Channel::Local, 79);
        let remote = ages(Channel::Remote, 40);
        for (k, l, r) in [
            (0, 0, 0),
            (1, 100, 400),
            (2, 400, 1600),
            (3, 900, 3600),
            (4, 1600, 6400),
            (5, 2500, 10000),
            (8, 6400, 25600),
            (10, 10000, 40000),
            (15, 22500, 90000),
            (20, 40000, 160_000),
            (30, 90000, 360_000),
            (39, 152_100, 608_400),
        ] {
            assert_eq!((local[k], remote[k]), (l, r), "attempt {k}");
        }
        assert_eq!(local[78], 608_400);
    }

    #[test]
    fn the_interval_replaces_it() {
        let mut config = Config::default();
        config.server.retry_interval_s = Some(5);
        assert_eq!(next_attempt(&config, Channel::Remote, Time::from_secs(0), Time::from_secs(100)), Time::from_secs(105));
        config.server.retry_interval_s = Some(0);
        assert_eq!(next_attempt(&config, Channel::Remote, Time::from_secs(0), Time::from_secs(100)), Time::from_secs(101));
    }

    #[test]
    fn a_message_from_the_future_does_not_wait() {
        let config = Config::default();
        let now = Time::from_secs(1000);
        assert_eq!(next_attempt(&config, Channel::Remote, Time::from_secs(400_000_000), now), Time::from_secs(1400));
    }

    #[test]
    fn dying_needs_an_agreed_clock() {
        let config = Config::default();
        let at = expires(&config, Time::from_secs(0));
        assert_eq!(at, Time::from_secs(604_800));
        assert!(!is_dying(at, at, Trust::Agreed));
        assert!(is_dying(at, at.plus_secs(1), Trust::Agreed));
        assert!(!is_dying(at, at.plus_secs(1), Trust::Doubtful));
    }

    proptest! {
        #[test]
        fn the_next_attempt_is_later(arrived in any::<i64>(), now in -4_000_000_000_000i64..9_000_000_000_000) {
            let config = Config::default();
            for channel in [Channel::Local, Channel::Remote] {
                prop_assert!(next_attempt(&config, channel, Time(arrived), Time(now)) > Time(now));
            }
        }
    }
}
