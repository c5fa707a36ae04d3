//! `postino queue …`: asks the running server over its control socket, or opens the queue itself when none runs.

use super::{Place, print_json, say};
use crate::control_socket::{Client, Holder, entry_json};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postino_ports::queue::{AdminAction, Queue, Selection};
use postino_types::QueueId;
use serde_json::{Value, json};
use std::io::Write as _;

#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  postino queue list\n  postino queue show 42\n  postino queue show 42 --raw > message\n  postino queue retry --all\n  postino queue hold 42\n  postino queue release 42\n  postino queue stat --json\n  postino queue stat --empty && echo idle\n  postino queue remove 42 43\n  postino queue remove --all --yes"
)]
pub(crate) enum QueueCommand {
    /// List waiting messages
    List {
        /// Print an array of {id, sender, recipients, size, arrived, expires}
        #[arg(long)]
        json: bool,
        /// (internal) as qmail-qread
        #[arg(long, hide = true, conflicts_with = "json")]
        qmail: bool,
    },
    /// Show one message's envelope, attempts and last answers
    Show {
        /// Id, as `queue list` prints it
        id: u64,
        /// Print the message's bytes instead
        #[arg(long)]
        raw: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Try again now
    Retry(Which),
    /// Stop attempts until released
    Hold(Which),
    /// Undo a hold
    Release(Which),
    /// Remove without a bounce
    Remove {
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Counts
    Stat {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Print nothing; exit 0 when nothing waits, dropped messages included, else 1
        #[arg(long)]
        empty: bool,
        /// (internal) as qmail-qstat
        #[arg(long, hide = true, conflicts_with_all = ["json", "empty"])]
        qmail: bool,
    },
}

/// Which messages.
#[derive(Args)]
pub(crate) struct Which {
    /// Ids, as `queue list` prints them
    #[arg(required_unless_present = "all")]
    ids: Vec<u64>,
    /// Every message
    #[arg(long, conflicts_with = "ids")]
    all: bool,
}

/// A queue reached either way.
enum Door {
    Running(Box<Client>),
    Offline(tokio::runtime::Runtime, std::sync::Arc<postino_queue::QueueStore>, Box<Holder>),
}

impl Door {
    fn open(place: &Place) -> anyhow::Result<Self> {
        let home = place.home();
        if let Some(client) = Client::connect(&home)? {
            return Ok(Self::Running(Box::new(client)));
        }
        let config = super::load(&home)?;
        crate::home::become_queue_owner(&home)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = {
            let _inside = runtime.enter();
            crate::compose::open_queue(&config, std::sync::Arc::new(crate::clock::SystemClock::new()))?
        };
        let holder = crate::links::holder_while_stopped(config);
        Ok(Self::Offline(runtime, store, holder))
    }

    fn page(&mut self, after: u64) -> anyhow::Result<Vec<Value>> {
        match self {
            Self::Running(client) => {
                let reply = client.ask(&json!({"do": "list", "after": after}))?;
                Ok(reply.get("entries").and_then(Value::as_array).cloned().unwrap_or_default())
            }
            Self::Offline(runtime, store, holder) => {
                let page = runtime.block_on(store.list(QueueId(after), 500))?;
                Ok(page.iter().map(|entry| entry_json(entry, holder)).collect())
            }
        }
    }

    fn show(&mut self, id: u64) -> anyhow::Result<Value> {
        let entry = match self {
            Self::Running(client) => client.ask(&json!({"do": "show", "id": id}))?.get("entry").cloned().filter(|v| !v.is_null()),
            Self::Offline(runtime, store, holder) => {
                runtime.block_on(store.load(QueueId(id)))?.as_ref().map(|entry| entry_json(entry, holder))
            }
        };
        entry.with_context(|| format!("no message {id} in the queue"))
    }

    fn raw(&mut self, id: u64) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        match self {
            Self::Running(client) => {
                let mut offset = 0u64;
                loop {
                    let reply = client.ask(&json!({"do": "raw", "id": id, "offset": offset}))?;
                    let text = reply.get("latin1").and_then(Value::as_str).unwrap_or_default();
                    let bytes: Vec<u8> = text.chars().filter_map(|c| u8::try_from(u32::from(c)).ok()).collect();
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    out.write_all(&bytes)?;
                    offset = offset.saturating_add(bytes.len() as u64);
                }
            }
            Self::Offline(runtime, store, _) => {
                let entry = runtime.block_on(store.load(QueueId(id)))?.with_context(|| format!("no message {id} in the queue"))?;
                let body = runtime.block_on(store.open(QueueId(id)))?.with_context(|| format!("no message {id} in the queue"))?;
                out.write_all(&entry.prepend)?;
                body.for_each_chunk(|chunk| out.write_all(chunk))?;
                Ok(())
            }
        }
    }

    fn admin(&mut self, word: &str, action: AdminAction, which: &Which) -> anyhow::Result<u64> {
        match self {
            Self::Running(client) => {
                let request = if which.all { json!({"do": word, "all": true}) } else { json!({"do": word, "ids": which.ids}) };
                Ok(client.ask(&request)?.get("changed").and_then(Value::as_u64).unwrap_or(0))
            }
            Self::Offline(runtime, store, _) => {
                let selection = if which.all { Selection::All } else { Selection::Ids(which.ids.iter().copied().map(QueueId).collect()) };
                Ok(runtime.block_on(store.admin(action, selection))?)
            }
        }
    }

    fn stat(&mut self) -> anyhow::Result<Value> {
        match self {
            Self::Running(client) => client.ask(&json!({"do": "stat"})),
            Self::Offline(_, store, _) => {
                let s = store.stat();
                Ok(json!({"entries": s.entries, "in_flight": 0, "deferred": s.deferred, "held": s.held, "oldest": s.oldest / 1000}))
            }
        }
    }

    fn close(self) {
        if let Self::Offline(runtime, store, _) = self {
            runtime.block_on(store.stop());
        }
    }
}

/// Runs one queue command.
pub(crate) fn run(place: &Place, command: QueueCommand) -> anyhow::Result<i32> {
    let dropped = match command {
        QueueCommand::Stat { empty: true, .. } | QueueCommand::Stat { qmail: true, .. } => dropped(&place.home())?,
        _ => 0,
    };
    if dropped > 0 && matches!(command, QueueCommand::Stat { empty: true, .. }) {
        return Ok(1);
    }
    let mut door = Door::open(place)?;
    let result = match command {
        QueueCommand::Stat { qmail: true, .. } => stat_qmail(&mut door, dropped),
        other => act(&mut door, other),
    };
    door.close();
    result
}

/// How many messages lie in the drop directory, not taken in yet.
fn dropped(home: &std::path::Path) -> anyhow::Result<u64> {
    match std::fs::read_dir(home.join(postino_local::inject::DROP_PATH)) {
        Ok(entries) => Ok(entries.filter(|e| e.as_ref().is_ok_and(|e| !e.file_name().as_encoded_bytes().starts_with(b"."))).count() as u64),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e).context("cannot read the drop directory"),
    }
}

fn stat_qmail(door: &mut Door, dropped: u64) -> anyhow::Result<i32> {
    let entries = number(&door.stat()?, "entries");
    super::queue_qmail::write_stat(&mut std::io::stdout().lock(), entries, dropped)?;
    Ok(0)
}

/// In qmail-qread's form: nothing is printed for an empty queue.
fn list_qmail(door: &mut Door) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after = 0;
    loop {
        let page = door.page(after)?;
        let Some(last) = page.last() else { break };
        after = number(last, "id");
        for entry in &page {
            super::queue_qmail::write_entry(&mut out, entry)?;
        }
    }
    Ok(out.flush()?)
}

fn act(door: &mut Door, command: QueueCommand) -> anyhow::Result<i32> {
    match command {
        QueueCommand::List { qmail: true, .. } => list_qmail(door)?,
        QueueCommand::List { json, .. } => list(door, json)?,
        QueueCommand::Show { id, raw: true, .. } => door.raw(id)?,
        QueueCommand::Show { id, json: true, .. } => print_json(&door.show(id)?),
        QueueCommand::Show { id, .. } => show(&door.show(id)?),
        QueueCommand::Retry(which) => return change(door, ("retry", "due now"), AdminAction::Retry, &which),
        QueueCommand::Hold(which) => return change(door, ("hold", "held"), AdminAction::Hold, &which),
        QueueCommand::Release(which) => return change(door, ("release", "released"), AdminAction::Release, &which),
        QueueCommand::Remove { which, yes } => {
            if which.all && !yes {
                bail!("this removes every waiting message without a bounce; say --yes if that is meant");
            }
            return change(door, ("remove", "removed"), AdminAction::Remove, &which);
        }
        QueueCommand::Stat { empty: true, .. } => return Ok(i32::from(number(&door.stat()?, "entries") != 0)),
        QueueCommand::Stat { json, .. } => stat(&door.stat()?, json),
    }
    Ok(0)
}

/// Does it and tells how many; an id that is not there is told and is the exit code 1. `words`: asked of the server, told to people.
fn change(door: &mut Door, words: (&str, &str), action: AdminAction, which: &Which) -> anyhow::Result<i32> {
    let mut missing = 0;
    for id in &which.ids {
        if let Err(e) = door.show(*id) {
            eprintln!("postino: {e:#}");
            missing = 1;
        }
    }
    let changed = door.admin(words.0, action, which)?;
    say(&format!("{changed} {} {}", if changed == 1 { "message" } else { "messages" }, words.1));
    Ok(missing)
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn list(door: &mut Door, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut after = 0;
    let mut count = 0u64;
    if json {
        write!(out, "[")?;
    }
    loop {
        let page = door.page(after)?;
        let Some(last) = page.last() else { break };
        after = number(last, "id");
        for entry in &page {
            if json {
                write!(out, "{}{entry}", if count == 0 { "\n" } else { ",\n" })?;
            } else {
                write_entry(&mut out, entry)?;
            }
            count += 1;
        }
    }
    if json {
        writeln!(out, "\n]")?;
    } else if count == 0 {
        writeln!(out, "the queue is empty")?;
    }
    out.flush()?;
    Ok(())
}

fn write_entry(out: &mut impl std::io::Write, entry: &Value) -> std::io::Result<()> {
    let text = |v: &Value, k: &str| v.get(k).and_then(Value::as_str).unwrap_or_default().to_owned();
    writeln!(
        out,
        "{}  {} bytes  from <{}>  arrived {}",
        number(entry, "id"),
        number(entry, "size"),
        text(entry, "sender"),
        date(entry.get("arrived"))
    )?;
    for recipient in entry.get("recipients").and_then(Value::as_array).into_iter().flatten() {
        let next = recipient.get("next").filter(|v| !v.is_null());
        let tail = if next.is_some() { format!("  next {}", date(next)) } else { String::new() };
        writeln!(
            out,
            "    {}  {}  attempts {}{tail}",
            text(recipient, "address"),
            match text(recipient, "link").as_str() {
                "" => text(recipient, "state"),
                link => format!("held for link {link}"),
            },
            number(recipient, "attempts")
        )?;
        let last = text(recipient, "last");
        if !last.is_empty() {
            writeln!(out, "        {}", postino_types::printable::one_line(&last))?;
        }
    }
    Ok(())
}

fn show(entry: &Value) {
    let mut out = std::io::stdout().lock();
    // A closed reader is not an error of ours.
    let _ = write_entry(&mut out, entry);
    let _ = writeln!(out, "    gives up {}", date(entry.get("expires")));
}

fn stat(value: &Value, json: bool) {
    if json {
        print_json(value);
        return;
    }
    say(&format!("messages in queue: {}", number(value, "entries")));
    say(&format!("being delivered:   {}", number(value, "in_flight")));
    say(&format!("waiting for retry: {}", number(value, "deferred")));
    say(&format!("held:              {}", number(value, "held")));
}

fn date(seconds: Option<&Value>) -> String {
    let seconds = seconds.and_then(Value::as_i64).unwrap_or(0);
    postino_message::qmail_date(postino_types::Time::from_secs(seconds))
}
