//! qmail's queue, read: `queue/{mess,info,local,remote,todo,bounce}` (qmail's INTERNALS: states S4 and S5). Called by the import. Never writes there,
//! never follows a link.

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Largest envelope or bounce file that is read, bytes; qmail's own are far smaller.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A waiting message.
pub(super) struct Waiting {
    /// The message file.
    pub(super) file: File,
    /// What it is called in reports, `mess/11/4711`.
    pub(super) name: String,
    /// Its inode and size: with `birth_s` the message's identity.
    pub(super) inode: u64,
    pub(super) bytes: u64,
    /// Unix time at which qmail took it.
    pub(super) birth_s: i64,
    /// Envelope sender as written: empty, `#@[]`, an address, perhaps with a VERP suffix `-@[]`.
    pub(super) sender: Vec<u8>,
    /// Recipients that were not routed yet (from `todo`).
    pub(super) unrouted: Vec<Vec<u8>>,
    /// Pending recipients of `local`, with the virtual domain's prefix.
    pub(super) local: Vec<Vec<u8>>,
    /// Pending recipients of `remote`.
    pub(super) remote: Vec<Vec<u8>>,
    /// Failures that the sender was not told yet, as paragraphs of the bounce.
    pub(super) failures: Vec<u8>,
}

/// The lock that qmail-send holds while it runs (our own engine too).
pub(super) enum Lock {
    /// Ours as long as this lives; `None`: there is no such file, so nothing ever ran here.
    Free(Option<File>),
    /// qmail-send runs.
    Taken,
}

/// Takes that lock, so that qmail-send does not begin meanwhile.
pub(super) fn lock(queue: &Path) -> anyhow::Result<Lock> {
    let Some(file) = hold(&queue.join("lock/sendmutex"))? else { return Ok(Lock::Free(None)) };
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Free(Some(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Lock::Taken),
        Err(error) => Err(error).context("cannot try lock/sendmutex"),
    }
}

/// All messages, by directory and number. What is no message of a legal state is named in the second list.
pub(super) fn list(queue: &Path) -> anyhow::Result<(Vec<PathBuf>, Vec<String>)> {
    let mess = queue.join("mess");
    let (mut found, mut strange) = (Vec::new(), Vec::new());
    for folder in sorted(&mess)? {
        if !folder.metadata()?.is_dir() {
            strange.push(format!("{}: no directory", folder.display()));
            continue;
        }
        for file in sorted(&folder)? {
            let is_number = file.file_name().is_some_and(|n| n.as_encoded_bytes().iter().all(u8::is_ascii_digit));
            if is_number { found.push(file) } else { strange.push(format!("{}: no message of qmail's", file.display())) }
        }
    }
    Ok((found, strange))
}

fn sorted(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths = read.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

/// Reads one message's state. `None`: it was never queued (its envelope is missing: S2 or S3), or everything is done.
pub(super) fn read(queue: &Path, mess: &Path) -> anyhow::Result<Option<Waiting>> {
    let number = mess.file_name().context("a message file has a name")?;
    let folder = mess.parent().and_then(Path::file_name).context("a message lies in a folder")?;
    let file = hold(mess)?.with_context(|| format!("{} went away", mess.display()))?;
    let meta = file.metadata()?;
    let mut waiting = Waiting {
        file,
        name: format!("mess/{}/{}", folder.to_string_lossy(), number.to_string_lossy()),
        inode: meta.ino(),
        bytes: meta.len(),
        birth_s: meta.mtime(),
        sender: Vec::new(),
        unrouted: Vec::new(),
        local: Vec::new(),
        remote: Vec::new(),
        failures: Vec::new(),
    };
    if let Some((envelope, _)) = small(&queue.join("todo").join(number))? {
        // Not preprocessed yet: info, local and remote, if there are any, are leftovers.
        read_todo(&envelope, &mut waiting).with_context(|| format!("todo/{}", number.to_string_lossy()))?;
        return Ok(Some(waiting));
    }
    let split = |kind: &str| queue.join(kind).join(folder).join(number);
    let Some((info, born)) = small(&split("info"))? else { return Ok(None) };
    let sender = info.strip_prefix(b"F").and_then(|rest| rest.split(|&b| b == 0).next());
    waiting.sender = sender.with_context(|| format!("info/{}: no sender", number.to_string_lossy()))?.to_vec();
    waiting.birth_s = born;
    for (kind, list) in [("local", &mut waiting.local), ("remote", &mut waiting.remote)] {
        let records = small(&split(kind))?.map(|(bytes, _)| bytes).unwrap_or_default();
        *list = pending(&records).with_context(|| format!("{kind}/{}", number.to_string_lossy()))?;
    }
    waiting.failures = small(&queue.join("bounce").join(number))?.map(|(bytes, _)| bytes).unwrap_or_default();
    Ok(Some(waiting))
}

fn read_todo(envelope: &[u8], waiting: &mut Waiting) -> anyhow::Result<()> {
    for record in records(envelope)? {
        match record.split_first() {
            Some((b'F', sender)) => waiting.sender = sender.to_vec(),
            Some((b'T', recipient)) => waiting.unrouted.push(recipient.to_vec()),
            Some((b'u' | b'p', _)) => {}
            _ => bail!("a record that qmail does not write"),
        }
    }
    Ok(())
}

/// `T` waits, `D` is done.
fn pending(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut list = Vec::new();
    for record in records(bytes)? {
        match record.split_first() {
            Some((b'T', recipient)) => list.push(recipient.to_vec()),
            Some((b'D', _)) => {}
            _ => bail!("a record that qmail does not write"),
        }
    }
    Ok(list)
}

/// Records that end with NUL; a torn one at the end is an error, since it was never written so.
fn records(bytes: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let Some(whole) = bytes.strip_suffix(b"\0") else {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        bail!("torn at its end")
    };
    Ok(whole.split(|&b| b == 0).collect())
}

/// A regular file's bytes and time; `None`: not there.
fn small(path: &Path) -> anyhow::Result<Option<(Vec<u8>, i64)>> {
    let Some(file) = hold(path)? else { return Ok(None) };
    let meta = file.metadata()?;
    if meta.len() > FILE_BYTES_MAX {
        bail!("{}: larger than anything qmail writes", path.display());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Some((bytes, meta.mtime())))
}

fn hold(path: &Path) -> anyhow::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => {
            let file = File::from(fd);
            if !file.metadata()?.is_file() {
                bail!("{} is no regular file", path.display());
            }
            Ok(Some(file))
        }
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn done_recipients_are_left_out_and_torn_files_are_errors() {
        assert_eq!(pending(b"Tjoe@a\0Dann@a\0Tx@b\0").unwrap(), [b"joe@a".to_vec(), b"x@b".to_vec()]);
        assert!(pending(b"").unwrap().is_empty());
        assert!(pending(b"Tjoe@a\0Tx").is_err());
        assert!(pending(b"Xjoe\0").is_err());
    }

    #[test]
    fn each_state_of_a_message_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let queue = dir.path();
        for folder in ["mess/3", "info/3", "local/3", "remote/3", "todo", "bounce"] {
            std::fs::create_dir_all(queue.join(folder)).unwrap();
        }
        for number in ["3", "26", "49"] {
            std::fs::write(queue.join("mess/3").join(number), "body").unwrap();
        }
        std::fs::write(queue.join("info/3/3"), b"Fs@x\0").unwrap();
        std::fs::write(queue.join("remote/3/3"), b"Da@y\0Tb@y\0").unwrap();
        std::fs::write(queue.join("bounce/3"), b"<a@y>:\nno\n\n").unwrap();
        std::fs::write(queue.join("todo/26"), b"u500\0p77\0Fs@x\0Ta@here\0").unwrap();
        let read = |number: &str| read(queue, &queue.join("mess/3").join(number)).unwrap();
        let first = read("3").unwrap();
        assert_eq!((first.sender.as_slice(), first.remote, first.local.len()), (b"s@x".as_slice(), vec![b"b@y".to_vec()], 0));
        assert_eq!(first.failures, b"<a@y>:\nno\n\n");
        let second = read("26").unwrap();
        assert_eq!((second.unrouted, second.failures.len()), (vec![b"a@here".to_vec()], 0));
        assert!(read("49").is_none(), "a message without an envelope was never accepted");
        assert_eq!(list(queue).unwrap().0.len(), 3);
    }
}
