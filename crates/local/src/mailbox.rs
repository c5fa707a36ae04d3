//! The local channel: asks the directory what an address is, delivers virtual mailboxes in process and hands the rest to the spawner.
//! Called by `send` as its local `Deliver`. Total: trouble of ours is `Deferred`. Never writes into the queue.

mod content;
mod maildir;
pub mod quotas;

use crate::loop_check::{Compare, LineSearch, Search, search};
use crate::report;
use content::Content;
use maildir::{Place, Target};
use postino_control::{Config, Live};
use postino_disk::maildir_quota::Reservation;
use postino_message::delivered_to::{delivered_to, return_path};
use postino_policy::{make_recipient, verp};
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::deliver::{Deliver, Job};
use postino_ports::directory::{Directory, LookupError, Mailbox, Resolution};
use postino_ports::disk::Disk;
use postino_ports::queue::QueueEntry;
use postino_ports::spawn::{self, Once, Spawn};
use postino_types::outcome::Forward;
use postino_types::{Address, DeliveryOutcome, PermStatus, Recipient, RecipientState, ReversePath, TempStatus, Time};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// May this mailbox take the message? Asked before each delivery into an account's mailbox, on a blocking thread; the Maildir is there.
pub trait QuotaGate: Send + Sync {
    /// Takes room for a message.
    ///
    /// # Errors
    /// The mailbox cannot be read or written now: the delivery is tried again.
    fn admit(&self, mailbox: &Mailbox, size: Size) -> std::io::Result<Admitted>;
}

/// How large a message is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Bytes as it came, without the lines that delivery adds.
    pub message_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// The gate's answer.
#[derive(Debug)]
pub enum Admitted {
    /// There is no quota.
    Free,
    /// There is room, taken until it is dropped or kept.
    Room(Reservation),
    /// The mailbox is full; text for the bounce.
    Full(String),
}

/// No limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoQuota;

impl QuotaGate for NoQuota {
    fn admit(&self, _mailbox: &Mailbox, _size: Size) -> std::io::Result<Admitted> {
        Ok(Admitted::Free)
    }
}

/// What local delivery stands on.
pub struct Ports {
    /// Who lives here.
    pub directory: Arc<dyn Directory>,
    /// Deliveries as another user.
    pub spawn: Arc<dyn Spawn>,
    /// Where Maildirs lie.
    pub disk: Arc<dyn Disk>,
    /// Quotas.
    pub quota: Arc<dyn QuotaGate>,
}

/// The local channel.
pub struct LocalDelivery {
    ports: Ports,
    config: Live,
    deliverers: Arc<Semaphore>,
    names: Arc<Names>,
    started: Time,
}

/// What makes file names of this installation unlike others'.
struct Names {
    instance: String,
    uid: u32,
}

/// One recipient of one message.
struct Case<'a> {
    config: &'a Config,
    entry: &'a Arc<QueueEntry>,
    body: &'a Body,
    index: usize,
    routed: &'a Address,
    sender: ReversePath,
}

impl LocalDelivery {
    /// Delivers for the installation at `config.home`. `started`: when this process began (entries older than it may have been delivered by
    /// an earlier one).
    #[must_use]
    pub fn new(ports: Ports, config: Live, started: Time) -> Self {
        let now = config.get();
        let instance = instance_tag(&now.home);
        // Many at once, since a journal's commit serves all who wait for it; each holds a blocking thread.
        let deliverers = Arc::new(Semaphore::new(now.server.limits.mailbox_deliveries.max(1)));
        let names = Arc::new(Names { instance, uid: rustix::process::geteuid().as_raw() });
        Self { ports, config, deliverers, names, started }
    }

    async fn one(&self, job: &Job, index: usize) -> DeliveryOutcome {
        let Some(recipient) = job.entry.envelope.recipients.get(index) else {
            return DeliveryOutcome::deferred(TempStatus::SYSTEM, "No such recipient. (#4.3.0)\n");
        };
        let config = self.config.get();
        let routed = &recipient.routed.address;
        if routed.local().is_empty() {
            return DeliveryOutcome::delivered(""); // qmail's spawner: nobody to deliver to, nothing done
        }
        let sender = verp::expand(&job.entry.envelope.sender, routed);
        let case = Case { config: &config, entry: &job.entry, body: &job.body, index, routed, sender };
        match self.ports.directory.resolve(routed).await {
            Ok(resolution) => self.resolved(&case, resolution).await,
            // The spawner reads it itself, and says what is wrong with it.
            Err(LookupError { what }) if what.contains("users/cdb") => self.by_spawner(&case).await,
            Err(LookupError { what }) => {
                DeliveryOutcome::deferred(TempStatus::SYSTEM, format!("Unable to look up mailbox: {what}. (#4.3.0)\n"))
            }
        }
    }

    async fn resolved(&self, case: &Case<'_>, resolution: Resolution) -> DeliveryOutcome {
        match resolution {
            Resolution::Mailbox(mailbox) => {
                let Ok(to) = Address::from_bytes(mailbox.address.as_bytes()) else { return odd_directory() };
                let place = Place { maildir: mailbox.maildir.clone(), uid: mailbox.uid, account: Some(mailbox) };
                self.to_maildir(case, &to, place).await
            }
            Resolution::Directory { maildir, uid, gid: _, delivered_to } => {
                self.to_maildir(case, &delivered_to, Place { maildir, uid, account: None }).await
            }
            // Who this is for is told by the local part alone; what the directory found is not passed on.
            Resolution::DotQmail(_) => self.by_spawner(case).await,
            Resolution::Forward { to, delivered_to, uid } => forwarded(case, &to, &delivered_to, uid).await,
            Resolution::Discard => DeliveryOutcome::delivered("did 0+0+1\n"),
            Resolution::NoMailbox { text } => DeliveryOutcome::failed(PermStatus::NO_MAILBOX, line(text)),
            Resolution::Locked { text } => DeliveryOutcome::failed(PermStatus::new(2, 1), line(text)),
        }
    }

    async fn to_maildir(&self, case: &Case<'_>, to: &Address, place: Place) -> DeliveryOutcome {
        if place.uid != self.names.uid {
            let text = "Mailbox belongs to another user than the server's: control/vpopmail-home and users/assign must agree. (#4.3.5)\n";
            return DeliveryOutcome::deferred(TempStatus::new(3, 5), text);
        }
        let content = Content {
            head: [return_path(&case.sender, case.entry.envelope.utf8), delivered_to(to)].concat(),
            prepend: case.entry.prepend.clone(),
            body: case.body.clone(),
        };
        let target = Target {
            name: self.names.file_name(case.entry, case.index, content.bytes()),
            repeated: self.is_repeated(case),
            delivered_to: delivered_to(to),
            place,
            content,
        };
        let Ok(permit) = Arc::clone(&self.deliverers).acquire_owned().await else { return stopped() };
        let (disk, quota) = (Arc::clone(&self.ports.disk), Arc::clone(&self.ports.quota));
        let done = tokio::task::spawn_blocking(move || {
            let outcome = maildir::deliver(&*disk, &*quota, &target);
            drop(permit);
            outcome
        });
        done.await.unwrap_or_else(|_| stopped())
    }

    /// True when an attempt before this one, in this process or an earlier, may have delivered without being able to say so.
    fn is_repeated(&self, case: &Case<'_>) -> bool {
        let attempts = match case.entry.states.get(case.index) {
            Some(RecipientState::Pending { attempts, .. }) => *attempts,
            _ => 0,
        };
        attempts > 0 || case.entry.arrived <= self.started
    }

    fn once(&self, case: &Case<'_>) -> Once {
        let name = self.names.stem(case.entry, case.index);
        if self.is_repeated(case) { Once::Repeated(name) } else { Once::First(name) }
    }

    async fn by_spawner(&self, case: &Case<'_>) -> DeliveryOutcome {
        let delivery = spawn::LocalDelivery {
            local: case.routed.local().to_vec(),
            host: case.routed.host().unwrap_or_default().to_vec(),
            sender: case.sender.as_bytes().to_vec(),
            default_delivery: case.config.defaultdelivery.clone(),
            once: self.once(case),
            prepend: case.entry.prepend.clone(),
            body: case.body.clone(),
        };
        report::outcome(self.ports.spawn.run_local(delivery).await, case.config, case.routed)
    }
}

impl Deliver for LocalDelivery {
    fn destination(&self, recipient: &Recipient) -> String {
        String::from_utf8_lossy(&recipient.routed.address.as_bytes().to_ascii_lowercase()).into_owned()
    }

    fn deliver(&self, job: Job) -> BoxFuture<'_, Vec<DeliveryOutcome>> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(job.recipients.len());
            for &index in &job.recipients {
                outcomes.push(self.one(&job, index).await);
            }
            outcomes
        })
    }
}

impl Names {
    /// `TIME.UNIQUE.HOST,S=SIZE`, the same for every attempt of one delivery (M-ONCE): nothing in it comes from a clock or a process number.
    fn file_name(&self, entry: &QueueEntry, index: usize, bytes: u64) -> String {
        format!("{}.{},S={bytes}", self.stem(entry, index), crate::host_name::clean())
    }

    fn stem(&self, entry: &QueueEntry, index: usize) -> String {
        let (seconds, id, instance) = (entry.arrived.secs(), entry.id, &self.instance);
        format!("{seconds}.M{id}P{index}Q{instance}")
    }
}

/// Eight hex digits that differ between installations on one host: FNV-1a of the home's path, so that it stays the same over restarts.
fn instance_tag(home: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let hash = home.as_os_str().as_bytes().iter().fold(0x811c_9dc5_u32, |hash, &b| (hash ^ u32::from(b)).wrapping_mul(0x0100_0193));
    format!("{hash:08x}")
}

async fn forwarded(case: &Case<'_>, to: &[Address], step: &Address, uid: u32) -> DeliveryOutcome {
    let own = delivered_to(step);
    let (entry, body, wanted) = (Arc::clone(case.entry), case.body.clone(), own.clone());
    let found = tokio::task::spawn_blocking(move || has_line(&entry.prepend, &body, &wanted)).await;
    match found.unwrap_or_else(|gone| Err(std::io::Error::other(gone))) {
        Ok(true) => looping(),
        Err(_) => DeliveryOutcome::deferred(TempStatus::SYSTEM, "Unable to read message. (#4.3.0)\n"),
        Ok(false) => {
            let recipients = to.iter().map(|address| make_recipient(case.config, address)).collect();
            let forward = Forward { sender: case.sender.clone(), recipients, prepend: own, uid };
            let detail = format!("did 0+{}+0\n", to.len());
            DeliveryOutcome::Delivered { detail: detail.into(), forwards: vec![forward], relayed: false }
        }
    }
}

/// Is this Delivered-To line in the header already? Letters fold, as vdelivermail compares. Reads the disk for a body in a file.
fn has_line(prepend: &[u8], body: &Body, wanted: &[u8]) -> std::io::Result<bool> {
    let mut line = LineSearch::new(wanted, Compare::FoldCase);
    match line.feed(prepend) {
        Search::Found => Ok(true),
        Search::Absent => Ok(false),
        Search::Going => search(line, |at, buffer| body.read_at(at, buffer)),
    }
}

fn looping() -> DeliveryOutcome {
    DeliveryOutcome::failed(PermStatus::LOOP, "mail is looping\n")
}

fn stopped() -> DeliveryOutcome {
    DeliveryOutcome::deferred(TempStatus::SYSTEM, "Delivery was interrupted. (#4.3.0)\n")
}

fn odd_directory() -> DeliveryOutcome {
    DeliveryOutcome::deferred(TempStatus::SYSTEM, "The directory named an impossible mailbox. (#4.3.0)\n")
}

fn line(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
