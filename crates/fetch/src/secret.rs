//! Passwords and tokens: read from a file that nobody else may read, or from a program. `Secrets` is how a run asks for one; `read_secret`
//! does the work, in a process that may do it (never the worker, which starts no program).

use postino_control::fetch::{FetchAccount, FetchSecret};
use postino_ports::BoxFuture;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// Longest secret, bytes: tokens are long.
pub const SECRET_BYTES_MAX: usize = 8192;

/// Where a run gets secrets from.
pub trait Secrets: Send + Sync {
    /// The secret of an account; the error is for people and names no secret.
    fn secret<'a>(&'a self, account: &'a FetchAccount) -> BoxFuture<'a, Result<Zeroizing<Vec<u8>>, String>>;
}

/// Who runs a command, when we are root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAs {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Opens a password file.
pub type OpenFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<File>;

/// Reads the account's secret: from its file, which `open` opens, or from its program, which runs as `run_as`. Blocks.
///
/// # Errors
/// A text for people.
pub fn read_secret(account: &FetchAccount, open: OpenFile<'_>, run_as: Option<RunAs>) -> Result<Zeroizing<Vec<u8>>, String> {
    let bytes = match &account.secret {
        FetchSecret::PasswordFile(path) => read_file(path, open)?,
        FetchSecret::PasswordCommand(words) | FetchSecret::TokenCommand(words) => run(words, run_as)?,
    };
    let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err("the first line of the password (or token) is empty".into());
    }
    if line.len() > SECRET_BYTES_MAX {
        return Err(format!("the password (or token) is longer than {SECRET_BYTES_MAX} bytes"));
    }
    Ok(Zeroizing::new(line.to_vec()))
}

fn read_file(path: &Path, open: OpenFile<'_>) -> Result<Zeroizing<Vec<u8>>, String> {
    let told = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let file = open(path).map_err(told)?;
    let meta = file.metadata().map_err(told)?;
    if !meta.is_file() {
        return Err(format!("{} is no plain file", path.display()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!("{} can be read by others; make it its owner's alone: chmod 600", path.display()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 2));
    file.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(told)?;
    Ok(bytes)
}

/// The program's first words on standard output. Its environment is empty but for PATH; its words are in the process list, so no secret belongs there.
fn run(words: &[String], run_as: Option<RunAs>) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::os::unix::process::CommandExt as _;
    let (program, arguments) = words.split_first().ok_or("no program")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    if let Some(RunAs { uid, gid }) = run_as {
        command.uid(uid).gid(gid);
    }
    let mut child = command.spawn().map_err(|e| format!("cannot run {program}: {e}"))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES_MAX + 2));
    let read = child.stdout.take().map(|out| out.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes));
    let status = child.wait().map_err(|e| format!("{program}: {e}"))?;
    match read {
        Some(Ok(_)) if status.success() => Ok(bytes),
        Some(Err(e)) => Err(format!("{program}: {e}")),
        _ => Err(format!("{program} ended with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_of_one_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "se cret\r\nsecond\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_file(&path, &|p| File::open(p)).unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_file(&path, &|p| File::open(p)).unwrap().as_slice(), b"se cret\r\nsecond\n");
        assert!(read_file(dir.path(), &|p| File::open(p)).is_err());
    }

    #[test]
    fn programs() {
        let words = |script: &str| vec!["/bin/sh".to_owned(), "-c".into(), script.into()];
        assert_eq!(run(&words("echo token"), None).unwrap().as_slice(), b"token\n");
        assert!(run(&words("echo token; exit 3"), None).unwrap_err().contains("exit status: 3"));
        assert!(run(&["/nonexistent".to_owned()], None).unwrap_err().contains("cannot run"));
    }
}
