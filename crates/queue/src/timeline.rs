//! Time for the schedule: wall time that never jumps. It starts as the wall clock shows and then goes on with the monotonic clock, so that setting
//! the clock neither stalls nor floods the schedule. Pure apart from being told both clocks.

use postino_types::Time;
use std::time::Duration;

/// A difference of less than this is not a jump, milliseconds.
const JUMP_MS: i64 = 1000;
/// Offsets remembered; a clock that is set more often than this loses only the exactness of removals.
const OFFSETS_MAX: usize = 32;

/// The time line.
#[derive(Debug)]
pub(crate) struct Timeline {
    wall_start: i64,
    monotonic_start: Duration,
    /// `wall - line` as seen lately, the newest last. Never empty.
    offsets: Vec<i64>,
}

impl Timeline {
    pub(crate) fn new(wall: Time, monotonic: Duration) -> Self {
        Self { wall_start: wall.0, monotonic_start: monotonic, offsets: vec![0] }
    }

    /// Now on the line, milliseconds; notices when the wall clock was set.
    pub(crate) fn now(&mut self, wall: Time, monotonic: Duration) -> i64 {
        let passed = monotonic.saturating_sub(self.monotonic_start).as_millis();
        let line = self.wall_start.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        let offset = wall.0.saturating_sub(line);
        if offset.abs_diff(self.offset()) > JUMP_MS.unsigned_abs() {
            if self.offsets.len() >= OFFSETS_MAX {
                self.offsets.remove(0);
            }
            self.offsets.push(offset);
        }
        line
    }

    fn offset(&self) -> i64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// A wall time that somebody computed from the present wall clock, on the line.
    pub(crate) fn place(&self, wall: i64) -> i64 {
        wall.saturating_sub(self.offset())
    }

    /// All the places that a wall time may have been given, the newest first.
    pub(crate) fn places(&self, wall: i64) -> impl Iterator<Item = i64> + '_ {
        self.offsets.iter().rev().map(move |offset| wall.saturating_sub(*offset))
    }
}
