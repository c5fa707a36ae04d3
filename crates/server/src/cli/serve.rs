//! `postino serve` and its hidden parts: chooses between supervisor (root) and a single uid.

use super::Place;
use crate::service_manager::{Herald, MainProcess};
use anyhow::Context;
use clap::Args;
use postino_control::Loaded;
use postino_spawn::{ChildLimits, Ids, PrivilegeGain, QueuePrograms, RuledPrograms, Settings};
use std::path::Path;
use std::process::Command;

#[derive(Args)]
#[command(
    after_help = "Examples:\n  postino serve\n  postino serve --home /var/qmail\n  kill -HUP PID     reread control/ and certificates\n  kill -ALRM PID    try the whole queue now\n\nAs root it binds the ports, then works as the account `user` of server.toml. Without root it serves under its own uid."
)]
pub(crate) struct ServeArgs {}

/// Runs the server until it is stopped.
pub(crate) fn run(place: &Place, _args: &ServeArgs) -> anyhow::Result<i32> {
    let home = place.home();
    // So that children and the process list name the home in one form.
    reexec_with_home(place, &home)?;
    serve(&super::load_quietly(&home)?, None)
}

/// `postino serve` without `--home` starts itself again with it, so that every process of a home can be told from others'.
fn reexec_with_home(place: &Place, home: &Path) -> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let named =
        std::env::args_os().skip(1).zip(std::env::args_os().skip(2)).any(|(flag, value)| flag == "--home" && Path::new(&value) == home);
    if named || std::env::var_os("LISTEN_PID").is_some() {
        return Ok(());
    }
    let _ = place;
    let error = Command::new("/proc/self/exe").arg0("postino").arg("serve").arg("--home").arg(home).exec();
    Err(error).context("cannot start anew")
}

/// Serves with a configuration that is loaded already. `greeting` is printed when everything answers.
pub(crate) fn serve(loaded: &Loaded, greeting: Option<String>) -> anyhow::Result<i32> {
    let config = &loaded.config;
    raise_limits();
    finish_changes(config);
    let bound = crate::bind::all(config)?;
    if nix::unistd::geteuid().is_root() {
        return crate::supervise::run(config, bound, MainProcess::new(config, greeting));
    }
    crate::home::prepare(&config.home, None)?;
    let (mut spawner, link) = crate::supervise::start_spawner(config)?;
    let herald = Herald::Main(MainProcess::new(config, greeting));
    let result = crate::worker::run(crate::worker::Parts { loaded: loaded.clone(), bound, link, herald });
    let _ = spawner.kill();
    let _ = spawner.wait();
    result
}

/// What a `domain` or `user` command that died half-way left is finished or undone. Trouble is no reason not to serve: the next change tries again.
fn finish_changes(config: &postino_control::Config) {
    match crate::keepers::admin(config).and_then(|admin| Ok(admin.recover()?)) {
        Ok(found) => found.iter().for_each(|line| tracing::warn!("{line}; it was finished or undone")),
        Err(error) => tracing::warn!(error = format!("{error:#}"), "unfinished changes of domains were not looked for"),
    }
}

/// The worker and its connections need descriptors; the soft limit is often 1024. Memory: start scripts say `ulimit -v 32768`, meant for the programs of each
/// connection; deliveries get limits of their own from the spawner.
pub(crate) fn raise_limits() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
    if setrlimit(Resource::RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY).is_err()
        && let Ok((_, hard)) = getrlimit(Resource::RLIMIT_AS)
    {
        let _ = setrlimit(Resource::RLIMIT_AS, hard, hard); // only root may go beyond
    }
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let wanted = hard.min(65536);
        // A refusal leaves the old limit; connections are then refused earlier.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard);
    }
}

/// The spawner process: its socket is standard input.
pub(crate) fn spawner(place: &Place) -> anyhow::Result<i32> {
    crate::qmail::inherit();
    let mut config = super::load_quietly(&place.home())?.config;
    crate::qmail::adapt(&mut config);
    if crate::qmail::engine().is_some() {
        // Where qmail's users look for it.
        let _ = rustix::thread::set_name(c"qmail-lspawn");
    }
    crate::worker::die_with_parent();
    let socket = postino_spawn::socket_from_stdin().context("the spawner's socket")?;
    postino_spawn::serve(socket, &settings(&config)).context("spawner")?;
    Ok(0)
}

fn settings(config: &postino_control::Config) -> Settings {
    let binary = crate::qmail::child_binary(config).unwrap_or_else(|| "/proc/self/exe".into());
    let own = |word: &str| vec![binary.clone().into_os_string(), word.into()];
    let programs = &config.server.programs;
    let nobody = nix::unistd::User::from_name("qmailp").ok().flatten().or_else(|| nix::unistd::User::from_name("nobody").ok().flatten());
    let nobody = nobody.map_or(Ids { uid: 65534, gid: 65534 }, |u| Ids { uid: u.uid.as_raw(), gid: u.gid.as_raw() });
    let remote = crate::qmail::remote_program(config, nobody);
    Settings {
        home: config.home.clone(),
        child: own(postino_local::CHILD_WORD),
        getpw: own(postino_local::GETPW_WORD),
        getpw_ids: nobody,
        minuid: config.server.minuid,
        concurrency: crate::qmail::spawned_at_once(config).max(1),
        timeout: programs.timeout,
        remote,
        queue: QueuePrograms {
            child: own(postino_local::QUEUE_WORD),
            programs: crate::queue_program::permitted(config),
            rules: RuledPrograms::new(config.access(postino_control::access::Service::Smtp).1.clone()),
            ids: crate::qmail::queue_program_ids(config).unwrap_or(nobody),
            timeout: config.server.queue_program_timeout,
            concurrency: postino_local::spawn_link::QUEUE_PROGRAMS_MAX,
        },
        secret: own(crate::fetch::SECRET_WORD),
        limits: ChildLimits {
            memory_bytes: programs.memory_bytes,
            processes: programs.processes,
            file_bytes: programs.file_bytes,
            gain: PrivilegeGain::Refused,
        },
    }
}
