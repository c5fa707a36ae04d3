//! A Maildir read live, as qmail, Courier and Dovecot write it at the same time: the adapter behind `ports::maildrop`. POP3 calls it.
//! Files change only at [`finish`](postino_ports::maildrop::Drop::finish); nothing is locked.

mod files;
mod name;
mod scan;
mod session;
mod sizes;

use postino_ports::BoxFuture;
use postino_ports::clock::Clock;
use postino_ports::directory::Mailbox;
use postino_ports::maildrop::{Drop, MaildropError, Maildrops};
use sizes::SizeCache;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Opens Maildirs.
pub struct MaildirStore {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for MaildirStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MaildirStore(..)")
    }
}

/// What all sessions share.
struct Shared {
    clock: Arc<dyn Clock>,
    sizes: SizeCache,
    /// Blocking work at once; the rest waits its turn instead of filling the pool that delivery needs too.
    turns: Semaphore,
}

impl MaildirStore {
    /// A store for all mailboxes. Blocking work runs on tokio's blocking threads, at most twice as many at once as there are cores.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { shared: Arc::new(Shared { clock, sizes: SizeCache::new(), turns: Semaphore::new(cores.saturating_mul(2)) }) }
    }
}

impl Maildrops for MaildirStore {
    fn open<'a>(&'a self, mailbox: &'a Mailbox) -> BoxFuture<'a, Result<Box<dyn Drop>, MaildropError>> {
        Box::pin(async move {
            let shared = Arc::clone(&self.shared);
            let path = mailbox.maildir.clone();
            let work = move || {
                let now = shared.clock.now();
                let list = scan::scan(&path, &shared.sizes)?;
                scan::clean_tmp(&path, now);
                Ok((path, list, shared))
            };
            let (path, list, shared) = self.shared.blocking(work).await?;
            Ok(Box::new(session::MaildirDrop::new(path, list, shared)) as Box<dyn Drop>)
        })
    }
}

impl Shared {
    /// Runs `work` on a blocking thread in turn.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, MaildropError> + Send + 'static,
    ) -> Result<T, MaildropError> {
        let _turn = self.turns.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(std::io::Error::other(error.to_string()).into()),
        }
    }
}

#[cfg(test)]
mod tests;
