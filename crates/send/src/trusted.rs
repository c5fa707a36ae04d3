//! Wall time that is believed. Mail is given up, and its age counted, only by a wall clock that agrees with the monotonic clock; a wall
//! clock that jumps is believed again after a day. Used by the scheduler's loop; never sleeps.

use postino_policy::retry::Trust;
use postino_ports::clock::Clock;
use postino_types::Time;
use std::time::Duration;

/// Wall and monotonic clock may drift apart so far between two looks, milliseconds (a clock being slewed).
const DRIFT_MS: i64 = 60_000;
/// After a jump the new wall time is believed when it has kept pace for so long.
const PROBATION: Duration = Duration::from_secs(86_400);

/// One look at the clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    /// The wall clock's word: what the queue counts by.
    pub(crate) wall: Time,
    /// What the wall clock would show had it not jumped: ages are counted by it.
    pub(crate) trusted: Time,
    /// Since some start.
    pub(crate) monotonic: Duration,
    /// Do the two agree?
    pub(crate) trust: Trust,
}

impl Moment {
    /// Wall time of a monotonic moment.
    pub(crate) fn wall_at(&self, monotonic: Duration) -> Time {
        Time(self.wall.0.saturating_add(millis(monotonic)).saturating_sub(millis(self.monotonic)))
    }

    /// Monotonic moment of a wall time; now when it is past, a day at most from now: a clock put wrong elsewhere must not stop mail.
    pub(crate) fn monotonic_at(&self, wall: Time) -> Duration {
        let ahead_ms = wall.0.saturating_sub(self.wall.0).clamp(0, millis(PROBATION));
        self.monotonic + Duration::from_millis(ahead_ms.unsigned_abs())
    }
}

/// Remembers the distance between the clocks.
pub(crate) struct TrustedClock {
    offset_ms: i64,
    /// A new distance and when it was first seen.
    candidate: Option<(i64, Duration)>,
}

impl TrustedClock {
    /// Believes the clock that it is shown first.
    pub(crate) fn new(clock: &dyn Clock) -> Self {
        Self { offset_ms: offset(clock.now(), clock.monotonic()), candidate: None }
    }

    /// Looks at the clocks.
    pub(crate) fn look(&mut self, clock: &dyn Clock) -> Moment {
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        let seen = offset(wall, monotonic);
        let agrees = self.follow(seen, monotonic);
        let trusted = Time(self.offset_ms.saturating_add(millis(monotonic)));
        Moment { wall, trusted, monotonic, trust: if agrees { Trust::Agreed } else { Trust::Doubtful } }
    }

    fn follow(&mut self, seen: i64, monotonic: Duration) -> bool {
        if near(seen, self.offset_ms) {
            self.offset_ms = seen;
            self.candidate = None;
            return true;
        }
        match self.candidate {
            Some((offset, since)) if near(offset, seen) => {
                self.candidate = Some((seen, since));
                if monotonic.saturating_sub(since) >= PROBATION {
                    self.offset_ms = seen;
                    self.candidate = None;
                    return true;
                }
            }
            _ => self.candidate = Some((seen, monotonic)),
        }
        false
    }
}

fn near(a: i64, b: i64) -> bool {
    a.saturating_sub(b).saturating_abs() <= DRIFT_MS
}

fn offset(wall: Time, monotonic: Duration) -> i64 {
    wall.0.saturating_sub(millis(monotonic))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Hands(Mutex<(i64, u64)>);
    impl Hands {
        fn pass(&self, secs: u64) {
            let mut hands = self.0.lock().unwrap();
            hands.0 += i64::try_from(secs).unwrap() * 1000;
            hands.1 += secs;
        }
        fn jump(&self, secs: i64) {
            self.0.lock().unwrap().0 += secs * 1000;
        }
    }
    impl Clock for Hands {
        fn now(&self) -> Time {
            Time(self.0.lock().unwrap().0)
        }
        fn monotonic(&self) -> Duration {
            Duration::from_secs(self.0.lock().unwrap().1)
        }
    }

    const TEN_YEARS_S: i64 = 315_360_000;

    #[test]
    fn a_jump_is_doubted_and_ages_go_on() {
        for jump in [TEN_YEARS_S, -TEN_YEARS_S] {
            let hands = Hands(Mutex::new((1_000_000_000, 5)));
            let mut clock = TrustedClock::new(&hands);
            hands.pass(100);
            assert_eq!(clock.look(&hands).trust, Trust::Agreed);
            let before = clock.look(&hands).trusted;
            hands.jump(jump);
            hands.pass(3600);
            let after = clock.look(&hands);
            assert_eq!(after.trust, Trust::Doubtful);
            assert_eq!(after.trusted.secs_since(before), 3600);
            hands.pass(86_400);
            let later = clock.look(&hands);
            assert_eq!((later.trust, later.trusted), (Trust::Agreed, later.wall));
        }
    }

    #[test]
    fn a_clock_put_right_is_believed_at_once() {
        let hands = Hands(Mutex::new((1_000_000_000, 5)));
        let mut clock = TrustedClock::new(&hands);
        hands.jump(TEN_YEARS_S);
        assert_eq!(clock.look(&hands).trust, Trust::Doubtful);
        hands.jump(-TEN_YEARS_S);
        assert_eq!(clock.look(&hands).trust, Trust::Agreed);
    }

    #[test]
    fn waiting_never_exceeds_a_day() {
        let hands = Hands(Mutex::new((1_000_000_000, 5)));
        let moment = TrustedClock::new(&hands).look(&hands);
        assert_eq!(moment.monotonic_at(moment.wall.plus_secs(TEN_YEARS_S)), Duration::from_secs(86_405));
        assert_eq!(moment.monotonic_at(Time(0)), moment.monotonic);
        assert_eq!(moment.wall_at(Duration::from_secs(65)), moment.wall.plus_secs(60));
    }
}
