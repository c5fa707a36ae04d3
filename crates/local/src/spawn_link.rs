//! The worker's end of the spawner's socket: sends a request with the message as one sealed or unlinked file, waits for the report. Total: when
//! the spawner is gone every delivery is temporary. Never names a uid, a home or a command.

use crate::queue_child::{Answer, trailer};
use bytes::Bytes;
use postino_ports::BoxFuture;
use postino_ports::body::Body;
use postino_ports::spawn::{ChildForward, ChildReport, LocalDelivery, Once, Spawn};
use postino_types::exit;
use postino_types::spawn_frame::{Kind, PACKET_BYTES_MAX, REPORT_BYTES_MAX, Report, Request, report_packet};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, sendmsg};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, oneshot, watch};

/// Messages up to this size are handed over in memory, bytes; larger ones in an unlinked file.
const MEMORY_BYTES_MAX: u64 = 1 << 20;

/// Programs on the way into the queue at once, beside the deliveries; more messages wait.
pub const QUEUE_PROGRAMS_MAX: usize = 10;

/// The link. Cheap to clone.
#[derive(Clone)]
pub struct SpawnLink {
    shared: Arc<Shared>,
}

struct Shared {
    socket: OwnedFd,
    waiting: Mutex<Waiting>,
    next: AtomicU64,
    slots: Arc<Semaphore>,
    queue_slots: Semaphore,
    directory: PathBuf,
    closed: watch::Sender<bool>,
}

/// `None` when the spawner is gone.
type Waiting = Option<HashMap<u64, Pending>>;

struct Pending {
    answer: oneshot::Sender<ChildReport>,
    body: Vec<u8>,
}

impl SpawnLink {
    /// Starts the receiving thread on `socket`. At most `concurrency` deliveries run at once; large messages are copied into unlinked files in
    /// `directory`.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn start(socket: OwnedFd, concurrency: usize, directory: &Path) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket,
            waiting: Mutex::new(Some(HashMap::new())),
            next: AtomicU64::new(1),
            slots: Arc::new(Semaphore::new(concurrency.max(1))),
            queue_slots: Semaphore::new(QUEUE_PROGRAMS_MAX),
            directory: directory.to_path_buf(),
            closed: watch::Sender::new(false),
        });
        let receiver = Arc::clone(&shared);
        std::thread::Builder::new().name("spawn-link".into()).stack_size(256 << 10).spawn(move || receiver.receive_all())?;
        Ok(Self { shared })
    }

    /// Ends the link: the spawner reads the end of the socket, lets its children finish and ends.
    pub fn close(&self) {
        // Fails only when it is closed already.
        let _ = rustix::net::shutdown(&self.shared.socket, rustix::net::Shutdown::Both);
    }

    /// Returns when the spawner is gone: the process should then end (the supervisor starts both anew).
    pub async fn closed(&self) {
        let mut closed = self.shared.closed.subscribe();
        let _ = closed.wait_for(|&gone| gone).await;
    }

    /// Runs `qmail-remote` for one recipient (`local`: the whole address); trouble is exit 111. The report keeps its NULs.
    pub async fn run_remote(&self, delivery: LocalDelivery) -> ChildReport {
        self.run(Kind::Remote, delivery).await.unwrap_or_else(trouble)
    }

    /// Runs a program on the way into the queue. `envelope` is qmail-queue's. The answer, and what the program complained of.
    pub async fn run_queue(&self, letter: QueueLetter) -> (Answer, String) {
        let Ok(_turn) = self.shared.queue_slots.acquire().await else { return (Answer::parse(exit::SOFT, ""), GONE.into()) };
        let report = self.hand_over(move |shared| shared.send_letter(&letter)).await.unwrap_or_else(|text| trouble(&format!("Z{text}")));
        let text = String::from_utf8_lossy(&report.text);
        let (line, complaint) = text.split_once('\n').unwrap_or((&text, ""));
        (Answer::parse(report.exit, line), complaint.to_owned())
    }

    /// The secret of a `[[fetch]]` account; the error is a text for people.
    ///
    /// # Errors
    /// The spawner's child found none, or the spawner is gone.
    pub async fn run_secret(&self, account: &str) -> Result<Vec<u8>, String> {
        let ask = LocalDelivery {
            local: account.as_bytes().to_vec(),
            host: Vec::new(),
            sender: Vec::new(),
            default_delivery: Vec::new(),
            once: Once::None,
            prepend: Bytes::new(),
            body: Body::Memory(Bytes::new()),
        };
        let report = self.run(Kind::Secret, ask).await.unwrap_or_else(trouble);
        if report.exit == exit::OK {
            return Ok(report.text);
        }
        Err(postino_types::printable::printable(report.text.trim_ascii()))
    }

    async fn run(&self, kind: Kind, delivery: LocalDelivery) -> Result<ChildReport, &'static str> {
        let slot = Arc::clone(&self.shared.slots).acquire_owned().await.map_err(|_| GONE)?;
        let report = self.hand_over(move |shared| shared.send(kind, &delivery)).await;
        drop(slot);
        report
    }

    async fn hand_over(&self, send: impl FnOnce(Arc<Shared>) -> Sent + Send + 'static) -> Result<ChildReport, &'static str> {
        let shared = Arc::clone(&self.shared);
        // Copying the message and a full socket may block.
        let sent = tokio::task::spawn_blocking(move || send(shared)).await;
        let (answer, cleanup) = sent.map_err(|_| "Unable to hand the message to the spawner. (#4.3.0)\n")??;
        let report = answer.await.map_err(|_| GONE);
        drop(cleanup);
        report
    }
}

/// A message on its way into the queue through a program.
#[derive(Debug, Clone)]
pub struct QueueLetter {
    /// Which of the programs that the spawner knows.
    pub program: Vec<u8>,
    /// What the program is told of the client: `NAME=value` lines.
    pub environment: Vec<u8>,
    /// qmail-queue's envelope.
    pub envelope: Vec<u8>,
    /// Lines before the body.
    pub prepend: Bytes,
    /// The body.
    pub body: Body,
}

/// A request under way: who will hear, and who forgets it.
type Sent = Result<(oneshot::Receiver<ChildReport>, Cleanup), &'static str>;

const GONE: &str = "The spawner is gone. (#4.3.0)\n";

impl Spawn for SpawnLink {
    fn run_local(&self, delivery: LocalDelivery) -> BoxFuture<'_, ChildReport> {
        Box::pin(async move { self.run(Kind::Local, delivery).await.unwrap_or_else(trouble) })
    }
}

fn trouble(text: &str) -> ChildReport {
    ChildReport { exit: exit::SOFT, text: text.as_bytes().to_vec(), forwards: Vec::new(), uid: u32::MAX }
}

/// Forgets a request whose caller has gone.
struct Cleanup {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Some(waiting) = self.shared.lock().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(self: Arc<Self>, kind: Kind, delivery: &LocalDelivery) -> Sent {
        let message = message_file(&[&delivery.prepend, &[]], &delivery.body, &self.directory)
            .map_err(|_| "Unable to copy the message for delivery. (#4.3.0)\n")?;
        let request = Request {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            kind,
            local: delivery.local.clone(),
            host: delivery.host.clone(),
            sender: delivery.sender.clone(),
            default_delivery: delivery.default_delivery.clone(),
            once: delivery.once.to_word().into_bytes(),
        };
        self.ask(request, &message)
    }

    fn send_letter(self: Arc<Self>, letter: &QueueLetter) -> Sent {
        let end = trailer(&letter.envelope, (letter.prepend.len() as u64).saturating_add(letter.body.len()));
        let message =
            message_file(&[&letter.prepend, &end], &letter.body, &self.directory).map_err(|_| "qq write error or disk full (#4.3.0)")?;
        let request = Request {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            kind: Kind::Queue,
            local: letter.program.clone(),
            default_delivery: letter.environment.clone(),
            ..Request::default()
        };
        self.ask(request, &message)
    }

    fn ask(self: Arc<Self>, request: Request, message: &File) -> Sent {
        let id = request.id;
        let packet = request.encode().map_err(|_| "Delivery instructions are too long. (#4.3.5)\n")?;
        let (sender, receiver) = oneshot::channel();
        match self.lock().as_mut() {
            Some(waiting) => waiting.insert(id, Pending { answer: sender, body: Vec::new() }),
            None => return Err(GONE),
        };
        let cleanup = Cleanup { shared: Arc::clone(&self), id };
        send_packet(&self.socket, &packet, message).map_err(|_| GONE)?;
        Ok((receiver, cleanup))
    }

    fn receive_all(&self) {
        let mut buffer = vec![0u8; PACKET_BYTES_MAX + 1];
        loop {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                Ok((n, _)) if n > 0 => {
                    if !self.take(buffer.get(..n).unwrap_or_default()) {
                        break;
                    }
                }
                _ => break,
            }
        }
        // Dropping the senders wakes every waiter with an error.
        self.lock().take();
        self.closed.send_replace(true);
    }

    /// False when the packet is not one of ours: a spawner that speaks nonsense is not listened to any more.
    fn take(&self, packet: &[u8]) -> bool {
        let Ok(part) = report_packet(packet) else { return false };
        let mut waiting = self.lock();
        let Some(map) = waiting.as_mut() else { return false };
        let Some(pending) = map.get_mut(&part.id) else { return true }; // its caller has gone
        if pending.body.len() + part.chunk.len() > REPORT_BYTES_MAX {
            return false;
        }
        pending.body.extend_from_slice(part.chunk);
        if !part.last {
            return true;
        }
        let Some(pending) = map.remove(&part.id) else { return true };
        drop(waiting);
        match Report::decode(&pending.body) {
            Ok(report) => {
                let _ = pending.answer.send(child_report(report));
                true
            }
            Err(_) => false,
        }
    }
}

fn child_report(report: Report) -> ChildReport {
    let forwards = report.forwards.into_iter();
    let forwards = forwards.map(|f| ChildForward { sender: f.sender, to: f.to, delivered_to: f.delivered_to }).collect();
    ChildReport { exit: report.exit, text: report.text, forwards, uid: report.uid }
}

fn send_packet(socket: &OwnedFd, packet: &[u8], message: &File) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [message.as_fd()];
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(packet)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// The message, `around` its body, as one file that nobody can change or find: sealed memory, or an unlinked file opened for reading. Its offset
/// is its own.
fn message_file(around: &[&[u8]; 2], body: &Body, directory: &Path) -> io::Result<File> {
    let added = around.iter().map(|part| part.len() as u64).sum::<u64>();
    if added.saturating_add(body.len()) <= MEMORY_BYTES_MAX {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("message", flags)?);
        fill(&file, around, body)?;
        // qmail-remote reads its standard input from where it stands.
        (&file).rewind()?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        return Ok(file);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    // Readable for all: it has no name, so only who was handed it can open it again (programs that read /dev/stdin do).
    let writable = File::from(rustix::fs::open(directory, flags, Mode::from_raw_mode(0o600))?);
    fill(&writable, around, body)?;
    rustix::fs::fchmod(&writable, Mode::from_raw_mode(0o444))?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writable));
    Ok(File::from(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
}

fn fill(mut file: &File, [before, after]: &[&[u8]; 2], body: &Body) -> io::Result<()> {
    match body {
        Body::Memory(bytes) => file.write_all(&[before, &bytes[..], after].concat()),
        Body::File { .. } => {
            file.write_all(before)?;
            body.for_each_chunk(|chunk| file.write_all(chunk))?;
            file.write_all(after)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    /// A program that reads its standard input from where it stands reads the whole message, short or long.
    #[test]
    fn a_message_is_handed_over_at_its_beginning() {
        let directory = tempfile::tempdir().unwrap();
        for bytes in [1, MEMORY_BYTES_MAX] {
            let body = vec![b'x'; usize::try_from(bytes).unwrap()];
            let mut file = message_file(&[b"A: b\n", b""], &Body::Memory(body.clone().into()), directory.path()).unwrap();
            let mut read = Vec::new();
            file.read_to_end(&mut read).unwrap();
            assert!(read == [b"A: b\n", &body[..]].concat());
        }
    }
}
