//! The worker: everything that touches the network, under one unprivileged uid. Started by `supervise` (root) or by `serve` itself.
//! Never gains a privilege, never starts a program.

use crate::bind::{self, Bound};
use crate::compose::{self, House};
use crate::control_socket::{self, Desk};
use crate::events::EventSink;
use crate::inject::{self, Door};
use crate::links::Turnpike;
use crate::metrics::Metrics;
use crate::service_manager::{Herald, News};
use crate::{http, sandbox, supervise};
use anyhow::{Context, bail};
use postino_control::resolved::ListenerKind;
use postino_control::{Config, Loaded};
use postino_net::listener::{Handler, ListenerSettings, accept_loop};
use postino_net::{ConnectionLimits, LoginThrottle};
use postino_ports::event::{Event, Events};
use postino_ports::queue::{AdminAction, Queue as _, Selection};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the worker starts with.
pub(crate) struct Parts {
    /// The configuration, with its warnings.
    pub(crate) loaded: Loaded,
    /// Bound listeners.
    pub(crate) bound: Vec<Bound>,
    /// Our end of the spawner's socket.
    pub(crate) link: OwnedFd,
    /// Who hears that we are ready.
    pub(crate) herald: Herald,
}

/// Threads for disk work and password hashes; more would only queue at the disk.
const BLOCKING_THREADS: usize = 64;
/// Stack of a runtime thread, bytes: sessions live on the heap.
const STACK_BYTES: usize = 1 << 20;

/// The worker process below the supervisor.
pub(crate) fn main(home: &Path) -> anyhow::Result<i32> {
    die_with_parent();
    if rustix::process::geteuid().is_root() || rustix::process::getuid().is_root() {
        bail!("the worker must not be root");
    }
    if nix::unistd::setuid(nix::unistd::Uid::from_raw(0)).is_ok() {
        bail!("the worker could become root again; refusing to serve");
    }
    crate::qmail::inherit();
    let mut loaded = crate::cli::load_quietly(home)?;
    crate::qmail::adapt(&mut loaded.config);
    let variable =
        |name: &str| std::env::var(name).with_context(|| format!("{name} is missing; `postino worker` is started by `postino serve`"));
    let bound = bind::inherited(&variable(supervise::ENV_LISTENERS)?)?;
    let link = bind::take(variable(supervise::ENV_SPAWNER)?.parse()?)?;
    let herald = Herald::Above(bind::take(variable(supervise::ENV_NEWS)?.parse()?)?.into());
    run(Parts { loaded, bound, link, herald })
}

/// The kernel ends us when our parent is gone: no part of a server outlives the others.
pub(crate) fn die_with_parent() {
    // Without it an orphan would still end by its sockets; a failure is no reason not to serve.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
}

/// Serves until stopped; returns the exit code.
pub(crate) fn run(parts: Parts) -> anyhow::Result<i32> {
    let metrics = Arc::new(Metrics::new());
    let config = &parts.loaded.config;
    let sink = Arc::new(EventSink::install(config.server.log, Arc::clone(&metrics)));
    let events: Arc<dyn Events> = sink.clone();
    let engine = crate::qmail::engine().is_some();
    // qmail-send says nothing of them; `postino check` does.
    for warning in parts.loaded.warnings.iter().filter(|_| !engine) {
        events.emit(&Event::Warning { what: "configuration", detail: &warning.to_string() });
    }
    crate::roaming::prepare(config);
    let lacking = sandbox::apply(config.server.sandbox, &needs(config)).map_err(anyhow::Error::msg)?;
    if !lacking.is_empty() {
        events.emit(&Event::Warning { what: "sandbox incomplete", detail: &lacking.join("; ") });
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("postino")
        .thread_stack_size(STACK_BYTES)
        .max_blocking_threads(BLOCKING_THREADS + config.server.limits.mailbox_deliveries)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result = runtime.block_on(serve(parts, metrics, events));
    runtime.shutdown_timeout(Duration::from_secs(1));
    if engine {
        match &result {
            Ok(0) => sink.line("status: exiting\n"),
            Ok(_) => {}
            Err(error) => sink.line(&format!("alert: cannot start: {error:#}\n")),
        }
    }
    sink.finish();
    if engine { Ok(result.unwrap_or(111)) } else { result }
}

/// What the file system must still offer.
fn needs(config: &Config) -> sandbox::Needs {
    let home = &config.home;
    let mut read: Vec<PathBuf> =
        ["/etc", "/usr/lib", "/lib", "/lib64", "/usr/share/zoneinfo", "/proc/self", "/dev/null", "/dev/urandom"].map(PathBuf::from).into();
    read.extend(["control", "users", "alias"].map(|d| home.join(d)));
    // Looked at, to know whose qmail-queue is; never executed here.
    read.push(home.join("bin"));
    read.extend(home.join(postino_local::queue_program::PROGRAM).canonicalize().ok());
    for identity in &config.server.tls {
        read.extend(identity.certificate.parent().map(Path::to_owned));
        read.extend(identity.certificate.canonicalize().ok().and_then(|p| p.parent().map(Path::to_owned)));
        read.extend(identity.key.parent().map(Path::to_owned));
    }
    for account in &config.server.fetch {
        if let postino_control::fetch::FetchTrust::Roots(file) = &account.trust {
            read.extend(file.parent().map(Path::to_owned));
            read.extend(file.canonicalize().ok().and_then(|p| p.parent().map(Path::to_owned)));
        }
    }
    let place = config.directory.connection_file(config.directory.store, &config.vpopmail_home);
    read.extend(place.parent().map(Path::to_owned));
    read.extend(config.directory.tls_authorities.clone());
    let rules = [&config.server.access.smtp, &config.server.access.pop3].into_iter().flatten();
    read.extend(rules.filter_map(|file| home.join(file).parent().map(Path::to_owned)));
    let mut write: Vec<PathBuf> = ["queue", "run", "tls", "domains"].map(|d| home.join(d)).into();
    write.push(config.vpopmail_home.join("domains"));
    write.push(config.vpopmail_home.join("etc"));
    if config.vpopmail.roaming_users {
        // Its compiled form is written beside it.
        write.extend(config.vpopmail.tcpserver_file.as_deref().and_then(Path::parent).map(Path::to_owned));
    }
    write.extend(assigned_homes(home));
    if config.directory.store == postino_control::directory::Store::Sqlite {
        write.extend(place.parent().map(Path::to_owned));
    }
    // Homes of system users are looked at for their existence only, which needs no right here.
    sandbox::Needs { read, write }
}

/// Folders of virtual domains that lie elsewhere, from users/assign.
fn assigned_homes(home: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(home.join("users/assign")).unwrap_or_default();
    let homes = text.lines().filter_map(|line| line.split(':').nth(4)).filter(|dir| dir.starts_with('/')).map(PathBuf::from);
    homes.filter(|dir| dir.join("vpasswd").is_file()).collect()
}

async fn serve(mut parts: Parts, metrics: Arc<Metrics>, events: Arc<dyn Events>) -> anyhow::Result<i32> {
    // Before the first connection is taken: from then on a signal must not be the death of this process.
    let mut signals = Signals::listen()?;
    let home = parts.loaded.config.home.clone();
    let house = Arc::new(compose::build(parts.loaded.config, parts.link, Arc::clone(&events))?);
    let (stop, stopping) = watch::channel(false);
    let shared = Shared::new(&house, stopping.clone());
    // The doors first: a command that follows the first banner finds the running server.
    let mut helpers = JoinSet::new();
    start_doors(&mut helpers, &home, &house, &shared)?;
    let mut sessions = JoinSet::new();
    let addresses = bind::addresses(&parts.bound);
    for bound in parts.bound {
        start_listener(&mut sessions, bound, &house, &shared, &metrics)?;
    }
    let scheduler = tokio::spawn({
        let (scheduler, stopping) = (Arc::clone(&house.scheduler), stopping.clone());
        async move { scheduler.run(stopping).await }
    });
    tracing::info!(version = env!("CARGO_PKG_VERSION"), home = %home.display(), listen = addresses, "serving");
    parts.herald.tell(News::Ready);
    let code = wait(&house, &shared, (&mut sessions, &scheduler), &mut signals, &mut parts.herald).await?;
    parts.herald.tell(News::Stopping);
    tracing::info!("stopping");
    let grace = house.live.get().server.stop_grace;
    let _ = stop.send(true);
    // Sessions end at their next safe point, running deliveries may finish; nothing waits longer than the grace time.
    let ended = tokio::time::timeout(grace, async {
        while sessions.join_next().await.is_some() {}
        let _ = scheduler.await;
    });
    if ended.await.is_err() {
        events.emit(&Event::Warning {
            what: "stopped with work unfinished",
            detail: "deliveries that were running are tried again after the next start",
        });
    }
    house.remote.close().await;
    helpers.abort_all();
    house.store.stop().await;
    Ok(code)
}

/// What we are told from outside.
struct Signals {
    hangup: Signal,
    alarm: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            alarm: signal(SignalKind::alarm())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

/// What listeners share.
struct Shared {
    limits: Arc<ConnectionLimits>,
    throttle: Arc<LoginThrottle>,
    smtp: postino_smtpd::Context,
    pop3: Arc<postino_pop3d::Context>,
    turnpike: Turnpike,
    stopping: watch::Receiver<bool>,
}

impl Shared {
    fn new(house: &House, stopping: watch::Receiver<bool>) -> Self {
        let config = house.live.get();
        let limits = &config.server.limits;
        let throttle = Arc::new(LoginThrottle::new(limits.failed_logins_per_minute));
        let turnpike = Turnpike {
            live: house.live.clone(),
            queue: Arc::clone(&house.queue),
            scheduler: Arc::clone(&house.scheduler),
            remote: Arc::clone(&house.remote),
            clock: Arc::clone(&house.clock),
            asked: Arc::default(),
        };
        let smtp = postino_smtpd::Context {
            config: house.live.clone(),
            queue: Arc::clone(&house.door),
            directory: Arc::clone(&house.directory),
            roaming: Some(house.open_relays.clone()),
            room: Some(house.room.clone()),
            events: Arc::clone(&house.events),
            clock: Arc::clone(&house.clock),
            dns: Some(Arc::clone(&house.dns)),
            lists: Some(Arc::clone(&house.lists)),
            tls: Some(Arc::clone(&house.tls)),
            throttle: Arc::clone(&throttle),
            own_addresses: compose::own_addresses(&config),
            held: Some(Arc::new(postino_smtpd::HeldMail {
                links: Arc::new(turnpike.clone()),
                turned: Some(crate::odmr::door(turnpike.clone())),
            })),
            shutdown: stopping.clone(),
        };
        let pop3 = Arc::new(postino_pop3d::Context {
            config: house.live.clone(),
            dns: Some(Arc::clone(&house.dns)),
            directory: Arc::clone(&house.directory),
            maildrops: Arc::clone(&house.maildrops),
            roaming: Some(house.open_relays.clone()),
            events: Arc::clone(&house.events),
            clock: Arc::clone(&house.clock),
            tls: Some(Arc::clone(&house.tls)),
            throttle: Arc::clone(&throttle),
            shutdown: stopping.clone(),
            reads: Arc::new(tokio::sync::Semaphore::new(2 * std::thread::available_parallelism().map_or(2, usize::from))),
        });
        let connections = ConnectionLimits::new(limits.connections_max, limits.connections_per_address);
        Self { limits: connections, throttle, smtp, pop3, turnpike, stopping }
    }
}

fn start_listener(
    sessions: &mut JoinSet<std::io::Result<()>>,
    bound: Bound,
    house: &House,
    shared: &Shared,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let handler: Handler = match bound.kind {
        ListenerKind::Smtp | ListenerKind::Submission | ListenerKind::Submissions | ListenerKind::Odmr => {
            postino_smtpd::handler(bound.kind, shared.smtp.clone())
        }
        ListenerKind::Pop3 | ListenerKind::Pop3s => pop3_handler(bound.kind, Arc::clone(&shared.pop3)),
        ListenerKind::Http => {
            let pages = http::Pages { metrics: Arc::clone(metrics), queue: Arc::clone(&house.queue), clock: Arc::clone(&house.clock) };
            bound.socket.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(bound.socket).context("http listener")?;
            sessions.spawn(http::serve(listener, pages, shared.stopping.clone()));
            return Ok(());
        }
    };
    let refusal = match bound.kind {
        ListenerKind::Smtp | ListenerKind::Submission | ListenerKind::Odmr => {
            b"421 4.7.0 too many connections from your address\r\n".to_vec()
        }
        ListenerKind::Pop3 => b"-ERR [SYS/TEMP] too many connections from your address\r\n".to_vec(),
        _ => Vec::new(),
    };
    let settings = ListenerSettings { name: bind::name_of(bound.kind), limits: Arc::clone(&shared.limits), refusal };
    sessions.spawn(accept_loop(bound.socket, settings, shared.stopping.clone(), handler));
    Ok(())
}

fn pop3_handler(kind: ListenerKind, context: Arc<postino_pop3d::Context>) -> Handler {
    let mode = if kind == ListenerKind::Pop3s { postino_pop3d::TlsMode::Implicit } else { postino_pop3d::TlsMode::Stls };
    Arc::new(move |accepted| Box::pin(postino_pop3d::serve(accepted, mode, Arc::clone(&context))))
}

/// The control socket, the injection socket and the drop directory.
fn start_doors(helpers: &mut JoinSet<()>, home: &Path, house: &Arc<House>, shared: &Shared) -> anyhow::Result<()> {
    let control = unix_listener(&control_socket::path(home), 0o600)?;
    let injection = unix_listener(&home.join(postino_local::inject::SOCKET_PATH), 0o666)?;
    let reload_house = Arc::clone(house);
    let (limits, throttle) = (Arc::clone(&shared.limits), Arc::clone(&shared.throttle));
    let (scheduler, remote) = (Arc::clone(&house.scheduler), Arc::clone(&house.remote));
    let fetcher = crate::fetch::of_house(house);
    helpers.spawn(Arc::clone(&fetcher).timers());
    helpers.spawn(Arc::clone(&house.open_relays).keep());
    let desk = Desk {
        queue: Arc::clone(&house.queue),
        reload: Arc::new(move || reload(&reload_house, &limits, &throttle)),
        forget_backoff: Arc::new(move || {
            scheduler.forget_backoff();
            remote.forget_down();
        }),
        fetcher: Arc::clone(&fetcher),
        open_relays: Arc::clone(&house.open_relays),
        turnpike: shared.turnpike.clone(),
        sessions: shared.smtp.clone(),
    };
    helpers.spawn(control_socket::serve(control, desk));
    helpers.spawn(crate::odmr::keep_fetching(shared.turnpike.clone(), shared.smtp.clone()));
    let door = Door {
        queue: Arc::clone(&house.queue),
        live: house.live.clone(),
        clock: Arc::clone(&house.clock),
        programs: Arc::clone(&house.programs),
        events: Arc::clone(&house.events),
    };
    helpers.spawn(inject::serve(injection, door.clone()));
    helpers.spawn(inject::watch_drop(home.join(postino_local::inject::DROP_PATH), door));
    Ok(())
}

/// A fresh socket in `run/`; what a killed server left there is replaced.
fn unix_listener(path: &Path, mode: u32) -> anyhow::Result<tokio::net::UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot replace {}", path.display())),
    }
    let listener = tokio::net::UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).with_context(|| format!("cannot chmod {}", path.display()))?;
    Ok(listener)
}

/// Rereads configuration and certificates, all or nothing.
fn reload(house: &House, limits: &ConnectionLimits, throttle: &LoginThrottle) -> Result<(), String> {
    let old = house.live.get();
    let loaded = postino_control::load(&old.home).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        lines.join("; ")
    })?;
    if crate::qmail::engine().is_some() {
        house.live.set(crate::qmail::reread(&old, loaded.config));
        return Ok(());
    }
    let identities = compose::identities(&loaded.config, &[], house.clock.now()).map_err(|e| format!("{e:#}"))?;
    house.tls.reload(&identities).map_err(|e| e.to_string())?;
    limits.set_per_address(loaded.config.server.limits.connections_per_address);
    throttle.set_limit(loaded.config.server.limits.failed_logins_per_minute);
    for warning in &loaded.warnings {
        house.events.emit(&Event::Warning { what: "configuration", detail: &warning.to_string() });
    }
    house.live.set(loaded.config);
    Ok(())
}

/// Waits for a reason to stop; handles reloads and retries meanwhile. The code is 0 for a wanted stop, 111 when a part died.
async fn wait(
    house: &Arc<House>,
    shared: &Shared,
    parts: (&mut JoinSet<std::io::Result<()>>, &tokio::task::JoinHandle<()>),
    signals: &mut Signals,
    herald: &mut Herald,
) -> anyhow::Result<i32> {
    let (sessions, scheduler) = parts;
    let failed = house.store.wait_failed();
    let spawner_gone = house.spawn.closed();
    tokio::pin!(failed, spawner_gone);
    let mut pulse = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(0),
            _ = signals.interrupt.recv() => return Ok(0),
            _ = signals.hangup.recv() => {
                herald.tell(News::Reloading);
                match reload(house, &shared.limits, &shared.throttle) {
                    Ok(()) => tracing::info!("configuration reread"),
                    Err(e) => house.events.emit(&Event::Alert { what: "configuration not reread; the old one stays in force", detail: &e }),
                }
                herald.tell(News::Ready);
            }
            _ = signals.alarm.recv() => {
                house.scheduler.forget_backoff();
                house.remote.forget_down();
                if let Err(e) = house.queue.admin(AdminAction::Retry, Selection::All).await {
                    house.events.emit(&Event::Warning { what: "retry of the whole queue failed", detail: &e.to_string() });
                }
            }
            () = &mut failed => return Ok(dead(house, "the queue's database")),
            () = &mut spawner_gone => return Ok(lost_spawner(house)),
            _ = pulse.tick() => {
                if scheduler.is_finished() {
                    return Ok(dead(house, "the scheduler"));
                }
            }
            Some(ended) = sessions.join_next() => {
                return Ok(dead(house, &format!("a listener: {ended:?}")));
            }
        }
    }
}

fn lost_spawner(house: &House) -> i32 {
    if crate::qmail::engine().is_none() {
        return dead(house, "the spawner");
    }
    house.events.emit(&Event::Alert { what: "oh no! lost spawn connection! dying...", detail: "" });
    111
}

/// Tells that a part ended which cannot be done without; the exit code for the service manager.
fn dead(house: &House, part: &str) -> i32 {
    house
        .events
        .emit(&Event::Alert { what: "a part that cannot be done without ended; stopping, the service manager starts anew", detail: part });
    111
}
