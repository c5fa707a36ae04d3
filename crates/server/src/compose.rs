//! The only place that chooses adapters: which queue, directory, resolver and deliverers stand behind the ports.

use anyhow::{Context, bail};
use postino_control::resolved::TlsIdentity;
use postino_control::{Config, Live};
use postino_local::spawn_link::SpawnLink;
use postino_ports::clock::Clock;
use postino_ports::directory::Directory;
use postino_ports::dns::Dns;
use postino_ports::event::Events;
use postino_ports::maildrop::Maildrops;
use postino_ports::queue::Queue;
use postino_queue::{QueueOptions, QueueStore};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Everything that the worker serves with.
pub(crate) struct House {
    pub(crate) live: Live,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Arc<dyn Events>,
    pub(crate) store: Arc<QueueStore>,
    /// The queue itself: for what was accepted before, and for what comes in by the injection socket.
    pub(crate) queue: Arc<dyn Queue>,
    /// The queue behind whatever program stands before it: for the network.
    pub(crate) door: Arc<dyn Queue>,
    /// The programs before the queue.
    pub(crate) programs: Arc<crate::queue_program::QueuePrograms>,
    pub(crate) directory: Arc<dyn Directory>,
    /// Addresses that logins have opened for relaying.
    pub(crate) open_relays: Arc<crate::roaming::OpenRelays>,
    /// Which mailboxes are full.
    pub(crate) room: Arc<dyn postino_ports::directory::MailboxRoom>,
    pub(crate) dns: Arc<dyn Dns>,
    pub(crate) lists: Arc<postino_smtpd::lists::BlockLists>,
    pub(crate) maildrops: Arc<dyn Maildrops>,
    pub(crate) tls: Arc<postino_net::ServerTls>,
    pub(crate) scheduler: Arc<postino_send::Scheduler>,
    pub(crate) spawn: SpawnLink,
    pub(crate) remote: Arc<postino_remote::Remote>,
}

/// Builds the house. `link` is our end of the spawner's socket. Must run inside the runtime.
pub(crate) fn build(config: Config, link: OwnedFd, events: Arc<dyn Events>) -> anyhow::Result<House> {
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock::new());
    let tls = Arc::new(postino_net::ServerTls::new(&identities(&config, &[], clock.now())?).context("TLS")?);
    let store = open_queue(&config, Arc::clone(&clock))?;
    let queue: Arc<dyn Queue> = store.clone();
    let dns: Arc<dyn Dns> = Arc::new(postino_net::dns::Resolver::new(&config.server.remote.dns_servers).context("DNS resolver")?);
    let lists = block_lists(&config, Arc::clone(&events))?;
    let temporary = config.home.join("queue");
    let live = Live::new(config);
    let directory: Arc<dyn Directory> = Arc::new(directory(&live, &clock)?);
    let relays = crate::keepers::relays(&live.get()).context("who keeps opened relays ([directory] in server.toml)")?;
    let open_relays = Arc::new(crate::roaming::OpenRelays::new(live.clone(), Arc::clone(&clock), Arc::clone(&events), relays));
    let spawn = SpawnLink::start(link, crate::qmail::spawned_at_once(&live.get()), &temporary).context("the link to the spawner")?;
    let disk: Arc<dyn postino_ports::disk::Disk> = Arc::new(postino_disk::real::RealDisk::default());
    let quotas = Arc::new(postino_local::mailbox::quotas::MailboxQuotas::new(Arc::clone(&disk), live.clone()));
    let local_ports = postino_local::mailbox::Ports {
        directory: Arc::clone(&directory),
        spawn: Arc::new(spawn.clone()),
        disk,
        quota: Arc::clone(&quotas) as Arc<dyn postino_local::mailbox::QuotaGate>,
    };
    let local = Arc::new(postino_local::mailbox::LocalDelivery::new(local_ports, live.clone(), clock.now()));
    let programs = crate::queue_program::QueuePrograms::new(spawn.clone(), live.clone(), Arc::clone(&events));
    let door: Arc<dyn Queue> = Arc::new(crate::queue_program::ThroughProgram::new(Arc::clone(&queue), Arc::clone(&programs)));
    let local = Arc::new(crate::queue_program::ForwardsThroughProgram { inner: local, programs: Arc::clone(&programs) });
    let remote = postino_remote::Remote::new(postino_remote::RemoteParts {
        live: live.clone(),
        dns: Arc::clone(&dns),
        clock: Arc::clone(&clock),
        events: Arc::clone(&events),
        relay_trust: relay_trust(),
    })
    .context("remote delivery")?;
    let remote = Arc::new(remote);
    let engine = crate::qmail::engine().is_some();
    let deliver_remote: Arc<dyn postino_ports::deliver::Deliver> =
        if engine { Arc::new(crate::qmail_remote::QmailRemote(spawn.clone())) } else { remote.clone() };
    let scheduler = Arc::new(postino_send::Scheduler::new(postino_send::Parts {
        queue: Arc::clone(&door),
        local,
        remote: deliver_remote,
        config: live.clone(),
        clock: Arc::clone(&clock),
        events: Arc::clone(&events),
        uid: crate::qmail::log_uid().unwrap_or_else(|| rustix::process::geteuid().as_raw()),
        profile: crate::qmail::profile(),
        week_minute: crate::links::week_minute(),
    }));
    let maildrops: Arc<dyn Maildrops> = Arc::new(postino_store::MaildirStore::new(Arc::clone(&clock)));
    Ok(House {
        live,
        clock,
        events,
        store,
        queue,
        door,
        programs,
        directory,
        open_relays,
        room: quotas,
        dns,
        lists,
        maildrops,
        tls,
        scheduler,
        spawn,
        remote,
    })
}

/// Accounts, from whoever keeps them.
pub(crate) fn directory(live: &Live, clock: &Arc<dyn Clock>) -> anyhow::Result<postino_directory::VpopmailDirectory> {
    let directory = postino_directory::VpopmailDirectory::new(live.clone(), Arc::clone(clock));
    let directory = if crate::qmail::engine().is_some() { directory.for_engine() } else { directory };
    let config = live.get();
    Ok(
        match crate::keepers::configured(&config, crate::keepers::Purpose::Serving)
            .context("who keeps the accounts ([directory] in server.toml)")?
        {
            None => directory,
            Some(keepers) => directory.with_keepers(keepers, config.directory.cache, config.directory.cache_absent),
        },
    )
}

/// Who asks the block lists: a resolver of its own, whose cache a flood of strangers may fill.
pub(crate) fn block_lists(config: &Config, events: Arc<dyn Events>) -> anyhow::Result<Arc<postino_smtpd::lists::BlockLists>> {
    let dns = postino_net::dns::Resolver::for_lists(&config.server.remote.dns_servers).context("DNS resolver for block lists")?;
    Ok(postino_smtpd::lists::BlockLists::new(Arc::new(dns), events))
}

/// A smarthost that gets a password must show a certificate that the system trusts.
fn relay_trust() -> postino_remote::RelayTrust {
    let found = postino_net::tls::client::system_roots().find_map(|pem| postino_remote::RelayTrust::from_pem(&pem).ok());
    // Without a bundle nothing is trusted: mail for such a smarthost waits and says why, the password stays here.
    found.unwrap_or_else(|| postino_remote::RelayTrust::Roots(Arc::new(rustls::RootCertStore::empty())))
}

/// Opens the queue of a home. Fails when another process has it.
pub(crate) fn open_queue(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<QueueStore>> {
    let limits = &config.server.limits;
    let options = QueueOptions {
        dir: config.home.join("queue"),
        inline_body_bytes: limits.inline_body_bytes,
        body_memory_bytes: limits.body_memory_bytes,
        disk_reserve_bytes: limits.disk_reserve_bytes,
        message_bytes_max: limits.message_bytes_max,
        clock,
    };
    QueueStore::open(options).with_context(|| format!("cannot open the queue in {}", config.home.join("queue").display()))
}

/// The offline check.
pub(crate) fn check_queue(home: &Path, repair: bool) -> anyhow::Result<postino_queue::Report> {
    let repair = if repair { postino_queue::Repair::Yes } else { postino_queue::Repair::No };
    postino_queue::check(home, repair).with_context(|| format!("cannot check the queue of {}", home.display()))
}

/// Certificates in force: those of server.toml (those that only root may read come from the staged copies), else the self-made one.
pub(crate) fn identities(config: &Config, more_names: &[String], now: postino_types::Time) -> anyhow::Result<Vec<TlsIdentity>> {
    if config.server.tls.is_empty() {
        return Ok(vec![ensure_self_made(config, more_names, now)?]);
    }
    let staged = |index: usize, identity: &TlsIdentity| {
        let (certificate, key) = crate::home::staged(config, index);
        let readable = |path: &Path| std::fs::File::open(path).is_ok();
        // Both or none: one of a renewed pair does not fit the other of the old one.
        let both = readable(&identity.certificate) && readable(&identity.key);
        if both || !readable(&key) { identity.clone() } else { TlsIdentity { certificate, key, ..identity.clone() } }
    };
    Ok(config.server.tls.iter().enumerate().map(|(index, identity)| staged(index, identity)).collect())
}

/// Makes the certificate of a new home, owned by the worker.
pub(crate) fn self_made(config: &Config, more_names: &[String]) -> anyhow::Result<()> {
    let now = crate::clock::SystemClock::new().now();
    ensure_self_made(config, more_names, now)?;
    crate::home::prepare(&config.home, owner(config)?)
}

fn ensure_self_made(config: &Config, more_names: &[String], now: postino_types::Time) -> anyhow::Result<TlsIdentity> {
    let mut names = vec![config.me.clone()];
    names.extend_from_slice(more_names);
    let made = postino_net::tls::ensure_self_made(&config.home.join("tls"), &names, &[], now).context("cannot make a certificate")?;
    Ok(made.identity)
}

/// uid and gid of the worker when we are root; `None` when everything is ours anyway.
pub(crate) fn owner(config: &Config) -> anyhow::Result<Option<(u32, u32)>> {
    account(&config.server.user)
}

/// The ids of this account, which must not be root's; `None` when we are not root and have no choice.
pub(crate) fn account(name: &str) -> anyhow::Result<Option<(u32, u32)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let Some(user) = nix::unistd::User::from_name(name).ok().flatten() else {
        bail!(
            "account {name:?} (server.toml: user) does not exist; make it with: useradd --system --no-create-home --shell /usr/sbin/nologin {name}"
        )
    };
    if user.uid.is_root() {
        bail!("server.toml: user = {name:?} is root; the worker must be another account");
    }
    Ok(Some((user.uid.as_raw(), user.gid.as_raw())))
}

/// Addresses of this host's interfaces, as far as the configuration names them; connections add their own.
pub(crate) fn own_addresses(config: &Config) -> Arc<[IpAddr]> {
    config.server.remote.own_addresses.clone().into()
}
