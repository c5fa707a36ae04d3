//! `checkpassword(8)`: name and password on descriptor 3, checked against the system's accounts; then the named program runs as that account. Called
//! by qmail-popup and its like. Prints nothing, whatever happens: descriptors 0 and 1 are the client.

use nix::unistd::{User, chdir, initgroups, setgid, setuid};
use postino_directory::password::verify_password;
use postino_types::exit;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Longest thing said on descriptor 3, bytes.
const CREDENTIALS_BYTES_MAX: usize = 512;
const CREDENTIALS_FD: i32 = 3;

/// The exit codes of the checkpassword interface; trouble of ours is [`exit::SOFT`].
mod code {
    /// Not with this password.
    pub(super) const UNACCEPTABLE: i32 = 1;
    /// Called wrongly.
    pub(super) const MISUSE: i32 = 2;
}

/// The program; returns the exit code if there is no program to run as the account.
pub(crate) fn run(args: &[OsString]) -> i32 {
    let Some((program, arguments)) = args.split_first() else { return code::MISUSE };
    match admit() {
        Ok(user) => {
            let mut command = Command::new(program);
            command.args(arguments).env("USER", &user.name).env("HOME", &user.dir).env("SHELL", &user.shell);
            // It returns only when it failed.
            let _ = command.exec();
            exit::SOFT
        }
        Err(code) => code,
    }
}

/// Becomes the account whose name and password were said.
fn admit() -> Result<User, i32> {
    let said = read_credentials()?;
    let (name, password) = split(&said).ok_or(code::MISUSE)?;
    let name = std::str::from_utf8(name).map_err(|_| code::UNACCEPTABLE)?;
    let user = User::from_name(name).map_err(|_| exit::SOFT)?.ok_or(code::UNACCEPTABLE)?;
    let stored = stored_password(&user)?;
    if !verify_password(password, &stored) {
        return Err(code::UNACCEPTABLE);
    }
    let c_name = CString::new(user.name.as_bytes()).map_err(|_| exit::SOFT)?;
    initgroups(&c_name, user.gid).and_then(|()| setgid(user.gid)).and_then(|()| setuid(user.uid)).map_err(|_| code::UNACCEPTABLE)?;
    chdir(&user.dir).map_err(|_| exit::SOFT)?;
    Ok(user)
}

fn read_credentials() -> Result<Vec<u8>, i32> {
    let mut said = Vec::with_capacity(CREDENTIALS_BYTES_MAX + 1);
    // A second descriptor for the same pipe, which can be owned here; the number itself is closed before the program runs.
    let pipe = File::open(format!("/proc/self/fd/{CREDENTIALS_FD}")).map_err(|_| exit::SOFT)?;
    pipe.take(CREDENTIALS_BYTES_MAX as u64 + 1).read_to_end(&mut said).map_err(|_| exit::SOFT)?;
    let _ = nix::unistd::close(CREDENTIALS_FD);
    if said.len() > CREDENTIALS_BYTES_MAX { Err(code::UNACCEPTABLE) } else { Ok(said) }
}

/// Name and password, each ended by NUL. The timestamp after them is not asked for: the original did without it too.
fn split(said: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = said.split(|&b| b == 0);
    let (name, password) = (parts.next()?, parts.next()?);
    parts.next().map(|_| (name, password))
}

/// From /etc/shadow, else from the account itself.
fn stored_password(user: &User) -> Result<String, i32> {
    match File::open("/etc/shadow") {
        Ok(file) => Ok(in_shadow(BufReader::new(file), user.name.as_bytes()).map_err(|_| exit::SOFT)?),
        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => Err(exit::SOFT),
        Err(_) => Ok(None),
    }
    .map(|found| found.unwrap_or_else(|| OsStr::from_bytes(user.passwd.as_bytes()).to_string_lossy().into_owned()))
}

fn in_shadow(shadow: impl BufRead, name: &[u8]) -> std::io::Result<Option<String>> {
    for line in shadow.split(b'\n') {
        let line = line?;
        let mut fields = line.split(|&b| b == b':');
        if fields.next() == Some(name) {
            return Ok(fields.next().map(|field| String::from_utf8_lossy(field).into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_shadow() {
        assert_eq!(split(b"a\0b c\0Y\0"), Some((&b"a"[..], &b"b c"[..])));
        assert_eq!(split(b"a\0b\0"), Some((&b"a"[..], &b"b"[..])));
        for bad in [&b"a"[..], b"a\0", b"a\0b", b""] {
            assert_eq!(split(bad), None);
        }
        let shadow = &b"root:*:1:0:\nrooty:$6$x:1::\nempty\n"[..];
        let stored = |name: &[u8]| in_shadow(shadow, name).expect("read from memory");
        assert_eq!(stored(b"root").as_deref(), Some("*"));
        assert_eq!(stored(b"rooty").as_deref(), Some("$6$x"));
        assert_eq!((stored(b"roo"), stored(b"empty")), (None, None));
    }
}
