//! The root part of `postino serve`: binds the listeners, starts spawner and worker, passes signals on, waits. Reads no byte of mail.
//! Without root there is no supervisor: `serve` starts the spawner and becomes the worker.

use crate::bind::{self, Bound};
use crate::service_manager::{self, MainProcess};
use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use postino_control::Config;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Environment variable that carries the worker's descriptors: `kind=fd,kind=fd`.
pub(crate) const ENV_LISTENERS: &str = "POSTINO_LISTENERS";
/// Environment variable that carries the spawner socket's descriptor.
pub(crate) const ENV_SPAWNER: &str = "POSTINO_SPAWNER";
/// Environment variable that carries the descriptor of the pipe for [`service_manager::News`].
pub(crate) const ENV_NEWS: &str = "POSTINO_NEWS";
/// How long the worker, which ends by itself when the spawner is gone, has to tell why it ended first.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Starts the spawner with one end of a socket pair; returns it and the worker's end.
pub(crate) fn start_spawner(config: &Config) -> anyhow::Result<(Child, OwnedFd)> {
    let (ours, theirs) = postino_spawn::pair().context("cannot make the spawner's socket")?;
    let mut command = own_program("spawner");
    command.arg("--home").arg(&config.home).stdin(Stdio::from(theirs));
    let child = command.process_group(0).spawn().context("cannot start the spawner")?;
    Ok((child, ours))
}

/// Runs as root until the worker or the spawner ends; returns the exit code.
pub(crate) fn run(config: &Config, bound: Vec<Bound>, main: MainProcess) -> anyhow::Result<i32> {
    let (uid, gid) = crate::compose::account(&config.server.user)?.context("invariant: the supervisor is root")?;
    crate::environment::passable(&config.home, uid, gid).map_err(anyhow::Error::msg)?;
    crate::home::prepare(&config.home, Some((uid, gid)))?;
    crate::home::stage_keys(config, uid, gid)?;
    let signals = signal_set();
    signals.thread_block().context("cannot block signals")?;
    let (mut spawner, link) = start_spawner(config)?;
    let inherited = Inherited { bound, link, news: service_manager::listen(main)? };
    let mut worker = start_worker(config, inherited, uid, gid)?;
    let code = watch(config, &mut worker, &mut spawner, &signals);
    // Whatever ended first, the other must not outlive it.
    let _ = spawner.kill();
    let _ = worker.kill();
    let _ = spawner.wait();
    let _ = worker.wait();
    Ok(code)
}

fn signal_set() -> SigSet {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGALRM, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals
}

/// What the worker gets from us; our copies are closed once it runs.
struct Inherited {
    bound: Vec<Bound>,
    link: OwnedFd,
    news: OwnedFd,
}

fn start_worker(config: &Config, inherited: Inherited, uid: u32, gid: u32) -> anyhow::Result<Child> {
    keep_over_exec(&inherited.link)?;
    keep_over_exec(&inherited.news)?;
    for listener in &inherited.bound {
        keep_over_exec(listener.socket.as_fd())?;
    }
    let mut command = own_program("worker");
    command
        .arg("--home")
        .arg(&config.home)
        .env(ENV_LISTENERS, bind::describe(&inherited.bound))
        .env(ENV_SPAWNER, inherited.link.as_raw_fd().to_string())
        .env(ENV_NEWS, inherited.news.as_raw_fd().to_string())
        .uid(uid)
        .gid(gid)
        .current_dir("/");
    // std drops the supplementary groups when it sets a uid as root.
    let child = command.spawn().context("cannot start the worker")?;
    Ok(child)
}

fn own_program(word: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("postino").arg(word);
    for (name, _) in std::env::vars_os() {
        // The children need no other word of our environment: local time, and whose certificates a smarthost may show.
        let engines = name == "QMAILREMOTE" && crate::qmail::engine().is_some();
        let kept = ["POSTINO_HOME", "RUST_BACKTRACE", "PATH", "TZ", "SSL_CERT_FILE", postino_local::queue_program::VARIABLE];
        if !engines && kept.iter().all(|kept| name != *kept) {
            command.env_remove(&name);
        }
    }
    if let Some(delivery) = crate::qmail::engine() {
        command.env(crate::qmail::ENV, delivery);
    }
    command
}

fn keep_over_exec(fd: impl AsFd) -> anyhow::Result<()> {
    rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty()).context("cannot pass a descriptor on")
}

fn watch(config: &Config, worker: &mut Child, spawner: &mut Child, signals: &SigSet) -> i32 {
    let worker_pid = pid_of(worker);
    let spawner_pid = pid_of(spawner);
    let mut stopping = false;
    loop {
        let signal = match signals.wait() {
            Ok(signal) => signal,
            Err(_) => continue,
        };
        match signal {
            Signal::SIGCHLD => {
                if let Some(code) = reap(worker_pid, spawner_pid, stopping) {
                    return code;
                }
            }
            Signal::SIGHUP => {
                restage_keys(&config.home);
                let _ = nix::sys::signal::kill(worker_pid, Signal::SIGHUP);
            }
            other => {
                stopping |= matches!(other, Signal::SIGTERM | Signal::SIGINT);
                let _ = nix::sys::signal::kill(worker_pid, other);
            }
        }
    }
}

fn restage_keys(home: &Path) {
    let Ok(loaded) = postino_control::load(home) else { return };
    let Ok(Some(user)) = nix::unistd::User::from_name(&loaded.config.server.user) else { return };
    if let Err(e) = crate::home::stage_keys(&loaded.config, user.uid.as_raw(), user.gid.as_raw()) {
        eprintln!("warning: {e:#}; the old key stays in use");
    }
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Collects ended children. `Some(exit code)` when the worker is gone, or the spawner before anybody asked for a stop (it ends with the worker).
fn reap(worker: Pid, spawner: Pid, stopping: bool) -> Option<i32> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == worker => return Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == worker => {
                eprintln!("alert: the worker died of {signal}; ending, the service manager starts anew");
                return Some(111);
            }
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _)) if pid == spawner && !stopping => {
                return Some(last_word(worker).unwrap_or_else(|| {
                    eprintln!("alert: the spawner is gone; ending, the service manager starts anew");
                    111
                }));
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The exit code of a worker that ended on its own: the spawner ends with it, and may be heard of first.
fn last_word(worker: Pid) -> Option<i32> {
    let asked = Instant::now();
    while asked.elapsed() < LAST_WORD {
        match waitpid(worker, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => return Some(code),
            Ok(WaitStatus::StillAlive) => std::thread::sleep(Duration::from_millis(10)),
            _ => return None,
        }
    }
    None
}
