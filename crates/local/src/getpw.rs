//! `qmail-getpw(8)`: which account receives for a local part, by the system's passwd data base. Run as a child without rights by the spawner
//! (the data base may be served by strangers' modules), and by the compatibility program of that name.

use nix::unistd::User;
use postino_types::exit;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// Longest account name tried, bytes (qmail's GETPW_USERLEN).
const NAME_BYTES_MAX: usize = 32;
/// Exit code when there is neither an account nor an alias account.
pub const NO_ALIAS: i32 = 116;

/// An account with the rest of the local part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The passwd entry.
    pub user: User,
    /// `-` or empty.
    pub dash: Vec<u8>,
    /// Extension, case kept.
    pub ext: Vec<u8>,
}

/// The data base could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the passwd data base or a home directory cannot be read now")]
pub struct GetpwError;

/// Finds the account: the longest prefix of `local` (whole, or ending before a `-`) that names a user with uid ≠ 0 who owns an existing home;
/// else `alias`. `None` when even that account does not exist.
///
/// # Errors
/// [`GetpwError`] when the data base or a home directory cannot be read just now.
pub fn find(local: &[u8]) -> Result<Option<Account>, GetpwError> {
    for end in (0..=local.len()).rev() {
        let whole = end == local.len();
        if !whole && local.get(end) != Some(&b'-') {
            continue;
        }
        let (head, tail) = local.split_at_checked(end).unwrap_or((local, b""));
        if head.is_empty() || head.len() >= NAME_BYTES_MAX {
            continue;
        }
        if let Some(user) = account(&head.to_ascii_lowercase())? {
            let dash = if whole { Vec::new() } else { b"-".to_vec() };
            return Ok(Some(Account { user, dash, ext: tail.get(1..).unwrap_or_default().to_vec() }));
        }
    }
    let alias = User::from_name("alias").map_err(|_| GetpwError)?;
    Ok(alias.map(|user| Account { user, dash: b"-".to_vec(), ext: local.to_vec() }))
}

fn account(name: &[u8]) -> Result<Option<User>, GetpwError> {
    let Ok(name) = std::str::from_utf8(name) else { return Ok(None) };
    let Some(user) = User::from_name(name).map_err(|_| GetpwError)? else { return Ok(None) };
    if user.uid.is_root() {
        return Ok(None);
    }
    match std::fs::metadata(&user.dir) {
        Ok(home) => Ok((home.uid() == user.uid.as_raw()).then_some(user)),
        Err(e) if is_temporary(&e) => Err(GetpwError),
        Err(_) => Ok(None),
    }
}

fn is_temporary(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::INTR
                | Errno::NOMEM
                | Errno::AGAIN
                | Errno::IO
                | Errno::MFILE
                | Errno::NFILE
                | Errno::STALE
                | Errno::TIMEDOUT
                | Errno::NOBUFS
        )
    )
}

/// The program: prints user, uid, gid, home, dash, ext, each ended by NUL. Returns the exit code.
pub fn run(local: &[u8], out: &mut dyn Write) -> i32 {
    let account = match find(local) {
        Ok(Some(account)) => account,
        Ok(None) => return NO_ALIAS,
        Err(GetpwError) => return exit::SOFT,
    };
    let (uid, gid) = (account.user.uid.to_string(), account.user.gid.to_string());
    let fields = [
        account.user.name.as_bytes(),
        uid.as_bytes(),
        gid.as_bytes(),
        account.user.dir.as_os_str().as_bytes(),
        &account.dash,
        &account.ext,
    ];
    let mut text = Vec::new();
    for field in fields {
        text.extend_from_slice(field);
        text.push(0);
    }
    match out.write_all(&text).and_then(|()| out.flush()) {
        Ok(()) => exit::OK,
        Err(_) => exit::SOFT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // `nobody` and `daemon` exist everywhere, but do not own their homes; root is never matched: all of them fall to alias (or to none).
    #[test]
    fn root_and_accounts_without_a_home_of_their_own_are_passed_over() {
        for name in [&b"root"[..], b"Root-x", b"daemon", b"no-such-user-here", b"", b"-"] {
            let found = find(name).unwrap();
            assert!(found.is_none_or(|a| a.user.name == "alias" && a.dash == b"-" && a.ext == name), "{name:?}");
        }
    }
}
