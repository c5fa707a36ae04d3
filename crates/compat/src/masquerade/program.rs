//! `qmail-masq`, which stands before qmail-queue (as $QMAILQUEUE: message on descriptor 0, envelope on 1) or before qmail-remote (as
//! $QMAILREMOTE: host, sender and recipients as words, message on descriptor 0). Called by `main`; never decides whether a message is taken.

use super::Masked;
use crate::fatal::Fatal;
use crate::home::read_if_there;
use crate::qmail::queue::{DEATH, read_body, read_envelope};
use crate::qq::{Qq, Refused};
use crate::spool::Spool;
use crate::{fatal, home};
use postino_control::raw::Raw;
use postino_control::{Config, load};
use postino_local::inject::RawEnvelope;
use postino_message::masquerade::{Fields, HeaderRewriter};
use postino_policy::route;
use postino_types::{Address, Channel, exit};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The files that say where an address goes and what it is called outside. No other is asked: the caller may not be allowed to read it.
const FILES: [&str; 6] = ["me", "envnoathost", "percenthack", "locals", "virtualdomains", "masquerade"];

/// How many of us stand above this one. A program that queues a note of its own from below makes two; more is our name leading back to us.
const DEPTH: &str = "POSTINO_MASQ";
const DEPTH_MAX: u8 = 4;

/// qmail-queue's exit codes used here.
mod code {
    /// Permanently refused.
    pub(super) const REFUSED: i32 = 31;
    /// Out of memory, or a bug.
    pub(super) const TROUBLE: i32 = 81;
    /// A control file cannot be read.
    pub(super) const CONTROLS: i32 = 55;
    /// The queue did not take it now.
    pub(super) const LATER: i32 = 71;
}

/// The program.
pub(crate) fn run(args: &[OsString]) -> i32 {
    let home = home::choose();
    if above() >= DEPTH_MAX {
        return lost(args);
    }
    match args {
        [] => before_queue(&home).err().unwrap_or(exit::OK),
        [_, _, _, ..] => fatal::ended("qmail-masq", before_remote(args, &home)),
        _ => fatal::main("qmail-masq", Err(Fatal::usage("qmail-masq [ host sender recipient ... ]"))),
    }
}

/// Somebody put us under the name of the program that we run.
fn lost(args: &[OsString]) -> i32 {
    let name = if args.is_empty() { "qmail-queue" } else { "qmail-remote" };
    let reason = format!("bin/{name} leads back to qmail-masq; keep the original as bin/{name}-real");
    let code = fatal::main("qmail-masq", Err(Fatal::soft(reason)));
    if args.is_empty() { code::LATER } else { code }
}

fn above() -> u8 {
    std::env::var(DEPTH).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

/// What the programs below are told.
fn depth() -> (&'static str, String) {
    (DEPTH, above().saturating_add(1).to_string())
}

/// The name that scripts give to a program that they have put another before.
fn real(home: &Path, name: &str) -> PathBuf {
    let real = home.join("bin").join(format!("{name}-real"));
    if real.is_file() { real } else { home.join("bin").join(name) }
}

fn before_remote(args: &[OsString], home: &Path) -> Result<i32, Fatal> {
    let table = super::read(home).map_err(|e| Fatal::soft(format!("unable to use control/masquerade: {e}")))?;
    let mut words = args.to_vec();
    if let Some(sender) = words.get_mut(1) {
        let outside = Address::from_bytes(sender.as_bytes()).ok().and_then(|address| table.outside(&address));
        *sender = outside.map_or_else(|| sender.clone(), |new| OsString::from_vec(new.as_bytes().to_vec()));
    }
    let program = real(home, "qmail-remote");
    let mut child = Command::new(&program)
        .args(words)
        .envs([depth()])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|e| Fatal::unable("run qmail-remote", &e))?;
    if let Some(mut pipe) = child.stdin.take() {
        match io::copy(&mut Masked::new(io::stdin().lock(), &table), &mut pipe) {
            // It needed no more of it: its report says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => {
                // Half a message must not look like a whole one to the other side.
                let _ = child.kill();
                let _ = child.wait();
                return Err(Fatal::unable("read message", &error));
            }
            Ok(_) => {}
        }
    }
    let status = child.wait().map_err(|e| Fatal::unable("wait for qmail-remote", &e))?;
    Ok(status.code().unwrap_or(exit::SOFT))
}

fn before_queue(home: &Path) -> Result<(), i32> {
    let deadline = Instant::now() + DEATH;
    let config = controls(home).map_err(|()| code::CONTROLS)?;
    let mut body = read_body(rustix::stdio::stdin(), deadline, home)?;
    let envelope = read_envelope(rustix::stdio::stdout(), deadline)?;
    let envelope = RawEnvelope::decode(&envelope).map_err(|e| e.exit_code())?;
    let is_remote = |address: &&Address| route::route(&config, address).channel == Channel::Remote;
    let (out, here): (Vec<&Address>, Vec<&Address>) = envelope.recipients.iter().partition(is_remote);
    if !out.is_empty() {
        let sender = match &envelope.sender {
            postino_types::ReversePath::Address(address) => config.masquerade.outside(address),
            _ => None,
        };
        let sender = sender.map_or_else(|| envelope.sender.as_bytes().to_vec(), |new| new.as_bytes().to_vec());
        queue(home, &mut body, Some(&config), (&sender, &out))?;
    }
    if !here.is_empty() || out.is_empty() {
        queue(home, &mut body, None, (envelope.sender.as_bytes(), &here))?;
    }
    Ok(())
}

fn controls(home: &Path) -> Result<Config, ()> {
    let mut raw = Raw { home: home.to_path_buf(), ..Raw::default() };
    for name in FILES {
        if let Some(bytes) = read_if_there(&home.join("control").join(name)).map_err(drop)? {
            raw.files.insert(name, bytes);
        }
    }
    load::resolve(&raw).map(|loaded| loaded.config).map_err(|problems| {
        for problem in problems {
            let _ = writeln!(io::stderr().lock(), "qmail-masq: {problem}");
        }
    })
}

/// Queues the message for these recipients, with the table's addresses when there is one.
fn queue(home: &Path, body: &mut Spool, masquerade: Option<&Config>, (sender, to): (&[u8], &[&Address])) -> Result<(), i32> {
    let (name, depth) = depth();
    let mut qq = Qq::open_with(home, &real(home, "qmail-queue"), (name, &depth)).map_err(|_| code::LATER)?;
    let read = match masquerade.map(|config| &config.masquerade) {
        None => body.for_each_chunk(&mut |chunk| {
            qq.put(chunk);
            Ok(())
        }),
        Some(table) => {
            let fields = if table.rewrites_recipients() { Fields::All } else { Fields::Senders };
            let mut rewriter = HeaderRewriter::new(fields);
            let map = |address: &_| table.outside(address);
            let mut out = Vec::new();
            let read = body.for_each_chunk(&mut |chunk| {
                rewriter.feed(chunk, &map, &mut out);
                qq.put(&out);
                out.clear();
                Ok(())
            });
            rewriter.finish(&map, &mut out);
            qq.put(&out);
            read
        }
    };
    if read.is_err() {
        qq.fail();
        return Err(code::TROUBLE);
    }
    qq.from(sender);
    to.iter().for_each(|address| qq.to(address.as_bytes()));
    qq.close().map(drop).map_err(|Refused { hard, .. }| if hard { code::REFUSED } else { code::LATER })
}
