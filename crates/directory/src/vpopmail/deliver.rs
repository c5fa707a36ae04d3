//! What `vdelivermail '' ACTION` would do with an address, told as a [`Resolution`] instead of done by a process. Called by the directory for
//! addresses that a domain's `.qmail-default` governs. Never delivers.

use super::accounts::Accounts;
use crate::dot_qmail::{self, Action, Meaning};
use crate::files::{FileCache, read_small};
use crate::kept::Kept;
use crate::names;
use crate::trouble::{Depth, Trouble};
use crate::users::Account;
use crate::vpasswd::{FLAG_BOUNCE_MAIL, Record};
use postino_ports::directory::{DotQmail, Mailbox, Resolution};
use postino_types::{Address, Time};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// What qmail says about an unknown mailbox.
pub(crate) const NO_MAILBOX: &str = "Sorry, no mailbox here by that name. (#5.1.1)";
/// Longest text taken from `.no-user.msg`, in bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// The domain that an address belongs to.
#[derive(Debug)]
pub(crate) struct Domain<'a> {
    /// Its account: uid, gid, home.
    pub(crate) account: &'a Account,
    /// Its real name (an alias domain has another one).
    pub(crate) name: String,
}

impl<'a> Domain<'a> {
    /// From its users/assign entry: the name is the last component of the directory, else the account's name.
    pub(crate) fn new(account: &'a Account) -> Self {
        let last = account.home.file_name().and_then(OsStr::to_str).and_then(|name| names::domain(name).ok());
        let name = last.unwrap_or_else(|| account.user.to_ascii_lowercase());
        Self { account, name }
    }
}

/// What is needed besides the domain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) files: &'a FileCache,
    pub(crate) accounts: Accounts<'a>,
    /// Wall time.
    pub(crate) now: Time,
    /// Delimiters of extensions; `-` always is one.
    pub(crate) delimiters: &'a str,
    /// vpopmail's home.
    pub(crate) vpopmail_home: &'a Path,
    pub(crate) depth: Depth,
}

/// Resolves the address `ext` of `domain`; `host` is the address's own host (an alias domain's name, perhaps).
pub(crate) fn resolve(context: Context<'_>, domain: &Domain<'_>, host: &[u8], action: Action) -> Result<Resolution, Trouble> {
    let user = domain.account.ext.to_ascii_lowercase();
    if user.is_empty() || !user.iter().all(|&b| names::is_user_byte(b)) {
        return Ok(Resolution::NoMailbox { text: "invalid username".into() });
    }
    if let Some(kept) = context.accounts.kept
        && let Some(aliased) = alias(kept, context.depth, domain, &user)?
    {
        return Ok(aliased);
    }
    if let Some(record) = context.accounts.find(domain, &user, context.depth)? {
        return found(context, domain, &record, None);
    }
    for (name, extension) in cuts(&user, context.delimiters) {
        if let Some(record) = context.accounts.find(domain, name, context.depth)? {
            return found(context, domain, &record, Some(extension));
        }
    }
    not_found(context, domain, &user, host, action)
}

/// Alias lines of a data base: those of the name itself, else of `PREFIX-default` with ever shorter prefixes.
fn alias(kept: &Kept, depth: Depth, domain: &Domain<'_>, user: &[u8]) -> Result<Option<Resolution>, Trouble> {
    let mut lines = kept.lines(&domain.name, user, depth)?;
    let mut rest = user;
    while lines.is_empty() {
        let Some(dash) = rest.iter().rposition(|&b| b == b'-') else { return Ok(None) };
        rest = rest.get(..dash).unwrap_or_default();
        lines = kept.lines(&domain.name, &[rest, b"-default"].concat(), depth)?;
    }
    let mut to = Vec::with_capacity(lines.len());
    for line in lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with(['|', '/', '.']) {
            // Only vdelivermail runs these. To wait is better than to leave one out.
            return Err(Trouble::text(format!("alias {}@{}: only lines that forward are delivered here", text(user), domain.name)));
        }
        to.push(address(line.strip_prefix('&').unwrap_or(line).as_bytes())?);
    }
    let delivered_to = address(&[user, b"@", domain.name.as_bytes()].concat())?;
    Ok(Some(if to.is_empty() { Resolution::Discard } else { Resolution::Forward { to, delivered_to, uid: domain.account.uid } }))
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// `user-ext` cut at the first `-`, as vdelivermail does, and at the first of every other delimiter; longest name first.
fn cuts<'u>(user: &'u [u8], delimiters: &str) -> Vec<(&'u [u8], &'u [u8])> {
    let mut at: Vec<usize> =
        delimiters.bytes().chain([b'-']).filter_map(|d| user.iter().position(|&b| b == d)).filter(|&at| at > 0).collect();
    at.sort_unstable_by(|a, b| b.cmp(a));
    at.dedup();
    at.into_iter().filter_map(|at| Some((user.get(..at)?, user.get(at + 1..)?))).collect()
}

fn found(context: Context<'_>, domain: &Domain<'_>, record: &Record, extension: Option<&[u8]>) -> Result<Resolution, Trouble> {
    let mailbox = mailbox(domain, record)?;
    if record.flags & FLAG_BOUNCE_MAIL != 0 {
        return Ok(Resolution::Locked { text: format!("vdelivermail: account is locked email bounced {}", mailbox.address) });
    }
    let mut names = extension.map(|ext| dot_qmail::candidates(b"-", ext)).unwrap_or_default();
    names.push(b".qmail".to_vec());
    let delivered_to = address(mailbox.address.as_bytes())?;
    own_file(context, domain, Place { home: &mailbox.home, names, delivered_to }, Resolution::Mailbox(mailbox.clone()))
}

/// Where an account's own `.qmail` may lie.
struct Place<'a> {
    home: &'a Path,
    names: Vec<Vec<u8>>,
    delivered_to: Address,
}

/// A `.qmail` in a user's directory (or in a catch-all directory), if there is one; else `plain`.
fn own_file(context: Context<'_>, domain: &Domain<'_>, place: Place<'_>, plain: Resolution) -> Result<Resolution, Trouble> {
    let Place { home, names, delivered_to } = place;
    let file = match dot_qmail::read_first(context.files, context.now, home, names) {
        Ok(file) => file,
        Err((name, error)) if error.kind() == std::io::ErrorKind::FileTooLarge => return Ok(governed_by(domain, home, &name)),
        Err((_, error)) => return Err(Trouble::io(home, &error)),
    };
    let Some(file) = file else { return Ok(plain) };
    let own_maildir = [home.as_os_str().as_bytes(), b"/Maildir/"].concat();
    Ok(match dot_qmail::meaning(&file.text, &own_maildir) {
        Meaning::Empty | Meaning::OwnMaildir => plain,
        Meaning::Discard => Resolution::Discard,
        Meaning::Forward(to) => Resolution::Forward { to, delivered_to, uid: domain.account.uid },
        Meaning::Vdelivermail(_) | Meaning::Other => governed_by(domain, home, &file.name),
    })
}

/// A delivery that needs a process: the directory of the user, and the file in it, as dash and extension.
fn governed_by(domain: &Domain<'_>, home: &Path, file: &[u8]) -> Resolution {
    let tail = file.strip_prefix(b".qmail").unwrap_or_default();
    let (dash, ext) = tail.split_at(tail.len().min(1));
    Resolution::DotQmail(DotQmail {
        user: domain.account.user.clone(),
        uid: domain.account.uid,
        gid: domain.account.gid,
        home: home.to_path_buf(),
        dash: dash.to_vec(),
        ext: ext.to_vec(),
    })
}

/// The mailbox of `record`. A directory that is not absolute or climbs is damage, not a mailbox.
pub(crate) fn mailbox(domain: &Domain<'_>, record: &Record) -> Result<Mailbox, Trouble> {
    let home = PathBuf::from(&record.directory);
    if !home.is_absolute() || record.directory.contains('\0') || home.components().any(|part| part == Component::ParentDir) {
        return Err(Trouble::text(format!("vpasswd of {}: strange directory of {}", domain.name, record.name)));
    }
    Ok(Mailbox {
        address: format!("{}@{}", record.name, domain.name),
        maildir: home.join("Maildir"),
        home,
        uid: domain.account.uid,
        gid: domain.account.gid,
        quota: record.quota_or_none().to_owned(),
        flags: record.flags,
    })
}

fn not_found(context: Context<'_>, domain: &Domain<'_>, user: &[u8], host: &[u8], action: Action) -> Result<Resolution, Trouble> {
    Ok(match action {
        Action::Delete => Resolution::Discard,
        Action::Bounce => Resolution::NoMailbox { text: no_user_text(context, domain)? },
        Action::Forward(to) => {
            let delivered_to = address(&[user, b"@", domain.name.as_bytes()].concat())?;
            Resolution::Forward { to: vec![to], delivered_to, uid: domain.account.uid }
        }
        Action::Directory(path) => {
            let home = PathBuf::from(OsStr::from_bytes(&path));
            let delivered_to = address(&[user, b"@", host].concat())?;
            let plain = Resolution::Directory {
                maildir: home.join("Maildir"),
                uid: domain.account.uid,
                gid: domain.account.gid,
                delivered_to: delivered_to.clone(),
            };
            own_file(context, domain, Place { home: &home, names: vec![b".qmail".to_vec()], delivered_to }, plain)?
        }
    })
}

/// `.no-user.msg` of the domain, else of all domains, else qmail's words. Control bytes but LF are taken out.
fn no_user_text(context: Context<'_>, domain: &Domain<'_>) -> Result<String, Trouble> {
    for directory in [domain.account.home.clone(), context.vpopmail_home.join("domains")] {
        let path = directory.join(".no-user.msg");
        match read_small(&path, TEXT_BYTES_MAX) {
            Ok(None) => {}
            Ok(Some((text, _))) => {
                let text: String = String::from_utf8_lossy(&text).chars().filter(|&c| c == '\n' || !c.is_control()).collect();
                return Ok(text.trim_end().to_owned());
            }
            Err(error) => return Err(Trouble::io(&path, &error)),
        }
    }
    Ok(NO_MAILBOX.into())
}

fn address(bytes: &[u8]) -> Result<Address, Trouble> {
    Address::from_bytes(bytes).map_err(|error| Trouble::text(error.to_string()))
}
