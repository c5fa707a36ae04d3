//! Local injection: `run/queue.sock` (mode 0666; the kernel names the caller) and the drop directory that `qmail-queue` uses while no server runs.
//! Puts messages through the queue's one door; never trusts a uid that a client writes.

use postino_control::Live;
use postino_local::inject::{DROP_HEADER_BYTES, DropHead, RawEnvelope, SocketPart, SocketReader, decode_drop_head, drop_head_bytes};
use postino_message::received::qmail_received;
use postino_ports::clock::Clock;
use postino_ports::event::{Event, Events};
use postino_ports::queue::{AcceptError, BodyWriter, NewEntry, Queue};
use postino_types::{BodyKind, DsnWish, Envelope, Origin, QueueId, Time};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Injections at once; more wait.
const INJECTIONS_MAX: usize = 32;
/// Of one uid, so that no local user takes all places.
const INJECTIONS_UID_MAX: usize = 24;
/// Callers that wait for a place or have one.
const CALLERS_MAX: usize = 1024;
/// Of one uid; who comes then is asked to come again. Root and the server's own account are never sent away.
const CALLERS_UID_MAX: usize = 512;
/// An envelope of more recipients waits for its turn: many of them at once would take the memory of everybody else.
const CROWD: usize = 1000;
/// Such envelopes in work at once.
static TURNS: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(1);
/// An injector that says nothing for so long is dropped.
const IDLE: Duration = Duration::from_secs(120);

/// Age at which an unfinished dropped file is leftovers (qmail-queue gives itself 24 hours).
const ABANDONED: Duration = Duration::from_secs(36 * 3600);

/// What injection needs.
#[derive(Clone)]
pub(crate) struct Door {
    /// The queue.
    pub(crate) queue: Arc<dyn Queue>,
    /// Configuration, for routing.
    pub(crate) live: Live,
    /// Time.
    pub(crate) clock: Arc<dyn Clock>,
    /// Operator's view.
    pub(crate) events: Arc<dyn Events>,
    /// Who knows more of messages that went through a program.
    pub(crate) programs: Arc<crate::queue_program::QueuePrograms>,
}

impl Door {
    fn entry(&self, raw: &RawEnvelope, uid: u32, pid: u32, arrived: Time) -> NewEntry {
        let config = self.live.get();
        let recipients = raw.recipients.iter().map(|a| postino_policy::route::make_recipient(&config, a)).collect();
        let envelope = Envelope {
            sender: raw.sender.clone(),
            recipients,
            body: BodyKind::EightBit,
            utf8: raw.sender.as_bytes().iter().chain(raw.recipients.iter().flat_map(|r| r.as_bytes())).any(|b| !b.is_ascii()),
            dsn: DsnWish::default(),
            require_tls: false,
        };
        let prepend = qmail_received(pid, crate::qmail::invoked_by(uid), arrived);
        NewEntry {
            envelope,
            origin: Origin::Local { uid },
            prepend: prepend.into(),
            arrived,
            expires: arrived.plus_secs(config.queue_lifetime_s),
        }
    }
}

/// The next caller. Want of descriptors or memory passes: the door stays, or one bad minute would end local mail until the next start.
pub(crate) async fn next_caller(listener: &tokio::net::UnixListener) -> tokio::net::UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Serves the socket until the task is ended.
pub(crate) async fn serve(listener: tokio::net::UnixListener, door: Door) {
    let callers = Arc::new(tokio::sync::Semaphore::new(CALLERS_MAX));
    let places = Arc::new(tokio::sync::Semaphore::new(INJECTIONS_MAX));
    let crowd = Crowd::default();
    loop {
        let Ok(caller) = Arc::clone(&callers).acquire_owned().await else { return };
        let stream = next_caller(&listener).await;
        let Some(seat) = stream.peer_cred().ok().and_then(|peer| crowd.seat(peer.uid())) else {
            // Its buffer is empty: one short write never waits.
            let _ = stream.try_write(b"\x47too many messages of this user at once");
            continue;
        };
        let (door, places) = (door.clone(), Arc::clone(&places));
        tokio::spawn(async move {
            let _caller = caller;
            let _taken = (seat.turns.acquire().await, places.acquire().await);
            let mut stream = stream;
            let (code, text) = match conversation(&mut stream, &door).await {
                Ok(id) => (0, id.to_string()),
                Err((code, text)) => (code, text),
            };
            let mut reply = vec![code];
            reply.extend_from_slice(text.as_bytes());
            // An injector that is gone has no use for the answer; the message is safe or refused all the same.
            let _ = stream.write_all(&reply).await;
        });
    }
}

/// The callers of each uid: how many, and their turns.
#[derive(Clone, Default)]
struct Crowd(Arc<Mutex<HashMap<u32, (usize, Turns)>>>);

type Turns = Arc<tokio::sync::Semaphore>;

/// One caller's, until it is dropped.
struct Seat {
    crowd: Crowd,
    uid: u32,
    turns: Turns,
}

impl Crowd {
    fn all(&self) -> MutexGuard<'_, HashMap<u32, (usize, Turns)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None`: this uid has enough.
    fn seat(&self, uid: u32) -> Option<Seat> {
        let is_ours = uid == 0 || uid == rustix::process::geteuid().as_raw();
        let mut all = self.all();
        let (count, turns) = all.entry(uid).or_insert_with(|| {
            let places = if is_ours { INJECTIONS_MAX } else { INJECTIONS_UID_MAX };
            (0, Arc::new(tokio::sync::Semaphore::new(places)))
        });
        if *count >= CALLERS_UID_MAX && !is_ours {
            return None;
        }
        *count += 1;
        Some(Seat { crowd: self.clone(), uid, turns: Arc::clone(turns) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.crowd.all();
        if let Some((count, _)) = all.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.uid);
            }
        }
    }
}

fn refusal(error: &AcceptError) -> (u8, String) {
    let code = match error {
        AcceptError::DiskFull | AcceptError::Io(_) => 53,
        AcceptError::TooBig(_) | AcceptError::Refused(_) => 31,
        AcceptError::Busy | AcceptError::Stopping | AcceptError::Postponed(_) => 71,
    };
    (code, error.to_string())
}

async fn conversation(stream: &mut tokio::net::UnixStream, door: &Door) -> Result<QueueId, (u8, String)> {
    let broken = |what: &dyn std::fmt::Display| (54u8, what.to_string());
    let peer = stream.peer_cred().map_err(|e| (81, e.to_string()))?;
    let pid = peer.pid().and_then(|p| u32::try_from(p).ok()).unwrap_or(0);
    let limit = door.live.get().server.limits.message_bytes_max;
    let mut reader = SocketReader::new();
    let mut buffer = vec![0u8; 65536];
    let mut envelope = None;
    let mut writer: Option<Box<dyn BodyWriter>> = None;
    loop {
        let n =
            tokio::time::timeout(IDLE, stream.read(&mut buffer)).await.map_err(|_| (52, "timeout".to_owned()))?.map_err(|e| broken(&e))?;
        if n == 0 {
            return Err((54, "the message ended too early".into()));
        }
        reader.feed(buffer.get(..n).unwrap_or_default());
        while let Some(part) = reader.next_part().map_err(|e| (u8::try_from(e.exit_code()).unwrap_or(81), e.to_string()))? {
            match part {
                SocketPart::Envelope(raw) => {
                    envelope = Some(raw);
                    writer = Some(door.queue.begin(None).map_err(|e| refusal(&e))?);
                }
                SocketPart::Body(bytes) => {
                    let writer = writer.as_mut().ok_or((91, "no envelope".to_owned()))?;
                    writer.write(&bytes).map_err(|e| refusal(&e))?;
                    if writer.len() > limit {
                        return Err((31, format!("message exceeds {limit} bytes")));
                    }
                }
                SocketPart::End => {
                    let (Some(raw), Some(writer)) = (envelope.take(), writer.take()) else { return Err((91, "no envelope".into())) };
                    let _turn = if raw.recipients.len() > CROWD { TURNS.acquire().await.ok() } else { None };
                    let mut entry = door.entry(&raw, peer.uid(), pid, door.clock.now());
                    if let Some(letter) = reader.letter() {
                        door.programs.complete(letter, &mut entry);
                    }
                    return writer.commit(entry).await.map_err(|e| refusal(&e));
                }
            }
        }
    }
}

/// Looks into the drop directory now and every few seconds, until the task is ended.
pub(crate) async fn watch_drop(drop_dir: std::path::PathBuf, door: Door) {
    let mut told = HashSet::new();
    loop {
        if let Err(e) = take_in_all(&drop_dir, &door, &mut told).await {
            door.events.emit(&Event::Warning { what: "cannot read the drop directory", detail: &format!("{}: {e}", drop_dir.display()) });
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

/// `told`: files that could not be taken in and were told of; they are tried again without a word.
async fn take_in_all(drop_dir: &Path, door: &Door, told: &mut HashSet<OsString>) -> std::io::Result<()> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(drop_dir)? {
        let name = entry?.file_name();
        // Names that begin with a dot are not finished yet; after a day and a half nobody will finish them.
        if !name.as_encoded_bytes().starts_with(b".") {
            names.push(name);
        } else if is_abandoned(&drop_dir.join(&name)) {
            // Another process may have been quicker.
            let _ = std::fs::remove_file(drop_dir.join(&name));
        }
    }
    names.sort();
    told.retain(|name| names.contains(name));
    for name in names {
        let path = drop_dir.join(&name);
        if let Err(e) = take_in(&path, door).await
            && told.insert(name)
        {
            door.events.emit(&Event::Warning { what: "cannot take in a dropped message", detail: &format!("{}: {e}", path.display()) });
        }
    }
    Ok(())
}

/// True when an unfinished file was last written longer ago than any injector runs.
fn is_abandoned(path: &Path) -> bool {
    let age = std::fs::symlink_metadata(path).ok().and_then(|m| m.modified().ok()?.elapsed().ok());
    age.is_some_and(|age| age > ABANDONED)
}

/// One dropped file: into the queue first, then removed. A crash between the two repeats the message, never loses it.
async fn take_in(path: &Path, door: &Door) -> Result<(), String> {
    let door_for_read = door.clone();
    let source = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_drop(&source, &door_for_read)).await.map_err(|e| e.to_string())?;
    let (head, uid, writer) = read?;
    let entry = door.entry(&head.envelope, uid, head.pid, head.arrived.min(door.clock.now()));
    writer.commit(entry).await.map_err(|e| e.to_string())?;
    std::fs::remove_file(path).map_err(|e| e.to_string())
}

fn read_drop(path: &Path, door: &Door) -> Result<(DropHead, u32, Box<dyn BodyWriter>), String> {
    let text = |e: std::io::Error| e.to_string();
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(careful()).open(path).map_err(text)?;
    let meta = file.metadata().map_err(text)?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err("not a plain file with one name".into());
    }
    let mut start = [0u8; DROP_HEADER_BYTES];
    file.read_exact(&mut start).map_err(text)?;
    let whole = drop_head_bytes(&start).map_err(|e| e.to_string())?;
    let mut head = start.to_vec();
    head.resize(whole, 0);
    file.read_exact(head.get_mut(DROP_HEADER_BYTES..).unwrap_or_default()).map_err(text)?;
    let head = decode_drop_head(&head).map_err(|e| e.to_string())?;
    let mut writer = door.queue.begin(Some(meta.len())).map_err(|e| e.to_string())?;
    let mut buffer = vec![0u8; 65536];
    loop {
        let n = file.read(&mut buffer).map_err(text)?;
        if n == 0 {
            break;
        }
        writer.write(buffer.get(..n).unwrap_or_default()).map_err(|e| e.to_string())?;
    }
    Ok((head, meta.uid(), writer))
}

/// A link is not followed, a FIFO not waited for.
fn careful() -> i32 {
    i32::try_from((rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_uid_takes_neither_all_places_nor_all_chairs() {
        let crowd = Crowd::default();
        let stranger = u32::MAX - 1;
        let seats: Vec<Seat> = (0..CALLERS_UID_MAX).map_while(|_| crowd.seat(stranger)).collect();
        assert_eq!(seats.len(), CALLERS_UID_MAX);
        assert!(crowd.seat(stranger).is_none() && crowd.seat(stranger - 1).is_some());
        const { assert!(INJECTIONS_UID_MAX < INJECTIONS_MAX && CALLERS_UID_MAX < CALLERS_MAX) };
        assert_eq!(seats[0].turns.available_permits(), INJECTIONS_UID_MAX);
        let own: Vec<Seat> = (0..CALLERS_MAX).map_while(|_| crowd.seat(0)).collect();
        assert_eq!((own.len(), own[0].turns.available_permits()), (CALLERS_MAX, INJECTIONS_MAX));
        drop(seats);
        drop(own);
        assert!(crowd.seat(stranger).is_some());
        assert!(crowd.all().is_empty());
    }
}
