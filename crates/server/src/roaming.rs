//! Roaming users under `postino serve`: addresses opened by logins, in memory for the SMTP sessions and written to the keeper (so that tcpserver and a
//! restart know them), with the keeper's own rows read every few seconds (so that vchkpw's logins and `postino relay` count here). Made by `compose`.
//! Opens nothing unless `vpopmail.roaming-users` says so, and never a loopback address: behind a TLS proxy that would be everybody.

use postino_control::{Config, Live};
use postino_directory::keepers::OpenSmtp;
use postino_directory::roaming::{ROWS_MAX, Roaming, RoamingError};
use postino_ports::accounts::Relays;
use postino_ports::clock::Clock;
use postino_ports::directory::Mailbox;
use postino_ports::event::{Event, Events};
use postino_types::account::FLAG_NO_RELAY;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How often the keeper's rows are read.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A login from an open address is written down once in this time.
const WRITTEN_EVERY_S: i64 = 60;

/// One open address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Time of the last login.
    at: i64,
    /// The time that the keeper knows.
    written: Option<i64>,
}

/// The open addresses of the running server.
pub(crate) struct OpenRelays {
    live: Live,
    clock: Arc<dyn Clock>,
    events: Arc<dyn Events>,
    relays: Arc<dyn Relays>,
    rows: Mutex<HashMap<IpAddr, Row>>,
    fresh: Notify,
    /// One at a time works with the keeper, so that what is read is not older than what was written.
    work: tokio::sync::Mutex<Told>,
}

/// Which trouble was told: each once, until it is over.
#[derive(Debug, Default)]
struct Told(Option<String>);

/// As the configuration is; `None` when nobody roams.
fn keeper(relays: &Arc<dyn Relays>, config: &Config) -> Option<Roaming> {
    let settings = &config.vpopmail;
    let rules = settings.tcpserver_file.as_deref();
    settings.roaming_users.then(|| Roaming::new(Arc::clone(relays), &config.vpopmail_home, rules, settings.relay_clear))
}

/// What must be there before the sandbox closes. Trouble is told when the first row is written.
pub(crate) fn prepare(config: &Config) {
    let relays: Arc<dyn Relays> = Arc::new(OpenSmtp::new(&config.vpopmail_home));
    if let Some(keeper) = keeper(&relays, config) {
        let _ = keeper.prepare();
    }
}

impl OpenRelays {
    pub(crate) fn new(live: Live, clock: Arc<dyn Clock>, events: Arc<dyn Events>, relays: Arc<dyn Relays>) -> Self {
        Self { live, clock, events, relays, rows: Mutex::default(), fresh: Notify::new(), work: tokio::sync::Mutex::default() }
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<IpAddr, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes and reads until the task is ended.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            self.look().await;
            // A login wakes us at once, else time does.
            let _ = tokio::time::timeout(LOOK_EVERY, self.fresh.notified()).await;
        }
    }

    /// Writes what is new, forgets what has run out, reads what others wrote.
    pub(crate) async fn look(self: &Arc<Self>) {
        let mut told = self.work.lock().await;
        let Some(keeper) = keeper(&self.relays, &self.live.get()) else { return self.rows().clear() };
        let shared = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || shared.exchange(&keeper)).await;
        let trouble = done.unwrap_or(Err(RoamingError::Interrupted)).err().map(|error| error.to_string());
        if trouble.is_some() && told.0 != trouble {
            let detail = trouble.clone().unwrap_or_default();
            self.events.emit(&Event::Warning { what: "opened relays not kept; they count in memory until they are", detail: &detail });
        }
        told.0 = trouble;
    }

    fn exchange(&self, keeper: &Roaming) -> Result<(), RoamingError> {
        let now = self.clock.now().secs();
        self.rows().retain(|_, row| row.at > keeper.until(now));
        let new: Vec<(IpAddr, i64)> =
            self.rows().iter().filter(|(_, row)| row.must_be_written(keeper.until(now))).map(|(ip, row)| (*ip, row.at)).collect();
        for (ip, at) in new {
            keeper.open(ip, at)?;
            if let Some(row) = self.rows().get_mut(&ip) {
                row.written = Some(at);
            }
        }
        if keeper.has_run_out(now)? {
            keeper.clear(now)?;
        }
        let kept = keeper.open_at(now)?;
        self.take_over(&kept);
        Ok(())
    }

    /// The keeper's word counts, but for what it was not told yet.
    fn take_over(&self, kept: &[(IpAddr, i64)]) {
        let mut rows = self.rows();
        let known: HashMap<IpAddr, i64> = kept.iter().copied().collect();
        rows.retain(|ip, row| row.written.is_none() || known.contains_key(ip));
        for (ip, at) in known.into_iter().filter(|(ip, _)| may_roam(*ip)) {
            let row = rows.entry(ip).or_insert(Row { at, written: Some(at) });
            row.at = row.at.max(at);
            row.written = Some(at);
        }
    }
}

impl Row {
    /// `until`: what the keeper knows of this time and before runs out now.
    fn must_be_written(&self, until: i64) -> bool {
        let soon = until.saturating_add(WRITTEN_EVERY_S);
        self.written.is_none_or(|written| self.at > written && (self.at >= written.saturating_add(WRITTEN_EVERY_S) || written <= soon))
    }
}

/// Addresses that stand for one place on the network.
fn may_roam(ip: IpAddr) -> bool {
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

impl postino_ports::roaming::Roaming for OpenRelays {
    fn logged_in(&self, client: IpAddr, mailbox: &Mailbox) {
        let client = client.to_canonical();
        if !self.live.get().vpopmail.roaming_users || mailbox.flags & FLAG_NO_RELAY != 0 || !may_roam(client) {
            return;
        }
        let at = self.clock.now().secs();
        let mut rows = self.rows();
        if rows.len() >= ROWS_MAX && !rows.contains_key(&client) {
            // As many logins from as many addresses within the time: no more are opened.
            return;
        }
        let row = rows.entry(client).or_insert(Row { at, written: None });
        row.at = at;
        if row.must_be_written(i64::MIN) {
            self.fresh.notify_one();
        }
    }

    fn is_open(&self, client: IpAddr) -> bool {
        let config = self.live.get();
        if !config.vpopmail.roaming_users {
            return false;
        }
        let keep = i64::try_from(config.vpopmail.relay_clear.as_secs()).unwrap_or(i64::MAX);
        let now = self.clock.now().secs();
        self.rows().get(&client.to_canonical()).is_some_and(|row| row.at > now.saturating_sub(keep))
    }
}

#[cfg(test)]
mod tests;
