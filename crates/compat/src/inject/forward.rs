//! Programs for dot-qmail files: forward, condredirect, bouncesaying, except, preline. They read one message, which can be read again from its
//! start, and the environment of qmail-command(8). Called by `main`; never write to the queue themselves.

use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
use crate::qq::Qq;
use postino_types::exit;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Pieces in which a message is copied, bytes.
const PIECE_BYTES: usize = 8192;

/// `forward(1)`: the message goes to the given addresses instead.
pub(crate) fn forward(args: &[OsString], home: &Path) -> Result<i32, Fatal> {
    if args.is_empty() {
        return Err(Fatal::usage("forward address ..."));
    }
    let sender = variable("NEWSENDER")?;
    send_on("forward", &sender, args, home)?;
    Ok(exit::OK)
}

/// `condredirect(1)`: the message goes elsewhere when a program says so, and nothing more is done with it here.
pub(crate) fn condredirect(args: &[OsString], home: &Path) -> Result<i32, Fatal> {
    let [address, program @ ..] = args else { return Err(Fatal::usage("condredirect newaddress program [ arg ... ]")) };
    if program.is_empty() {
        return Err(Fatal::usage("condredirect newaddress program [ arg ... ]"));
    }
    let sender = variable("SENDER")?;
    variable("DTLINE")?;
    if child(program)? != exit::OK {
        return Ok(exit::OK);
    }
    send_on("condredirect", &sender, std::slice::from_ref(address), home)?;
    Ok(exit::STOP)
}

/// `bouncesaying(1)`: refuses the message with a text, when a program says so if one is given.
pub(crate) fn bouncesaying(args: &[OsString]) -> Result<i32, Fatal> {
    let [text, program @ ..] = args else { return Err(Fatal::usage("bouncesaying error [ program [ arg ... ] ]")) };
    if !program.is_empty() && child(program)? != exit::OK {
        return Ok(exit::OK);
    }
    let _ = std::io::stderr().lock().write_all(&[text.as_bytes(), b"\n"].concat());
    Ok(exit::HARD)
}

/// `except(1)`: a program's answer turned round.
pub(crate) fn except(args: &[OsString]) -> Result<i32, Fatal> {
    if args.is_empty() {
        return Err(Fatal::usage("except program [ arg ... ]"));
    }
    Ok(if child(args)? == exit::OK { exit::HARD } else { exit::OK })
}

/// `preline(1)`: feeds a program the message with the lines of the envelope before it.
pub(crate) fn preline(args: &[OsString]) -> Result<i32, Fatal> {
    const USAGE: &str = "preline [ -frd ] program [ arg ... ]";
    let mut lines = vec![(b'f', "UFLINE"), (b'r', "RPLINE"), (b'd', "DTLINE")];
    let mut options = Getopt::new(args, b"frd", b"");
    for option in options.by_ref() {
        let Opt::Plain(given) = option else { return Err(Fatal::usage(USAGE)) };
        lines.retain(|(letter, _)| *letter != given);
    }
    let [program, rest @ ..] = options.rest() else { return Err(Fatal::usage(USAGE)) };
    let head: Vec<u8> = lines.iter().map(|(_, name)| variable(name)).collect::<Result<Vec<_>, _>>()?.concat();
    feed(program, rest, &head)
}

/// Runs a program on `head` and standard input.
pub(crate) fn feed(program: &OsStr, args: &[OsString], head: &[u8]) -> Result<i32, Fatal> {
    let mut child = Command::new(program).args(args).stdin(Stdio::piped()).spawn().map_err(|e| {
        let name = program.display();
        if is_permanent(&e) {
            Fatal::hard(format!("unable to run {name}: {}", postino_local::error_text::error_text(&e)))
        } else {
            Fatal::unable(&format!("run {name}"), &e)
        }
    })?;
    let mut into = child.stdin.take();
    let mut alive = true;
    let mut put = |bytes: &[u8]| {
        // A program may stop reading when it has seen enough.
        alive = alive && into.as_mut().is_some_and(|into| into.write_all(bytes).is_ok());
    };
    put(head);
    let copied = copy(&mut std::io::stdin().lock(), &mut put);
    drop(into);
    let status = child.wait().map_err(|e| Fatal::unable("wait", &e))?;
    copied?;
    status.code().ok_or_else(|| Fatal::soft("child crashed"))
}

/// A program on the message. Its exit code; a temporary error and a crash end this program too.
fn child(program: &[OsString]) -> Result<i32, Fatal> {
    let [name, args @ ..] = program else { return Ok(exit::OK) };
    let code = match Command::new(name).args(args).status() {
        Ok(status) => status.code().ok_or_else(|| Fatal::soft("child crashed"))?,
        Err(e) if is_permanent(&e) => exit::HARD,
        Err(_) => exit::SOFT,
    };
    if code == exit::SOFT { Err(Fatal::soft("temporary child error")) } else { Ok(code) }
}

/// A program that will not start next time either.
fn is_permanent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::NotADirectory)
}

fn variable(name: &str) -> Result<Vec<u8>, Fatal> {
    std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(|| Fatal::hard(format!("{name} not set")))
}

fn send_on(program: &str, sender: &[u8], recipients: &[OsString], home: &Path) -> Result<(), Fatal> {
    let line = variable("DTLINE")?;
    let mut message = File::from(std::io::stdin().as_fd().try_clone_to_owned().map_err(|e| Fatal::unable("read message", &e))?);
    message.seek(SeekFrom::Start(0)).map_err(|e| Fatal::unable("rewind message", &e))?;
    let mut qq = Qq::open(home).map_err(|e| Fatal::unable("fork", &e))?;
    qq.put(&line);
    copy(&mut message, &mut |bytes| qq.put(bytes))?;
    qq.from(sender);
    for recipient in recipients {
        qq.to(recipient.as_bytes());
    }
    let qp = qq.close().map_err(|refused| Fatal::refused(&refused))?;
    let _ = writeln!(std::io::stderr().lock(), "{program}: qp {qp}");
    Ok(())
}

fn copy(from: &mut impl Read, put: &mut dyn FnMut(&[u8])) -> Result<(), Fatal> {
    let mut buffer = vec![0u8; PIECE_BYTES];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => put(buffer.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Fatal::unable("read message", &e)),
        }
    }
}
