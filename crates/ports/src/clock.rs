//! The only source of time. Expiry uses wall time, intervals use the monotonic clock, so a clock that jumps loses nothing.

use postino_types::Time;
use std::time::Duration;

/// A clock.
pub trait Clock: Send + Sync {
    /// Wall time.
    fn now(&self) -> Time;
    /// Time since some fixed start; never goes back.
    fn monotonic(&self) -> Duration;
}
