//! From a routed local address to what is done with it. Called by [`crate::VpopmailDirectory`], at RCPT and at delivery. Reads only; an error
//! other than "not there" is trouble, never "no such user".

use crate::dot_qmail::{self, Found, Meaning};
use crate::files::{FileCache, is_absent};
use crate::kept::Kept;
use crate::trouble::{Depth, Trouble};
use crate::users::{self, Account, Origin, SystemUsers};
use crate::vpopmail::accounts::Accounts;
use crate::vpopmail::deliver::{self, Context, Domain, NO_MAILBOX};
use postino_control::Config;
use postino_ports::directory::{DotQmail, Resolution};
use postino_types::{Address, Time};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

/// The sources of a look-up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    pub(crate) config: &'a Config,
    pub(crate) files: &'a FileCache,
    /// Who keeps the accounts, when that is not vpopmail's files.
    pub(crate) kept: Option<&'a Kept>,
    pub(crate) system: &'a SystemUsers,
    /// Who delivers into virtual domains.
    pub(crate) deliverer: Deliverer,
    /// Monotonic.
    pub(crate) now: Duration,
    /// Wall time.
    pub(crate) wall: Time,
}

/// Who delivers into the domains of users/assign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deliverer {
    /// The server in process, where their files say nothing else.
    Server,
    /// Programs, as their owner.
    Programs,
}

impl<'a> Sources<'a> {
    pub(crate) fn accounts(&self) -> Accounts<'a> {
        Accounts { files: self.files, kept: self.kept }
    }
}

/// What is `routed`?
pub(crate) fn resolve(sources: Sources<'_>, routed: &Address, depth: Depth) -> Result<Resolution, Trouble> {
    let local = routed.local();
    if local.is_empty() {
        return Ok(Resolution::Discard);
    }
    let minuid = sources.config.server.minuid;
    let account = match users::assigned(sources.files, sources.config, local, depth)? {
        Some(account) => Some(account),
        None => match sources.system.find(local, minuid, depth, sources.now)? {
            Some(account) => Some(account),
            None => users::alias(sources.config, local)?,
        },
    };
    let Some(account) = account else { return Ok(no_mailbox()) };
    match account.origin {
        Origin::Assigned => assigned(sources, &account, routed, depth),
        Origin::System | Origin::Alias => by_existence(&account),
    }
}

fn no_mailbox() -> Resolution {
    Resolution::NoMailbox { text: NO_MAILBOX.into() }
}

fn dot_qmail(account: &Account) -> Resolution {
    Resolution::DotQmail(DotQmail {
        user: account.user.clone(),
        uid: account.uid,
        gid: account.gid,
        home: account.home.clone(),
        dash: account.dash.clone(),
        ext: account.ext.clone(),
    })
}

/// A delivery that the spawner does; here only "does it have a file at all?". A home that we may not read is left to the delivery.
fn by_existence(account: &Account) -> Result<Resolution, Trouble> {
    if account.dash.is_empty() || is_awkward(account)? {
        return Ok(dot_qmail(account));
    }
    match dot_qmail::any_there(&account.home, &dot_qmail::candidates(&account.dash, &account.ext)) {
        Ok(true) => Ok(dot_qmail(account)),
        Ok(false) => Ok(no_mailbox()),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(dot_qmail(account)),
        Err(error) => Err(Trouble::io(&account.home, &error)),
    }
}

/// A home that others may write, or that is sticky because its owner is editing: the delivery says so and waits (dot-qmail(5)).
/// What files it has is no answer then.
fn is_awkward(account: &Account) -> Result<bool, Trouble> {
    let home = std::fs::metadata(&account.home).map_err(|error| Trouble::io(&account.home, &error))?;
    Ok(home.mode() & 0o1002 != 0)
}

/// An entry of users/assign: a virtual domain, or a user with his own rules.
fn assigned(sources: Sources<'_>, account: &Account, routed: &Address, depth: Depth) -> Result<Resolution, Trouble> {
    if account.uid == 0 || account.uid < sources.config.server.minuid {
        return Err(Trouble::text(format!("users/cdb: not allowed to deliver as uid {}", account.uid)));
    }
    if sources.deliverer == Deliverer::Programs || is_awkward(account)? {
        return Ok(dot_qmail(account));
    }
    let names = dot_qmail::candidates(&account.dash, &account.ext);
    let found = match dot_qmail::read_first(sources.files, sources.wall, &account.home, names) {
        Ok(found) => found,
        Err((_, error)) if matches!(error.kind(), std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::FileTooLarge) => {
            return Ok(dot_qmail(account));
        }
        Err((_, error)) => return Err(Trouble::io(&account.home, &error)),
    };
    let Some(found) = found else {
        return Ok(if account.dash.is_empty() { dot_qmail(account) } else { no_mailbox() });
    };
    if found.mode & 0o002 != 0 {
        return Ok(dot_qmail(account));
    }
    match dot_qmail::meaning(&found.text, b"") {
        Meaning::Vdelivermail(action) if found.name == b".qmail-default" => {
            let context = Context {
                files: sources.files,
                accounts: sources.accounts(),
                now: sources.wall,
                delimiters: &sources.config.server.recipient_delimiters,
                vpopmail_home: &sources.config.vpopmail_home,
                depth,
            };
            deliver::resolve(context, &Domain::new(account), routed.host().unwrap_or_default(), action)
        }
        Meaning::Forward(to) if is_domain(sources.kept, account)? => forward(account, &found, to, routed),
        Meaning::Discard if is_domain(sources.kept, account)? => Ok(Resolution::Discard),
        _ => Ok(dot_qmail(account)),
    }
}

/// A virtual domain has its accounts in its folder; where they are kept elsewhere it is known by its `.qmail-default`.
fn is_domain(kept: Option<&Kept>, account: &Account) -> Result<bool, Trouble> {
    let names: &[&str] = if kept.is_some() { &[".qmail-default"] } else { &["vpasswd", "vpasswd.cdb"] };
    for name in names {
        match std::fs::metadata(account.home.join(name)) {
            Ok(metadata) => return Ok(metadata.is_file()),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Trouble::io(&account.home, &error)),
        }
    }
    Ok(false)
}

/// A domain's own `.qmail-NAME` that only forwards. With an `-owner` file the sender changes too: that is the spawner's.
fn forward(account: &Account, found: &Found, to: Vec<Address>, routed: &Address) -> Result<Resolution, Trouble> {
    let mut owner = dot_qmail::candidates(&account.dash, &account.ext).into_iter().next().unwrap_or_else(|| found.name.clone());
    owner.extend_from_slice(b"-owner");
    if dot_qmail::is_there(&account.home, &owner)? {
        return Ok(dot_qmail(account));
    }
    Ok(Resolution::Forward { to, delivered_to: routed.clone(), uid: account.uid })
}
