//! `maildir2mbox(1)`: moves the messages of a Maildir to an mbox file, for programs that read nothing else. $MAILDIR and $MAIL say where. A message leaves the Maildir only when the mbox with it is on stable storage.

use crate::fatal::Fatal;
use crate::maildir;
use rustix::fs::FlockOperation;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Lines are cut into pieces of this length, bytes.
const PIECE_BYTES: u64 = 8192;

pub(crate) fn run() -> Result<(), Fatal> {
    let (maildir, mail) = (variable("MAILDIR")?, variable("MAIL")?);
    let messages = messages(&maildir).map_err(|e| Fatal::unable("scan $MAILDIR", &e))?;
    if messages.is_empty() {
        return Ok(());
    }
    // In place and under the lock that deliveries take: a new file in its stead would lose what they write to the old one.
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&mail).map_err(|e| Fatal::unable("open $MAIL", &e))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| Fatal::unable("lock $MAIL", &e.into()))?;
    let length = file.metadata().map_err(|e| Fatal::unable("read $MAIL", &e))?.len();
    if let Err(error) = write(&messages, &file) {
        let _ = file.set_len(length);
        return Err(Fatal::unable("write $MAIL", &error));
    }
    let parent = mail.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    postino_disk::sync_dir(parent).map_err(|e| Fatal::unable("sync $MAIL", &e))?;
    for message in &messages {
        fs::remove_file(message).map_err(|e| Fatal::unable("remove a message of $MAILDIR", &e))?;
    }
    Ok(())
}

fn variable(name: &str) -> Result<PathBuf, Fatal> {
    std::env::var_os(name).map(PathBuf::from).ok_or_else(|| Fatal::soft(format!("{name} not set")))
}

/// The messages, oldest first.
fn messages(maildir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(u64, OsString, PathBuf)> = Vec::new();
    for folder in ["cur", "new"] {
        maildir::each_file(maildir, folder, &mut |path, metadata| {
            let name = path.file_name().unwrap_or_default().to_owned();
            if metadata.is_file() {
                found.push((postino_control::classic::number(name.as_bytes()).unwrap_or(0), name, maildir.join(path)));
            }
        })?;
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

fn write(messages: &[PathBuf], mail: &File) -> io::Result<()> {
    let mut out = BufWriter::new(mail);
    for message in messages {
        append(message, &mut out)?;
    }
    out.flush()?;
    drop(out);
    mail.sync_all()
}

fn append(message: &Path, out: &mut impl Write) -> io::Result<()> {
    let file = File::open(message)?;
    let changed = file.metadata()?.modified()?.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    let piece = |input: &mut BufReader<File>, line: &mut Vec<u8>| {
        line.clear();
        io::Read::take(input, PIECE_BYTES).read_until(b'\n', line)
    };
    piece(&mut input, &mut line)?;
    let sender = line.strip_prefix(b"Return-Path: <").and_then(|rest| rest.strip_suffix(b">\n")).unwrap_or_default();
    let sender: Vec<u8> = sender.iter().map(|b| if b.is_ascii_whitespace() { b'-' } else { *b }).collect();
    let sender = if sender.is_empty() { b"MAILER-DAEMON" } else { sender.as_slice() };
    let date = postino_message::date::asctime(postino_types::time::Time::from_secs(i64::try_from(changed).unwrap_or(0)));
    out.write_all(&[b"From ", sender, b" ", date.as_bytes(), b"\n"].concat())?;
    let mut begins = true;
    while !line.is_empty() {
        let quoted =
            line.iter().position(|b| *b != b'>').and_then(|start| line.get(start..)).is_some_and(|rest| rest.starts_with(b"From "));
        if begins && quoted {
            out.write_all(b">")?;
        }
        out.write_all(&line)?;
        begins = line.last() == Some(&b'\n');
        piece(&mut input, &mut line)?;
    }
    out.write_all(if begins { b"\n" } else { b"\n\n" })
}
