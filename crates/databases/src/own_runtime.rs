//! A driver that wants tokio, used from blocking code: each connection has a small runtime of its own, and nothing waits longer than its deadline,
//! whether the other side is gone, stopped or only slow. Called by the links of PostgreSQL and MySQL.

use crate::sql::link::LinkError;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// The runtime of one connection. Must not be used on a thread of another runtime's workers.
pub(crate) struct OwnRuntime {
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    pub(crate) fn new() -> Result<Self, LinkError> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        runtime.map(|runtime| Self { runtime: Some(runtime) }).map_err(|error| LinkError::Lost(error.to_string()))
    }

    /// Runs `work` until it ends or `deadline` passes.
    pub(crate) fn run<T>(&self, deadline: Duration, work: impl Future<Output = T>) -> Result<T, LinkError> {
        let runtime = self.runtime.as_ref().expect("invariant: taken only by drop");
        let late = || LinkError::Late(format!("no answer within {} s", deadline.as_secs_f32()));
        runtime.block_on(async { tokio::time::timeout(deadline, work).await }).map_err(|_| late())
    }

    /// Lets `task` go on whenever something runs.
    #[cfg(feature = "postgresql")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.as_ref().expect("invariant: taken only by drop");
        runtime.spawn(task);
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // A plain drop may wait, and would panic where the last owner is dropped by a task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
