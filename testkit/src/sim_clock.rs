//! A clock that moves only when a test moves it; wall and monotonic time apart, so that jumps can be played. Never reads the real one.

use postino_ports::clock::Clock;
use postino_types::Time;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The clock.
pub struct SimClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl SimClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Time) -> Self {
        Self { wall_ms: AtomicI64::new(now.0), monotonic_ms: AtomicU64::new(1_000_000) }
    }
    /// Time passes: both clocks move on.
    pub fn advance(&self, by: Duration) {
        let millis = u64::try_from(by.as_millis()).unwrap();
        self.monotonic_ms.fetch_add(millis, Ordering::SeqCst);
        self.wall_ms.fetch_add(i64::try_from(millis).unwrap(), Ordering::SeqCst);
    }
    /// Somebody sets the wall clock (`by_ms` may be negative); no time passes.
    pub fn jump(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Time {
        Time(self.wall_ms.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}
