//! The engine under its historical name: `qmail-send`, started by `qmail-start`, runs supervisor, spawner and worker of `serve` without listeners
//! and with qmail-send's habits (log lines, one bounce a message, `qmail-remote` for other hosts). Called by `main`, asked by the parts.
//! `postino serve` never has anything of this.

use crate::control_socket::Client;
use crate::service_manager::{Herald, MainProcess};
use anyhow::Context;
use nix::unistd::User;
use postino_control::resolved::{BounceFormat, Log};
use postino_control::{Config, Loaded};
use postino_message::received::InvokedBy;
use postino_send::Profile;
use postino_spawn::{Ids, RemoteProgram};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The name that makes this program the engine.
pub(crate) const NAME: &str = "qmail-send";
/// How the supervisor tells its parts that they are the engine's; the value is qmail-start's default delivery instruction.
pub(crate) const ENV: &str = "POSTINO_QMAIL_DELIVERY";
/// The most deliveries of one channel that qmail's spawners take at once.
const SPAWN_MAX: usize = 120;
/// A supervisor that was killed leaves parts that still end: so often, and after such pauses, it is looked whether they have.
const ENDING_LOOKS: u32 = 40;
const ENDING_PAUSE: Duration = Duration::from_millis(50);
/// qmail-send waits for its deliveries however long they take.
const STOP_GRACE: Duration = Duration::from_secs(86_400);

static ENGINE: OnceLock<OsString> = OnceLock::new();

/// The default delivery instruction when this process belongs to the engine.
pub(crate) fn engine() -> Option<&'static OsString> {
    ENGINE.get()
}

/// For the parts that a supervisor started: takes its word for it.
pub(crate) fn inherit() {
    if let Some(delivery) = std::env::var_os(ENV) {
        let _ = ENGINE.set(delivery);
    }
}

/// The program; returns the exit code.
pub(crate) fn main() -> i32 {
    let _ = rustix::thread::set_name(c"qmail-send");
    let _ = ENGINE.set(std::env::args_os().nth(1).unwrap_or_else(|| "./Mailbox".into()));
    // The log's reader is at our standard output; the last words of a part that dies belong there too.
    let _ = rustix::stdio::dup2_stderr(rustix::stdio::stdout());
    let home = postino_control::home::choose(None);
    let home = std::path::absolute(&home).unwrap_or(home);
    start(&home).unwrap_or_else(|error| {
        eprintln!("alert: cannot start: {error:#}");
        111
    })
}

fn start(home: &Path) -> anyhow::Result<i32> {
    let control = home.join("control");
    // The reasons are for `postino check` to tell: who reads this log knows the line.
    let loaded = crate::cli::load_quietly(home).ok().filter(|_| control.join("me").is_file() || control.join("locals").is_file());
    let mut loaded = loaded.context("unable to read controls")?;
    adapt(&mut loaded.config);
    let running = || Client::connect(home).is_ok_and(|client| client.is_some());
    for _ in 0..ENDING_LOOKS {
        if !running() {
            break;
        }
        std::thread::sleep(ENDING_PAUSE);
    }
    if running() {
        anyhow::bail!("qmail-send is already running");
    }
    crate::cli::raise_limits();
    let main = MainProcess::new(&loaded.config, None);
    if nix::unistd::geteuid().is_root() { crate::supervise::run(&loaded.config, Vec::new(), main) } else { alone(loaded, main) }
}

/// Without root: everything under one uid, as `serve` does it.
fn alone(loaded: Loaded, main: MainProcess) -> anyhow::Result<i32> {
    crate::home::prepare(&loaded.config.home, None)?;
    let (mut spawner, link) = crate::supervise::start_spawner(&loaded.config)?;
    let result = crate::worker::run(crate::worker::Parts { loaded, bound: Vec::new(), link, herald: Herald::Main(main) });
    let _ = spawner.kill();
    let _ = spawner.wait();
    result
}

/// The configuration as qmail-send would read it; nothing when this is not the engine.
pub(crate) fn adapt(config: &mut Config) {
    let Some(delivery) = engine() else { return };
    config.defaultdelivery = delivery.as_bytes().to_vec();
    config.bounceformat = BounceFormat::Qsbmf;
    // qmail counts in whole seconds: with a lifetime of 0 the first pass of a message is not yet its last.
    config.queue_lifetime_s = config.queue_lifetime_s.saturating_add(1);
    config.concurrency_local = config.concurrency_local.min(SPAWN_MAX);
    config.concurrency_remote = config.concurrency_remote.min(SPAWN_MAX);
    let server = &mut config.server;
    server.log = Log::Qmail;
    server.listeners.clear();
    server.retry_interval_s = None;
    server.stop_grace = server.stop_grace.max(STOP_GRACE);
    // One qmail-remote a recipient, and no limit but concurrencyremote.
    server.remote.recipients_max = 1;
    server.remote.per_destination = config.concurrency_remote.max(1);
    // A home without the account of `serve`: qmail's own.
    if uid_of(&server.user).is_none() && uid_of("qmails").is_some() {
        server.user = "qmails".into();
    }
}

/// SIGHUP: qmail-send rereads these two and nothing else.
pub(crate) fn reread(old: &Config, new: Config) -> Config {
    Config { locals: new.locals, virtualdomains: new.virtualdomains, ..old.clone() }
}

/// The scheduler's habits.
pub(crate) fn profile() -> Profile {
    match engine() {
        Some(_) => Profile::Qmail { alias: uid_of("alias") },
        None => Profile::Native,
    }
}

/// Who injects, as qmail-queue's line says it. Only the engine knows qmail's accounts: under `serve` everybody is a uid.
pub(crate) fn invoked_by(uid: u32) -> InvokedBy {
    static ACCOUNTS: OnceLock<[(Option<u32>, InvokedBy); 3]> = OnceLock::new();
    let known = || {
        [("alias", InvokedBy::Alias), ("qmaild", InvokedBy::Network), ("qmails", InvokedBy::Bounce)].map(|(name, by)| (uid_of(name), by))
    };
    let labelled = engine().and_then(|_| ACCOUNTS.get_or_init(known).iter().find(|(account, _)| *account == Some(uid)));
    labelled.map_or(InvokedBy::Uid(uid), |(_, by)| *by)
}

fn uid_of(name: &str) -> Option<u32> {
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// The uid that the log shows for bounces.
pub(crate) fn log_uid() -> Option<u32> {
    engine()?;
    uid_of("qmails")
}

/// The engine's child is `bin/qmail-local` while that file is ours: the same code in a binary a fifth of our size, which starts sooner.
pub(crate) fn child_binary(config: &Config) -> Option<PathBuf> {
    engine()?;
    let path = config.home.join("bin/qmail-local");
    let file = std::fs::File::open(&path).ok()?;
    postino_local::queue_program::is_ours(&file).then_some(path)
}

/// Who runs the programs on the way into the queue when we are root: `qmailq`, for the engine (it has only bounces and forwards) `qmails`, else
/// the worker's own account.
pub(crate) fn queue_program_ids(config: &Config) -> Option<Ids> {
    let first = if engine().is_some() { "qmails" } else { "qmailq" };
    let user = [first, config.server.user.as_str()].into_iter().find_map(|name| User::from_name(name).ok().flatten())?;
    Some(Ids { uid: user.uid.as_raw(), gid: user.gid.as_raw() }).filter(|ids| ids.uid != 0)
}

/// Deliveries that the spawner runs at once: the engine has it run those to other hosts, too.
pub(crate) fn spawned_at_once(config: &Config) -> usize {
    if engine().is_some() { config.concurrency_local + config.concurrency_remote } else { config.concurrency_local }
}

/// The program for other hosts, as the spawner runs it: `QMAILREMOTE` or `bin/qmail-remote`, as `qmailr`.
pub(crate) fn remote_program(config: &Config, nobody: Ids) -> Option<RemoteProgram> {
    engine()?;
    let program = std::env::var_os("QMAILREMOTE").filter(|name| !name.is_empty()).map(PathBuf::from);
    let qmailr = User::from_name("qmailr").ok().flatten();
    Some(RemoteProgram {
        program: program.unwrap_or_else(|| config.home.join("bin/qmail-remote")),
        ids: qmailr.map_or(nobody, |user| Ids { uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
    })
}
