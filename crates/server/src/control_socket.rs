//! `run/control.sock`: the command line's door to a running server. One JSON line asks, one JSON line answers.
//! Only root and the worker's own account reach it (mode 0600). Never carries a password.

use crate::links::Turnpike;
use postino_control::links::Link;
use postino_ports::queue::{AdminAction, Queue, QueueEntry, Selection};
use postino_types::{QueueId, Recipient, RecipientState};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

/// Longest request, bytes.
const REQUEST_BYTES_MAX: u64 = 1 << 20;
/// Entries of one `list` answer.
const PAGE: usize = 500;

/// Where the socket lies.
pub(crate) fn path(home: &Path) -> PathBuf {
    home.join("run/control.sock")
}

/// What a request may reach.
#[derive(Clone)]
pub(crate) struct Desk {
    /// The queue.
    pub(crate) queue: Arc<dyn Queue>,
    /// Rereads the configuration; the text says what went wrong.
    pub(crate) reload: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Forgets destination back-off, so that `retry` tries at once.
    pub(crate) forget_backoff: Arc<dyn Fn() + Send + Sync>,
    /// Runs over `[[fetch]]` accounts.
    pub(crate) fetcher: Arc<postino_fetch::Fetcher>,
    /// Addresses that logins have opened for relaying.
    pub(crate) open_relays: Arc<crate::roaming::OpenRelays>,
    /// Switches links.
    pub(crate) turnpike: Turnpike,
    /// For connections that are turned round at a provider.
    pub(crate) sessions: postino_smtpd::Context,
}

impl Desk {
    fn holder(&self) -> Box<Holder> {
        let scheduler = Arc::clone(&self.turnpike.scheduler);
        Box::new(move |recipient| scheduler.held_by(recipient))
    }
}

/// Answers until the task is ended.
pub(crate) async fn serve(listener: tokio::net::UnixListener, desk: Desk) {
    loop {
        let stream = crate::inject::next_caller(&listener).await;
        let desk = desk.clone();
        tokio::spawn(async move {
            let _ = answer(stream, desk).await;
        });
    }
}

async fn answer(stream: tokio::net::UnixStream, desk: Desk) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(read.take(REQUEST_BYTES_MAX)).lines();
    while let Some(line) = lines.next_line().await? {
        let reply = match serde_json::from_str::<Value>(&line) {
            Ok(request) => handle(&request, &desk).await.unwrap_or_else(|e| json!({"error": e})),
            Err(e) => json!({"error": format!("not JSON: {e}")}),
        };
        let mut text = reply.to_string();
        text.push('\n');
        write.write_all(text.as_bytes()).await?;
    }
    Ok(())
}

async fn handle(request: &Value, desk: &Desk) -> Result<Value, String> {
    let word = request.get("do").and_then(Value::as_str).unwrap_or_default();
    let text = |e: postino_ports::queue::SettleError| e.to_string();
    match word {
        "list" => {
            let after = QueueId(request.get("after").and_then(Value::as_u64).unwrap_or(0));
            let entries = desk.queue.list(after, PAGE).await.map_err(text)?;
            Ok(json!({"entries": entries.iter().map(|entry| entry_json(entry, &*desk.holder())).collect::<Vec<_>>()}))
        }
        "show" => {
            let id = QueueId(request.get("id").and_then(Value::as_u64).unwrap_or(0));
            let entry = desk.queue.load(id).await.map_err(text)?;
            Ok(json!({"entry": entry.as_ref().map(|entry| entry_json(entry, &*desk.holder()))}))
        }
        "raw" => raw(request, desk).await,
        "stat" => {
            let stat = desk.queue.stat();
            Ok(json!({"entries": stat.entries, "in_flight": stat.in_flight, "deferred": stat.deferred, "held": stat.held,
                "oldest": stat.oldest / 1000, "commits": stat.commits, "operations": stat.operations, "body_memory_bytes": stat.body_memory_bytes}))
        }
        "hold" | "release" | "retry" | "remove" => {
            let action = match word {
                "hold" => AdminAction::Hold,
                "release" => AdminAction::Release,
                "retry" => AdminAction::Retry,
                _ => AdminAction::Remove,
            };
            if matches!(action, AdminAction::Retry | AdminAction::Release) {
                (desk.forget_backoff)();
            }
            let changed = desk.queue.admin(action, selection(request)?).await.map_err(text)?;
            Ok(json!({"changed": changed}))
        }
        "links" | "link-up" | "link-down" | "link-state" => links(word, request, &desk.turnpike).await,
        "fetch" | "fetch-standing" => crate::fetch::answer(word, request, &desk.fetcher),
        "link-fetch" => {
            let link = desk.turnpike.link(request.get("name").and_then(Value::as_str).unwrap_or_default())?;
            let fetched = crate::odmr::fetch(&desk.turnpike, &desk.sessions, &link).await?;
            Ok(json!({"mail": fetched == crate::odmr::Fetched::Mail}))
        }
        // Somebody has changed the rows: what they say now counts at once.
        "relays-look" => {
            desk.open_relays.look().await;
            Ok(json!({"looked": true}))
        }
        "reload" => (desk.reload)().map(|()| json!({"reloaded": true})),
        other => Err(format!("unknown request {other:?}")),
    }
}

async fn links(word: &str, request: &Value, turnpike: &Turnpike) -> Result<Value, String> {
    if word == "links" {
        return turnpike.status().await;
    }
    let link = turnpike.link(request.get("name").and_then(Value::as_str).unwrap_or_default())?;
    match word {
        "link-up" => {
            let window = request.get("for").and_then(Value::as_u64).map(Duration::from_secs);
            Ok(json!({"messages": turnpike.up(&link, window, None).await?}))
        }
        "link-down" => {
            turnpike.down(&link);
            Ok(json!({"down": true}))
        }
        _ => {
            let state = turnpike.scheduler.link_state(&link);
            Ok(json!({"up": state.is_up, "under_way": state.under_way}))
        }
    }
}

/// One slice of a message: JSON strings carry text, so each byte travels as the code point of the same number.
async fn raw(request: &Value, desk: &Desk) -> Result<Value, String> {
    let id = QueueId(request.get("id").and_then(Value::as_u64).unwrap_or(0));
    let offset = request.get("offset").and_then(Value::as_u64).unwrap_or(0);
    let entry = desk.queue.load(id).await.map_err(|e| e.to_string())?.ok_or("no such message")?;
    let body = desk.queue.open(id).await.map_err(|e| e.to_string())?.ok_or("no such message")?;
    let prepend_bytes = entry.prepend.len() as u64;
    let mut bytes = vec![0u8; 65536];
    let n = if offset < prepend_bytes {
        postino_ports::body::Body::Memory(entry.prepend).read_at(offset, &mut bytes)
    } else {
        body.read_at(offset.saturating_sub(prepend_bytes), &mut bytes)
    }
    .map_err(|e| e.to_string())?;
    bytes.truncate(n);
    let text: String = bytes.iter().map(|b| char::from(*b)).collect();
    Ok(json!({"latin1": text}))
}

fn selection(request: &Value) -> Result<Selection, String> {
    if request.get("all").and_then(Value::as_bool) == Some(true) {
        return Ok(Selection::All);
    }
    let ids = request.get("ids").and_then(Value::as_array).ok_or("ids or all wanted")?;
    Ok(Selection::Ids(ids.iter().filter_map(Value::as_u64).map(QueueId).collect()))
}

/// Tells which link holds a recipient's mail, if one does.
pub(crate) type Holder = dyn Fn(&Recipient) -> Option<Arc<Link>>;

/// The shape of `queue list --json`.
pub(crate) fn entry_json(entry: &QueueEntry, holder: &Holder) -> Value {
    let recipients: Vec<Value> = entry
        .envelope
        .recipients
        .iter()
        .zip(&entry.states)
        .map(|(recipient, state)| {
            let (word, attempts, last) = match state {
                RecipientState::Pending { attempts, last, .. } => {
                    ("pending", *attempts, last.as_ref().map(|(status, detail)| format!("{status} {detail}")))
                }
                RecipientState::Delivered { detail, .. } => ("delivered", 0, Some(detail.to_string())),
                RecipientState::Failed { status, detail, .. } => ("failed", 0, Some(format!("{status} {detail}"))),
            };
            let link = holder(recipient).filter(|_| word == "pending");
            let held = word == "pending" && (entry.held || link.is_some());
            json!({"address": recipient.address.to_string(), "routed": recipient.routed.address.to_string(),
                "channel": if recipient.routed.channel == postino_types::Channel::Local { "local" } else { "remote" },
                "state": if held { "held" } else { word }, "link": link.as_ref().map(|link| &*link.name),
                "attempts": attempts, "next": if word == "pending" && link.is_none() { json!(entry.next_at.secs()) } else { Value::Null }, "last": last})
        })
        .collect();
    json!({"id": entry.id.0, "sender": entry.envelope.sender.to_string(), "recipients": recipients,
        "size": entry.body_bytes.saturating_add(entry.prepend.len() as u64), "arrived": entry.arrived.secs(), "expires": entry.expires.secs(), "held": entry.held})
}

/// The command line's end.
pub(crate) struct Client {
    stream: BufReader<StdUnixStream>,
}

impl Client {
    /// Connects to a running server; `None` when none answers.
    pub(crate) fn connect(home: &Path) -> anyhow::Result<Option<Self>> {
        match StdUnixStream::connect(path(home)) {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream) })),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => Ok(None),
            Err(e) => Err(anyhow::Error::new(e).context(format!("cannot reach the running server at {}", path(home).display()))),
        }
    }

    /// Asks once.
    pub(crate) fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        let mut line = request.to_string();
        line.push('\n');
        self.stream.get_mut().write_all(line.as_bytes())?;
        let mut reply = String::new();
        if self.stream.read_line(&mut reply)? == 0 {
            anyhow::bail!("the server closed the connection");
        }
        let value: Value = serde_json::from_str(&reply)?;
        if let Some(error) = value.get("error").and_then(Value::as_str) {
            anyhow::bail!("{error}");
        }
        Ok(value)
    }
}
