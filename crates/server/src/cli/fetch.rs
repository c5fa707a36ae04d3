//! `postino fetch`: asks the running server to fetch and shows how it goes; without one it fetches by itself, as the queue's owner, and what it brought
//! waits in the queue for the next start. Prints no secret.

use super::{Place, print_json, say};
use crate::control_socket::Client;
use crate::fetch::{Found, answer};
use anyhow::Context;
use clap::Args;
use postino_control::{Config, Live};
use postino_fetch::{Fetcher, Ports, RunAs, read_secret};
use postino_ports::queue::Queue as _;
use postino_types::printable::printable;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// Between two looks at how it stands.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino fetch                 all accounts, now\n  postino fetch isp work        these two\n  postino fetch --dry-run isp   log in and count; change nothing\n\nThe accounts are the [[fetch]] tables of control/server.toml. Exit codes: 0 all went well, 1 an account did not."
)]
pub(crate) struct FetchArgs {
    /// Names of accounts; none: all
    accounts: Vec<String>,
    /// Log in, list and count; fetch and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Print an array of {account, state, error, listed, new, fetched, bytes, deleted, left, more}
    #[arg(long)]
    json: bool,
}

/// Whoever does the fetching.
enum Door {
    Running(Box<Client>),
    Own(tokio::runtime::Runtime, Arc<Fetcher>, Arc<postino_queue::QueueStore>),
}

impl Door {
    fn open(place: &Place, names: &[String]) -> anyhow::Result<Self> {
        let home = place.home();
        if let Some(client) = Client::connect(&home)? {
            return Ok(Self::Running(Box::new(client)));
        }
        let config = super::load(&home)?;
        // Root's files are read before root's rights are given up.
        let secrets = Arc::new(secrets(&config, names));
        crate::home::become_queue_owner(&home)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let clock: Arc<dyn postino_ports::clock::Clock> = Arc::new(crate::clock::SystemClock::new());
        let store = crate::compose::open_queue(&config, Arc::clone(&clock))?;
        let dns = Arc::new(postino_net::dns::Resolver::new(&config.server.remote.dns_servers).context("DNS resolver")?);
        let state_dir = crate::fetch::state_dir(&home);
        let events = Arc::new(ToTerminal);
        let config = Live::new(config);
        let directory = Arc::new(crate::compose::directory(&config, &clock)?);
        let fetcher = Fetcher::new(Ports { queue: store.clone(), config, dns, directory, clock, events, secrets, state_dir });
        drop(inside);
        Ok(Self::Own(runtime, fetcher, store))
    }

    fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        match self {
            Self::Running(client) => client.ask(request),
            Self::Own(runtime, fetcher, _) => {
                let _inside = runtime.enter();
                let word = request.get("do").and_then(Value::as_str).unwrap_or_default();
                answer(word, request, fetcher).map_err(anyhow::Error::msg)
            }
        }
    }

    /// Lets some time pass, in which the fetcher works.
    fn wait(&self) {
        match self {
            Self::Running(_) => std::thread::sleep(LOOK),
            Self::Own(runtime, ..) => runtime.block_on(async { tokio::time::sleep(LOOK).await }),
        }
    }

    fn close(self) {
        if let Self::Own(runtime, fetcher, store) = self {
            drop(fetcher);
            runtime.block_on(store.stop());
        }
    }
}

/// The secrets of the accounts that are asked for, each by a process of its own, as the spawner does; one that fails spoils its own account only.
fn secrets(config: &Config, names: &[String]) -> Found {
    let wanted = config.server.fetch.iter().filter(|a| names.is_empty() || names.contains(&a.name));
    Found(wanted.map(|a| (a.name.clone(), by_process(config, &a.name))).collect())
}

fn by_process(config: &Config, name: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("postino").arg(crate::fetch::SECRET_WORD).arg("--home").arg(&config.home).arg("--").arg(name);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(Zeroizing::new(output.stdout)) } else { Err(printable(&output.stdout)) }
}

/// Warnings of an offline run.
struct ToTerminal;

impl postino_ports::event::Events for ToTerminal {
    fn emit(&self, event: &postino_ports::event::Event<'_>) {
        if let postino_ports::event::Event::Warning { what, detail } = event {
            eprintln!("warning: {what}: {detail}");
        }
    }
}

/// Runs the command.
pub(crate) fn run(place: &Place, args: &FetchArgs) -> anyhow::Result<i32> {
    let mut door = Door::open(place, &args.accounts)?;
    let request = json!({"do": "fetch", "accounts": args.accounts, "dry_run": args.dry_run});
    let job = door.ask(&request)?.get("job").cloned().unwrap_or_default();
    let bar = (!args.json && std::io::stderr().is_terminal()).then(progress_bar);
    let accounts = loop {
        let reply = door.ask(&json!({"do": "fetch-standing", "job": job}))?;
        let accounts = reply.get("accounts").and_then(Value::as_array).cloned().unwrap_or_default();
        if let Some(bar) = &bar {
            show(bar, &accounts);
        }
        if accounts.iter().all(|a| matches!(text(a, "state"), "done" | "failed")) {
            break accounts;
        }
        door.wait();
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    door.close();
    if args.json {
        print_json(&Value::Array(accounts.clone()));
    } else {
        accounts.iter().for_each(|account| tell(account, args.dry_run));
    }
    Ok(i32::from(accounts.iter().any(|a| text(a, "state") == "failed")))
}

fn progress_bar() -> indicatif::ProgressBar {
    let bar = indicatif::ProgressBar::new(0);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:40} {pos}/{len} messages {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &indicatif::ProgressBar, accounts: &[Value]) {
    bar.set_length(accounts.iter().map(|a| number(a, "new")).sum());
    bar.set_position(accounts.iter().map(|a| number(a, "fetched")).sum());
    let running: Vec<&str> = accounts.iter().filter(|a| text(a, "state") == "running").map(|a| text(a, "account")).take(5).collect();
    bar.set_message(running.join(" "));
}

fn tell(account: &Value, dry_run: bool) {
    let n = |key: &str| number(account, key);
    let mut line = if dry_run {
        format!("{}: {} there, {} to fetch", text(account, "account"), n("listed"), n("new"))
    } else {
        format!("{}: {} there, {} fetched, {} deleted there", text(account, "account"), n("listed"), n("fetched"), n("deleted"))
    };
    if n("left") > 0 {
        line.push_str(&format!(", {} left", n("left")));
    }
    if account.get("more").and_then(Value::as_bool) == Some(true) {
        line.push_str(", more next time");
    }
    if text(account, "state") == "failed" {
        line.push_str(&format!("; {}", text(account, "error")));
    }
    say(&line);
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The hidden subcommand: the secret on standard output and exit 0, or the reason there and exit 111. The spawner reads it; people have no use for it.
pub(crate) fn secret(place: &Place, name: &str) -> anyhow::Result<i32> {
    let mut out = std::io::stdout().lock();
    let found = super::load_quietly(&place.home()).map_err(|e| format!("{e:#}")).and_then(|loaded| {
        let config = &loaded.config;
        let account = config.server.fetch.iter().find(|a| a.name == name).ok_or("no such account")?;
        let owner = crate::compose::owner(config).map_err(|e| format!("{e:#}"))?;
        read_secret(account, &|path| open(path, owner), owner.map(|(uid, gid)| RunAs { uid, gid }))
    });
    let (code, bytes) = match &found {
        Ok(secret) => (postino_types::exit::OK, secret.as_slice()),
        Err(why) => (postino_types::exit::SOFT, why.as_bytes()),
    };
    out.write_all(bytes)?;
    Ok(code)
}

/// Root opens a file only where the server's account cannot put a link to another one; there the account itself opens it.
fn open(path: &Path, owner: Option<(u32, u32)>) -> std::io::Result<File> {
    use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
    let Some((uid, gid)) = owner else { return File::open(path) };
    if let Some(file) = crate::home::find_key(path, uid)? {
        return Ok(file);
    }
    // For good: this process does nothing else.
    setgroups(&[]).and_then(|()| setgid(Gid::from_raw(gid))).and_then(|()| setuid(Uid::from_raw(uid)))?;
    File::open(path)
}
