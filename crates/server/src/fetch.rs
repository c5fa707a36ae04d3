//! Fetching within the house: who gives the passwords, which door the messages take, and the control socket's words for `postino fetch`. Knows no
//! protocol; never holds a password longer than it is asked for.

use crate::compose::House;
use postino_control::fetch::FetchAccount;
use postino_fetch::{Fetcher, Mode, Outcome, Ports, Secrets, Stage, Standing};
use postino_local::spawn_link::SpawnLink;
use postino_ports::BoxFuture;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The hidden subcommand that finds a secret.
pub(crate) const SECRET_WORD: &str = "fetch-secret";

/// Where the journals lie.
pub(crate) fn state_dir(home: &Path) -> PathBuf {
    home.join("queue/fetch")
}

/// The running server's fetcher: messages go through whatever program stands before the queue, as those of the network do.
pub(crate) fn of_house(house: &House) -> Arc<Fetcher> {
    let home = house.live.get().home.clone();
    Fetcher::new(Ports {
        queue: Arc::clone(&house.door),
        config: house.live.clone(),
        dns: Arc::clone(&house.dns),
        directory: Arc::clone(&house.directory),
        clock: Arc::clone(&house.clock),
        events: Arc::clone(&house.events),
        secrets: Arc::new(BySpawner(house.spawn.clone())),
        state_dir: state_dir(&home),
    })
}

/// The worker may neither read root's files nor start a program; the spawner's child does.
struct BySpawner(SpawnLink);

impl Secrets for BySpawner {
    fn secret<'a>(&'a self, account: &'a FetchAccount) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, String>> {
        Box::pin(async move { self.0.run_secret(&account.name).await.map(Zeroizing::new) })
    }
}

/// Found before root's rights were given up.
pub(crate) struct Found(pub(crate) HashMap<String, Result<Zeroizing<Vec<u8>>, String>>);

impl Secrets for Found {
    fn secret<'a>(&'a self, account: &'a FetchAccount) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, String>> {
        let found = self.0.get(&account.name).cloned().unwrap_or_else(|| Err("not asked for".into()));
        Box::pin(async move { found })
    }
}

/// The control socket's answers.
pub(crate) fn answer(word: &str, request: &Value, fetcher: &Arc<Fetcher>) -> Result<Value, String> {
    if word == "fetch" {
        let names = request.get("accounts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let mode = if request.get("dry_run").and_then(Value::as_bool) == Some(true) { Mode::DryRun } else { Mode::Fetch };
        return fetcher.start(&names, mode).map(|job| json!({ "job": job }));
    }
    let job = request.get("job").and_then(Value::as_u64).unwrap_or(0);
    let standing = fetcher.standing(job).ok_or("that command was too long ago")?;
    Ok(json!({ "accounts": standing.iter().map(standing_json).collect::<Vec<_>>() }))
}

/// The shape of `fetch --json`.
pub(crate) fn standing_json(standing: &Standing) -> Value {
    let (state, error) = match &standing.stage {
        Stage::Waiting => ("waiting", None),
        Stage::Running => ("running", None),
        Stage::Done => ("done", None),
        Stage::Failed(why) => ("failed", Some(why)),
    };
    let Outcome { listed, new, fetched, bytes, deleted, left, more, .. } = &standing.outcome;
    json!({"account": standing.name, "state": state, "error": error, "listed": listed, "new": new, "fetched": fetched, "bytes": bytes,
        "deleted": deleted, "left": left, "more": more})
}
