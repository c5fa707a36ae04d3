//! The system clock behind the `Clock` port. The only place of the server that reads time; called by every daemon through the port.

use postino_ports::clock::Clock;
use postino_types::Time;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall time and a monotonic clock that starts with the process.
#[derive(Debug)]
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// Starts now.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis());
        Time(i64::try_from(millis).unwrap_or(i64::MAX))
    }
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
