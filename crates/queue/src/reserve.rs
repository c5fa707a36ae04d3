//! Room kept for the ends of deliveries: a file that is given up when the disk is full, and made again when there is room. Called by the writer.
//! Never helps a new message in.

use crate::shared::Shared;
use std::path::PathBuf;
use std::time::Duration;

/// Room kept, bytes: some hundred groups of settlements, and the log is emptied in between.
const RESERVE_BYTES: u64 = 8 << 20;
/// The file is looked after at most this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(crate) struct Reserve {
    path: PathBuf,
    there: bool,
    looked: Duration,
}

impl Reserve {
    pub(crate) fn new(shared: &Shared) -> Self {
        let mut reserve = Self { path: shared.options.dir.join("reserve"), there: false, looked: Duration::ZERO };
        reserve.make(shared);
        reserve
    }

    /// Gives the room up.
    pub(crate) fn release(&mut self, shared: &Shared) {
        self.there = false;
        self.looked = shared.options.clock.monotonic();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(error = %error, "queue reserve cannot be given up");
        } else {
            tracing::warn!("queue disk is full: the reserve is in use");
        }
    }

    /// Makes it again when there is room.
    pub(crate) fn keep(&mut self, shared: &Shared) {
        let now = shared.options.clock.monotonic();
        if !self.there && now.saturating_sub(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.make(shared);
        }
    }

    fn make(&mut self, shared: &Shared) {
        let needed = shared.options.disk_reserve_bytes.saturating_add(RESERVE_BYTES);
        let roomy = shared.space().is_none_or(|space| space.free_bytes >= needed);
        let there = std::fs::metadata(&self.path).is_ok_and(|found| found.len() == RESERVE_BYTES);
        self.there = there || (roomy && postino_disk::space::reserve(&self.path, RESERVE_BYTES).is_ok());
        if !self.there {
            // Half a reserve is only somebody else's lack of room. It may not be there at all.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
