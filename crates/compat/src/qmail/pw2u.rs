//! `qmail-pw2u(8)`: makes users/assign from a passwd file on standard input. Called by `main`. Never writes a file: its output is the new one.

use crate::fatal::Fatal;
use crate::getopt::{Getopt, Opt};
use crate::home::read_if_there;
use postino_control::classic;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longest passwd file, bytes.
const PASSWD_BYTES_MAX: u64 = 8 << 20;
const USAGE: &str = "qmail-pw2u [ -/ohHuUC ] [ -c char ]";
const ALIAS: &[u8] = b"alias";

/// What is asked of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Homes {
    /// `-o`: there, and the user's own.
    Owned,
    /// `-h`: there.
    There,
    /// `-H`: there, else the program ends.
    Must,
    /// `-O`: not looked at.
    Any,
}

#[derive(Debug)]
struct Options {
    homes: Homes,
    capitals: bool,
    dash: &'static str,
    breaks: Option<u8>,
}

pub(crate) fn run(args: &[OsString], home: &Path) -> Result<(), Fatal> {
    let options = options(args)?;
    let mut text = Vec::new();
    std::io::stdin().lock().take(PASSWD_BYTES_MAX).read_to_end(&mut text).map_err(|e| Fatal::unable("read standard input", &e))?;
    let include = users_file(home, "include")?;
    let exclude: BTreeSet<Vec<u8>> = users_file(home, "exclude")?.unwrap_or_default().into_iter().collect();
    let include: Option<BTreeSet<Vec<u8>>> = include.map(|names| names.into_iter().collect());
    let names = mail_names(&users_file(home, "mailnames")?.unwrap_or_default());
    let (mut out, mut accounts) = (Vec::new(), BTreeMap::new());
    for line in text.split(|&b| b == b'\n') {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        let [user, _, uid, gid, _, directory, ..] = fields.as_slice() else { continue };
        let wanted = include.as_ref().is_none_or(|include| include.contains(*user)) && !exclude.contains(*user);
        let capital = !options.capitals && user.iter().any(u8::is_ascii_uppercase);
        if user.is_empty() || !wanted || capital || !has_home(&options, user, uid, directory)? {
            continue;
        }
        let account = [user, *uid, *gid, *directory].join(b":".as_slice());
        let own = [user.to_vec()];
        for name in names.get(*user).map_or(own.as_slice(), Vec::as_slice) {
            put(&mut out, &options, name, &account, None);
        }
        if *user == ALIAS {
            out.extend_from_slice(&[b"+:", account.as_slice(), b":", options.dash.as_bytes(), b"::\n"].concat());
        }
        accounts.insert(user.to_vec(), account);
    }
    for line in users_file(home, "subusers")?.unwrap_or_default() {
        let fields: Vec<&[u8]> = line.split(|&b| b == b':').collect();
        let [name, user, before, ..] = fields.as_slice() else { continue };
        if let Some(account) = accounts.get(*user) {
            put(&mut out, &options, name, account, Some(before));
        }
    }
    for line in users_file(home, "append")?.unwrap_or_default() {
        out.extend_from_slice(&[line.as_slice(), b"\n"].concat());
    }
    out.extend_from_slice(b".\n");
    std::io::stdout().lock().write_all(&out).map_err(|e| Fatal::unable("write", &e))
}

fn options(args: &[OsString]) -> Result<Options, Fatal> {
    let mut options = Options { homes: Homes::Owned, capitals: false, dash: "-", breaks: Some(b'-') };
    let mut given = Getopt::new(args, b"/ohHOuUC", b"c");
    for option in given.by_ref() {
        match option {
            Opt::Plain(b'o') => options.homes = Homes::Owned,
            Opt::Plain(b'h') => options.homes = Homes::There,
            Opt::Plain(b'H') => options.homes = Homes::Must,
            Opt::Plain(b'O') => options.homes = Homes::Any,
            Opt::Plain(b'u') => options.capitals = false,
            Opt::Plain(b'U') => options.capitals = true,
            Opt::Plain(b'C') => options.breaks = None,
            Opt::Plain(b'/') => options.dash = "-/",
            Opt::With(_, sign) => options.breaks = Some(*sign.as_bytes().first().ok_or_else(|| Fatal::usage(USAGE))?),
            _ => return Err(Fatal::usage(USAGE)),
        }
    }
    if !given.rest().is_empty() {
        return Err(Fatal::usage(USAGE));
    }
    Ok(options)
}

/// False for root, and for accounts whose home is not as it should be.
fn has_home(options: &Options, user: &[u8], uid: &[u8], directory: &[u8]) -> Result<bool, Fatal> {
    let Some(uid) = std::str::from_utf8(uid).ok().and_then(|uid| uid.parse::<u32>().ok()).filter(|uid| *uid != 0) else { return Ok(false) };
    if options.homes == Homes::Any {
        return Ok(true);
    }
    match std::fs::metadata(Path::new(OsStr::from_bytes(directory))) {
        Ok(metadata) => Ok(options.homes != Homes::Owned || metadata.uid() == uid),
        Err(e) if e.kind() == ErrorKind::NotFound && options.homes != Homes::Must => Ok(false),
        Err(e) => Err(Fatal::unable(&format!("find the home of {}", String::from_utf8_lossy(user)), &e)),
    }
}

fn put(out: &mut Vec<u8>, options: &Options, name: &[u8], account: &[u8], before: Option<&[u8]>) {
    let dash = options.dash.as_bytes();
    match before {
        None => out.extend_from_slice(&[b"=", name, b":", account, b":::\n"].concat()),
        Some(before) => out.extend_from_slice(&[b"=", name, b":", account, b":", dash, b":", before, b":\n"].concat()),
    }
    if let Some(breaks) = options.breaks {
        let sign = [breaks];
        let before = before.map(|before| [before, &sign].concat()).unwrap_or_default();
        out.extend_from_slice(&[b"+", name, &sign, b":", account, b":", dash, b":", &before, b":\n"].concat());
    }
}

/// The lines of a file in users/; `None` without one.
fn users_file(home: &Path, name: &str) -> Result<Option<Vec<Vec<u8>>>, Fatal> {
    let bytes = read_if_there(&home.join("users").join(name)).map_err(|e| Fatal::unable(&format!("read users/{name}"), &e))?;
    Ok(bytes.map(|bytes| classic::list(&bytes).map(|(_, line)| line.to_vec()).collect()))
}

/// Who gets mail under which names instead of the account's.
fn mail_names(lines: &[Vec<u8>]) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for line in lines {
        let mut words = line.split(|&b| b == b':').map(<[u8]>::to_vec);
        if let Some(user) = words.next() {
            all.insert(user, words.filter(|name| !name.is_empty()).collect());
        }
    }
    all
}
