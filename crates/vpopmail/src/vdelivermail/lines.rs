//! The lines that vdelivermail follows: a user's `.qmail` files and alias lines of a database: programs, Maildirs, forwards (spec of vdelivermail, not of
//! dot-qmail(5): no mbox, no `+list`, no owner). Durable; runs as the domain's owner.

use super::{Delivery, Stop, small};
use postino_disk::RealDisk;
use postino_disk::maildir_file::{Earlier, MaildirFile, deliver};
use postino_local::mailbox_quota::{self, Admitted, Limited};
use postino_types::account::Quota;
use postino_types::exit;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whose lines they are.
pub(super) struct Place {
    /// Where `./` begins.
    pub(super) home: PathBuf,
    /// For Delivered-To.
    pub(super) address: String,
    /// DEFAULT for programs.
    pub(super) default: Option<String>,
    /// The account's quota, for its own Maildir.
    pub(super) owner: Option<Quota>,
}

/// What comes after a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The next one.
    Next,
    /// Nothing: a program ended with 99.
    Stop,
}

/// Follows `.qmail-EXT`, `.qmail-…default` or `.qmail` of `place`. False: there is none with a line.
pub(super) fn own_file(delivery: &Delivery<'_>, place: &Place, extension: Option<&str>) -> Result<bool, Stop> {
    let names = extension.map(file_names).unwrap_or_default();
    let found = names.iter().map(String::as_str).chain([".qmail"]).find_map(|name| small(&place.home.join(name)));
    let Some(text) = found else { return Ok(false) };
    for line in text.split(|&b| b == b'\n').map(trim_end).filter(|line| !line.is_empty()) {
        if one(delivery, place, line)? == Told::Stop {
            break;
        }
    }
    Ok(true)
}

/// `.qmail-a-b`, `.qmail-a-default`, `.qmail-default`; a dot is written as a colon, and nothing leads to another directory.
fn file_names(extension: &str) -> Vec<String> {
    let extension = extension.replace(['.', '/'], ":");
    let exact = format!(".qmail-{extension}");
    let cuts =
        extension.match_indices('-').rev().filter_map(|(at, _)| extension.get(..at).map(|prefix| format!(".qmail-{prefix}-default")));
    [exact].into_iter().chain(cuts).chain([".qmail-default".to_owned()]).collect()
}

fn trim_end(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b' ' | b'\t')).map_or(0, |at| at + 1);
    line.get(..end).unwrap_or_default()
}

/// Follows one line.
pub(super) fn one(delivery: &Delivery<'_>, place: &Place, line: &[u8]) -> Result<Told, Stop> {
    match line {
        [] | [b'#', ..] => Ok(Told::Next),
        [b'|', command @ ..] => program(delivery, place, command),
        [b'/' | b'.', .., b'/'] => {
            let path = place.home.join(OsStr::from_bytes(line));
            maildir(delivery, place, &path).map(|()| Told::Next)
        }
        [b'/' | b'.', ..] => Err(Stop::soft([b"can't handle mbox delivery for ".as_slice(), line].concat())),
        [b'&', address @ ..] | address => forward(delivery, address).map(|()| Told::Next),
    }
}

fn program(delivery: &Delivery<'_>, place: &Place, command: &[u8]) -> Result<Told, Stop> {
    delivery.refuse_loop(&place.address)?;
    let unable = |error: &io::Error| Stop::soft(format!("Unable to run /bin/sh: {error}. (#4.3.0)\n"));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(OsStr::from_bytes(command)).current_dir(&place.home);
    if let Some(default) = &place.default {
        shell.env("DEFAULT", default);
    }
    shell.stdin(delivery.message.rewound().map_err(|e| unable(&e))?);
    let status = shell.status().map_err(|e| unable(&e))?;
    match status.code() {
        Some(exit::OK) => Ok(Told::Next),
        Some(exit::STOP) => Ok(Told::Stop),
        Some(code) if exit::program_is_hard(code) => Err(Stop { code: exit::HARD, text: Vec::new() }),
        Some(_) => Err(Stop { code: exit::SOFT, text: Vec::new() }),
        None => Err(Stop::soft("Aack, child crashed. (#4.3.0)\n")),
    }
}

/// By qmail-inject, so that the copy is a message of its own.
pub(super) fn forward(delivery: &Delivery<'_>, address: &[u8]) -> Result<(), Stop> {
    let address = address.trim_ascii();
    if let Ok(text) = std::str::from_utf8(address) {
        delivery.refuse_loop(&text.to_ascii_lowercase())?;
    }
    let program = delivery.world.config.home.join("bin/qmail-inject");
    let unable = |error: &io::Error| Stop::soft(format!("vdelivermail: cannot run {}: {error}\n", program.display()));
    let mut inject = Command::new(&program);
    inject.arg("--").arg(OsStr::from_bytes(address)).env_remove("QMAILUSER").env_remove("QMAILNAME").env_remove("QMAILHOST");
    let mut child = inject.stdin(Stdio::piped()).spawn().map_err(|e| unable(&e))?;
    let written = child.stdin.take().map_or(Ok(()), |mut to| {
        to.write_all(&head(&delivery.asked))?;
        delivery.message.each(|piece| to.write_all(piece))
    });
    let status = child.wait().map_err(|e| unable(&e))?;
    match status.code() {
        // What was not written whole was not taken whole.
        Some(exit::OK) => written.map_err(|error| Stop::soft(format!("vdelivermail: forward failed: {error}\n"))),
        Some(exit::HARD) => Err(Stop { code: exit::HARD, text: Vec::new() }),
        _ => Err(Stop { code: exit::SOFT, text: Vec::new() }),
    }
}

/// Return-Path, Delivered-To.
fn head(address: &str) -> Vec<u8> {
    let mut head = std::env::var_os("RPLINE").unwrap_or_default().into_vec();
    head.extend_from_slice(format!("Delivered-To: {address}\n").as_bytes());
    head
}

/// Into a Maildir; the account's own has its quota.
pub(super) fn maildir(delivery: &Delivery<'_>, place: &Place, maildir: &Path) -> Result<(), Stop> {
    delivery.refuse_loop(&place.address)?;
    let unable = |error: &io::Error| Stop::soft(format!("vdelivermail: cannot write to {}: {error}\n", maildir.display()));
    let head = head(&place.address);
    let bytes = delivery.message.bytes() + head.len() as u64;
    let disk = RealDisk::default();
    let now = postino_local::now();
    let domains = delivery.world.config.vpopmail_home.join("domains");
    let quota = place.owner.filter(|quota| !quota.is_none() && is_own(place, maildir));
    let mut room = None;
    if let Some(quota) = quota {
        let limited = Limited { address: &place.address, maildir, quota, domain: &delivery.domain.directory, domains: &domains };
        match mailbox_quota::admit(&disk, &limited, delivery.message.bytes(), bytes, now).map_err(|e| unable(&e))? {
            Admitted::Room(taken) => room = Some(taken),
            Admitted::Full(mut text) => {
                text.push(b'\n');
                return Err(Stop::hard(text));
            }
        }
    }
    let name = format!("{},S={bytes}", mailbox_quota::unique_name(now));
    let target = MaildirFile { maildir, name: &name, earlier: Earlier::InNew };
    deliver(&disk, target, &mut |file| {
        file.write_all(&head)?;
        delivery.message.each(|piece| file.write_all(piece))
    })
    .map_err(|e| unable(&e))?;
    if let Some(room) = room {
        room.keep();
    }
    Ok(())
}

fn is_own(place: &Place, maildir: &Path) -> bool {
    maildir.components().eq(place.home.join("Maildir").components())
}

/// A user's directory that went away is made again.
pub(super) fn make_user(home: &Path) -> io::Result<()> {
    let maildir = home.join("Maildir");
    if maildir.join("new").is_dir() && maildir.join("tmp").is_dir() && maildir.join("cur").is_dir() {
        return Ok(());
    }
    for path in [home.to_path_buf(), maildir.clone(), maildir.join("cur"), maildir.join("new"), maildir.join("tmp")] {
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => postino_disk::sync_dir(path.parent().unwrap_or(Path::new("/")))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_files_stay_in_the_users_directory() {
        assert_eq!(file_names("a-b.c"), [".qmail-a-b:c", ".qmail-a-default", ".qmail-default"]);
        assert_eq!(file_names("../x"), [".qmail-:::x", ".qmail-default"]);
    }

    #[test]
    fn the_own_maildir_is_known_by_any_spelling() {
        let place = Place { home: "/v/joe".into(), address: String::new(), default: None, owner: None };
        assert!(is_own(&place, Path::new("/v/joe/Maildir/")) && is_own(&place, Path::new("/v/joe/./Maildir")));
        assert!(!is_own(&place, Path::new("/v/joe/Maildir/.Sent")));
    }
}
