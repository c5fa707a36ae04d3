//! The half of the import that owns the queue: reads messages in frames from standard input, accepts them by the queue's one door, and notes in
//! `queue/imported` what is safe. Started by the import as a process of its own, since it works as the queue's owner and the other half reads as root.

use crate::cli::Place;
use anyhow::{Context, bail};
use bytes::Bytes;
use postino_control::Config;
use postino_disk::AppendFile;
use postino_message::dsn::{self, Action, Kind, Notice, Reported};
use postino_ports::body::Body;
use postino_ports::queue::{AcceptError, BodyWriter, NewEntry, Queue};
use postino_queue::QueueStore;
use postino_types::status::EnhancedStatus;
use postino_types::{Address, BodyKind, Channel, DsnWish, Envelope, Origin, QueueId, Recipient, ReversePath, Routed, Time};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Messages that are accepted together.
const GROUP: usize = 64;
/// Largest frame header.
const HEAD_BYTES_MAX: u32 = 256 << 20;
/// Largest journal: some million messages.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// One message on its way from half to half: fields ended by NUL, as qmail has them, then the body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Identity: inode, size and birth of the message file.
    pub(super) key: String,
    pub(super) birth_s: i64,
    pub(super) body_bytes: u64,
    pub(super) sender: Vec<u8>,
    /// `U` unrouted, `L` local, `R` remote; and the address.
    pub(super) recipients: Vec<(u8, Vec<u8>)>,
    pub(super) failures: Vec<u8>,
}

impl Head {
    pub(super) fn encode(&self) -> anyhow::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for field in [self.key.clone(), self.birth_s.to_string(), self.body_bytes.to_string(), self.failures.len().to_string()] {
            bytes.extend_from_slice(field.as_bytes());
            bytes.push(0);
        }
        bytes.extend_from_slice(&self.sender);
        bytes.push(0);
        for (kind, address) in &self.recipients {
            bytes.push(*kind);
            bytes.extend_from_slice(address);
            bytes.push(0);
        }
        bytes.push(0);
        bytes.extend_from_slice(&self.failures);
        let length =
            u32::try_from(bytes.len()).ok().filter(|n| *n <= HEAD_BYTES_MAX).context("an envelope of this size cannot be moved")?;
        Ok([length.to_le_bytes().as_slice(), &bytes].concat())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut field = || {
            let at = rest.iter().position(|&b| b == 0)?;
            let (field, tail) = rest.split_at_checked(at)?;
            rest = tail.get(1..)?;
            Some(field)
        };
        let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
        let key = String::from_utf8(field()?.to_vec()).ok()?;
        let birth_s = number(field()?)?;
        let body_bytes = u64::try_from(number(field()?)?).ok()?;
        let failures_bytes = usize::try_from(number(field()?)?).ok()?;
        let sender = field()?.to_vec();
        let mut recipients = Vec::new();
        loop {
            match field()?.split_first() {
                None => break,
                Some((kind, address)) => recipients.push((*kind, address.to_vec())),
            }
        }
        let failures = rest.to_vec();
        (failures.len() == failures_bytes).then_some(Self { key, birth_s, body_bytes, sender, recipients, failures })
    }
}

/// Runs until standard input ends. Prints a line a message: `done KEY`, `known KEY`, or `failed KEY: why`.
pub(crate) fn run(place: &Place) -> anyhow::Result<i32> {
    let home = place.home();
    let config = crate::cli::load(&home)?;
    crate::home::become_queue_owner(&home)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = crate::compose::open_queue(&config, Arc::new(crate::clock::SystemClock::new()))?;
        let (mut journal, noted) = AppendFile::open(&home.join("queue/imported"), JOURNAL_BYTES_MAX)
            .context("cannot open queue/imported, the import's journal")?;
        if noted.last().is_some_and(|&b| b != b'\n') {
            journal.append(b"\n").context("cannot write queue/imported")?;
        }
        let mut intake = Intake {
            config,
            spool: home.join("queue"),
            known: keys(&noted),
            unnoted: unnoted(&store).await?,
            store: Arc::clone(&store),
            journal,
            group: tokio::task::JoinSet::new(),
        };
        let ended = intake.take_all().await;
        store.stop().await;
        ended
    })?;
    Ok(0)
}

/// A last line that a crash tore is none.
fn keys(journal: &[u8]) -> HashSet<String> {
    let whole = journal.iter().rposition(|&b| b == b'\n').and_then(|end| journal.get(..end)).unwrap_or_default();
    String::from_utf8_lossy(whole).lines().map(str::to_owned).collect()
}

/// What waits by arrival, sender and size: a crash after an accept and before its note is found by them. Many messages of one second can share them
/// (cron's), so recipients and body decide.
type Marks = HashMap<(i64, Vec<u8>, u64), Vec<(QueueId, Vec<Address>)>>;

async fn unnoted(store: &Arc<QueueStore>) -> anyhow::Result<Marks> {
    let mut marks = Marks::new();
    let mut after = QueueId(0);
    loop {
        let page = store.list(after, 500).await?;
        let Some(last) = page.last() else { return Ok(marks) };
        after = last.id;
        for entry in page {
            let mark = (entry.arrived.0, entry.envelope.sender.as_bytes().to_vec(), entry.body_bytes);
            marks.entry(mark).or_default().push((entry.id, addresses(&entry.envelope.recipients)));
        }
    }
}

struct Intake {
    config: Config,
    /// Where bodies are held on their way.
    spool: PathBuf,
    store: Arc<QueueStore>,
    journal: AppendFile,
    known: HashSet<String>,
    unnoted: Marks,
    group: tokio::task::JoinSet<Result<String, AcceptError>>,
}

impl Intake {
    async fn take_all(&mut self) -> anyhow::Result<()> {
        let mut input = std::io::stdin().lock();
        while let Some(head) = next_head(&mut input)? {
            let is_known = self.known.contains(&head.key);
            if is_known && !self.unnoted.contains_key(&mark(&head)) {
                skip(&mut input, head.body_bytes)?;
                self.note(&[head.key], "known")?;
                continue;
            }
            let body = read_body(&self.spool, &mut input, head.body_bytes)?;
            // One that is known takes its own entry out, so that it stands for no other message.
            if self.was_accepted(&head, &body).await? || is_known {
                self.note(&[head.key], "known")?;
                continue;
            }
            self.take(head, &body)?;
            if self.group.len() >= GROUP {
                self.finish_group().await?;
            }
        }
        self.finish_group().await
    }

    /// Accepted by a run that was killed before it could note it. Its entry is found once.
    async fn was_accepted(&mut self, head: &Head, body: &std::fs::File) -> anyhow::Result<bool> {
        let mark = mark(head);
        let (Some(waiting), Ok((_, recipients))) = (self.unnoted.get(&mark), envelope(&self.config, head)) else { return Ok(false) };
        let recipients = addresses(&recipients);
        let mut found = None;
        for (id, theirs) in waiting {
            if *theirs == recipients && is_same(self.store.open(*id).await?, body)? {
                found = Some(*id);
                break;
            }
        }
        if let (Some(found), Some(waiting)) = (found, self.unnoted.get_mut(&mark)) {
            waiting.retain(|(id, _)| *id != found);
        }
        Ok(found.is_some())
    }

    fn take(&mut self, head: Head, body: &std::fs::File) -> anyhow::Result<()> {
        let (sender, recipients) = match envelope(&self.config, &head) {
            Ok(parts) => parts,
            Err(error) => return self.say(&format!("failed {}: {error:#}", head.key)),
        };
        let mut writers: Vec<(Box<dyn BodyWriter>, NewEntry)> = Vec::new();
        if let Some((text, to)) = notice(&self.config, &head, &sender) {
            let mut writer = self.store.begin(None)?;
            writer.write(&text)?;
            copy(body, writer.as_mut())?;
            let recipients = vec![postino_policy::route::make_recipient(&self.config, &to)];
            writers.push((writer, self.entry(ReversePath::Null, recipients, now())));
        }
        if !recipients.is_empty() {
            let mut writer = self.store.begin(Some(head.body_bytes))?;
            copy(body, writer.as_mut())?;
            writers.push((writer, self.entry(sender, recipients, Time::from_secs(head.birth_s))));
        }
        let key = head.key;
        self.group.spawn(async move {
            // The notice first: seen by the next run, the message itself says that both are there.
            for (writer, entry) in writers {
                writer.commit(entry).await?;
            }
            Ok(key)
        });
        Ok(())
    }

    fn entry(&self, sender: ReversePath, recipients: Vec<Recipient>, arrived: Time) -> NewEntry {
        let utf8 = sender.as_bytes().iter().chain(recipients.iter().flat_map(|r| r.address.as_bytes())).any(|b| !b.is_ascii());
        let envelope = Envelope { sender, recipients, body: BodyKind::EightBit, utf8, dsn: DsnWish::default(), require_tls: false };
        let expires = arrived.plus_secs(self.config.queue_lifetime_s);
        let origin = Origin::Local { uid: rustix::process::geteuid().as_raw() };
        NewEntry { envelope, origin, prepend: Bytes::new(), arrived, expires }
    }

    async fn finish_group(&mut self) -> anyhow::Result<()> {
        let mut keys = Vec::new();
        let mut failed = None;
        while let Some(ended) = self.group.join_next().await {
            match ended.context("an accept was interrupted")? {
                Ok(key) => keys.push(key),
                Err(error) => failed = Some(error),
            }
        }
        self.note(&keys, "done")?;
        failed.map_or(Ok(()), |error| Err(error).context("the queue did not take a message"))
    }

    fn note(&mut self, keys: &[String], word: &str) -> anyhow::Result<()> {
        let new: Vec<&String> = keys.iter().filter(|key| !self.known.contains(*key)).collect();
        if !new.is_empty() {
            let lines: String = new.iter().map(|key| format!("{key}\n")).collect();
            self.journal.append(lines.as_bytes()).context("cannot write queue/imported")?;
        }
        for key in keys {
            self.say(&format!("{word} {key}"))?;
            self.known.insert(key.clone());
        }
        Ok(())
    }

    fn say(&self, line: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", postino_types::printable::one_line(line)).and_then(|()| out.flush()).context("the import went away")
    }
}

fn mark(head: &Head) -> (i64, Vec<u8>, u64) {
    (Time::from_secs(head.birth_s).0, head.sender.clone(), head.body_bytes)
}

fn addresses(recipients: &[Recipient]) -> Vec<Address> {
    recipients.iter().map(|recipient| recipient.address.clone()).collect()
}

fn envelope(config: &Config, head: &Head) -> anyhow::Result<(ReversePath, Vec<Recipient>)> {
    let sender = ReversePath::from_bytes(&head.sender).context("its sender is no address")?;
    let recipients = head.recipients.iter().map(|(kind, address)| recipient(config, *kind, address));
    Ok((sender, recipients.collect::<Result<Vec<_>, _>>().context("a recipient is no address")?))
}

fn now() -> Time {
    use postino_ports::clock::Clock as _;
    crate::clock::SystemClock::new().now()
}

/// A message's bytes: held, since two entries may want them, in a file without a name when they are many.
fn read_body(dir: &Path, input: &mut impl Read, bytes: u64) -> anyhow::Result<std::fs::File> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::CLOEXEC;
    let fd = rustix::fs::open(dir, flags, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .with_context(|| format!("no temporary file in {}", dir.display()))?;
    let mut file = std::fs::File::from(fd);
    let copied = std::io::copy(&mut input.take(bytes), &mut file)?;
    if copied != bytes {
        bail!("the import stopped in the middle of a message");
    }
    Ok(file)
}

fn copy(body: &std::fs::File, writer: &mut dyn BodyWriter) -> anyhow::Result<()> {
    use std::os::unix::fs::FileExt as _;
    let mut buffer = vec![0u8; CHUNK];
    let mut at = 0u64;
    loop {
        let n = body.read_at(&mut buffer, at)?;
        if n == 0 {
            return Ok(());
        }
        writer.write(buffer.get(..n).unwrap_or_default())?;
        at += u64::try_from(n)?;
    }
}

/// Is an entry's body the same, byte for byte?
fn is_same(theirs: Option<Body>, ours: &std::fs::File) -> anyhow::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let Some(theirs) = theirs else { return Ok(false) };
    let mut same = ours.metadata()?.len() == theirs.len();
    let (mut buffer, mut at) = (Vec::new(), 0u64);
    theirs.for_each_chunk(|chunk| {
        if same {
            buffer.resize(chunk.len(), 0);
            ours.read_exact_at(&mut buffer, at)?;
            same = buffer == chunk;
            at = at.saturating_add(chunk.len() as u64);
        }
        Ok(())
    })?;
    Ok(same)
}

/// Routed anew. An address that a virtual domain's prefix stands before keeps its way, whatever the new configuration says.
fn recipient(config: &Config, kind: u8, address: &[u8]) -> anyhow::Result<Recipient> {
    let stored = Address::from_bytes(address)?;
    if kind != b'L' {
        return Ok(postino_policy::route::make_recipient(config, &stored));
    }
    let original = postino_policy::route::strip_virtual_prefix(config, &stored);
    let is_same = |r: &Recipient| r.routed.channel == Channel::Local && r.routed.address == stored;
    let made = [&original, &stored].map(|address| postino_policy::route::make_recipient(config, address)).into_iter().find(is_same);
    Ok(made.unwrap_or_else(|| Recipient {
        address: original,
        routed: Routed { channel: Channel::Local, address: stored },
        notify: postino_types::Notify::default(),
        original: None,
    }))
}

/// The opening of a bounce for failures that qmail had gathered and not sent yet, and whom it goes to.
fn notice(config: &Config, head: &Head, sender: &ReversePath) -> Option<(Vec<u8>, Address)> {
    let ReversePath::Address(to) = sender else { return None };
    let to = Address::from_bytes(to.as_bytes().strip_suffix(b"-@[]").unwrap_or(to.as_bytes())).ok()?;
    let paragraphs: Vec<(Address, Vec<u8>)> = paragraphs(&head.failures);
    let recipients: Vec<Reported<'_>> = paragraphs.iter().map(|(address, text)| reported(address, text)).collect();
    if recipients.is_empty() {
        return None;
    }
    let notice = Notice {
        kind: Kind::Failure,
        now: now(),
        bouncefrom: &config.bouncefrom,
        bouncehost: &config.bouncehost,
        to: &to,
        sender: &ReversePath::Address(to.clone()),
        recipients: &recipients,
    };
    Some((dsn::qsbmf::opening(&notice), to.clone()))
}

fn reported<'a>(address: &'a Address, text: &'a [u8]) -> Reported<'a> {
    let said = dsn::report::status_in(&String::from_utf8_lossy(text)).filter(|status| status.class == 5);
    let status = said.unwrap_or(EnhancedStatus { class: 5, subject: 0, detail: 0 });
    Reported { address, original: None, action: Action::Failed, status, text, last_attempt: None }
}

/// `<address>:`, lines, an empty line; again.
fn paragraphs(failures: &[u8]) -> Vec<(Address, Vec<u8>)> {
    let mut found = Vec::new();
    let mut lines = failures.split(|&b| b == b'\n');
    while let Some(line) = lines.next() {
        let Some(address) = line.strip_prefix(b"<").and_then(|l| l.strip_suffix(b">:")) else { continue };
        let text: Vec<&[u8]> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        if let Ok(address) = Address::from_bytes(address) {
            found.push((address, [text.join(&b'\n'), b"\n".to_vec()].concat()));
        }
    }
    found
}

fn next_head(input: &mut impl Read) -> anyhow::Result<Option<Head>> {
    let mut length = [0u8; 4];
    if let Err(error) = input.read_exact(&mut length) {
        return if error.kind() == std::io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error.into()) };
    }
    let length = u32::from_le_bytes(length);
    if length > HEAD_BYTES_MAX {
        bail!("a frame of {length} bytes");
    }
    let mut bytes = Vec::new();
    input.take(length.into()).read_to_end(&mut bytes)?;
    Head::decode(&bytes).map(Some).context("a frame that the import did not write")
}

fn skip(input: &mut impl Read, bytes: u64) -> anyhow::Result<()> {
    let skipped = std::io::copy(&mut input.take(bytes), &mut std::io::sink())?;
    if skipped == bytes { Ok(()) } else { bail!("the import stopped in the middle of a message") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let head = Head {
            key: "11 4 5".into(),
            birth_s: -5,
            body_bytes: 77,
            sender: b"s\xff@x".to_vec(),
            recipients: vec![(b'L', b"a b@y".to_vec()), (b'R', b"r@z".to_vec())],
            failures: b"<a@y>:\n\0no\n\n".to_vec(),
        };
        let mut bytes = head.encode().unwrap();
        assert_eq!(next_head(&mut bytes.as_slice()).unwrap(), Some(head));
        bytes.pop();
        assert!(next_head(&mut bytes.as_slice()).is_err());
        assert_eq!(next_head(&mut [].as_slice()).unwrap(), None);
    }

    #[test]
    fn a_torn_note_does_not_count() {
        assert_eq!(keys(b"1 2 3\n4 5 6\n7 8"), ["1 2 3".to_owned(), "4 5 6".to_owned()].into());
        assert!(keys(b"7 8").is_empty());
    }

    #[test]
    fn failures_of_qmail_are_read() {
        let found = paragraphs(b"<a@x>:\nSorry, no. (#5.1.1)\nGiving up.\n\n<b@x>:\nno\n\n");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].1, b"Sorry, no. (#5.1.1)\nGiving up.\n");
        assert_eq!(reported(&found[0].0, &found[0].1).status, EnhancedStatus { class: 5, subject: 1, detail: 1 });
    }
}
