//! The line in which entries wait for a free delivery of one channel: fresh mail before retries, and entries take turns, so that one with a
//! thousand recipients holds up nobody. Used by the loop; knows ids only.

use postino_types::QueueId;
use std::collections::VecDeque;

/// Fresh deliveries between two retries when both wait.
const FRESH_IN_A_ROW: u8 = 4;

/// The line.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    fresh: VecDeque<QueueId>,
    retry: VecDeque<QueueId>,
    in_a_row: u8,
}

/// Has the entry been tried before?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Never.
    Fresh,
    /// It has.
    Retry,
}

impl Lane {
    /// Puts an entry at the end of its line.
    pub(crate) fn push(&mut self, id: QueueId, turn: Turn) {
        match turn {
            Turn::Fresh => self.fresh.push_back(id),
            Turn::Retry => self.retry.push_back(id),
        }
    }

    /// Whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<QueueId> {
        if (self.in_a_row < FRESH_IN_A_ROW || self.retry.is_empty())
            && let Some(id) = self.fresh.pop_front()
        {
            self.in_a_row = self.in_a_row.saturating_add(1);
            return Some(id);
        }
        self.in_a_row = 0;
        self.retry.pop_front()
    }

    /// Sends everybody home.
    pub(crate) fn clear(&mut self) {
        self.fresh.clear();
        self.retry.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_mail_first_but_retries_are_not_starved() {
        let mut lane = Lane::default();
        for n in 0..10 {
            lane.push(QueueId(n), Turn::Fresh);
            lane.push(QueueId(100 + n), Turn::Retry);
        }
        let order: Vec<u64> = std::iter::from_fn(|| lane.pop()).map(|id| id.0).collect();
        assert_eq!(order[..7], [0, 1, 2, 3, 100, 4, 5]);
        assert_eq!(order.len(), 20);
    }
}
