//! The folders of a home: made, owned and readable as each part needs them. Called at start by `supervise`, `serve` and `setup`; never touches mail.

use anyhow::Context;
use postino_control::Config;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes `queue/`, `run/`, `tls/`, `queue/drop/` with their owners and modes. `owner` is given only when we are root.
pub(crate) fn prepare(config: &Config, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
    let home = &config.home;
    for (name, mode) in
        [("queue", 0o711), ("queue/drop", 0o3730), ("run", 0o755), ("tls", 0o711), ("users", 0o755), ("alias", 0o755), ("domains", 0o711)]
    {
        let path = home.join(name);
        let made = match std::fs::create_dir(&path) {
            Ok(()) => true,
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
        };
        // Aliases are run as the account `alias`, or, where there is none, as the owner of their folder: never as root.
        let worker_owns = matches!(name, "queue" | "queue/drop" | "run" | "tls" | "domains" | "alias");
        if made {
            set_mode(&path, mode)?;
        }
        if let (Some((uid, gid)), true) = (owner, worker_owns)
            && (made || !matches!(name, "domains" | "alias"))
        {
            own(&path, uid, gid)?;
        }
    }
    if let Some((uid, gid)) = owner {
        own_files_below(&home.join("tls"), uid, gid)?;
        own_files_below(&home.join("queue"), uid, gid)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).with_context(|| format!("cannot chmod {}", path.display()))
}

fn own(path: &Path, uid: u32, gid: u32) -> anyhow::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if meta.is_symlink() {
        anyhow::bail!("{} is a symbolic link; give the real folder", path.display());
    }
    if meta.uid() != uid || meta.gid() != gid {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).with_context(|| format!("cannot chown {}", path.display()))?;
    }
    Ok(())
}

/// Files made by root tools (setup) in a folder of the worker's, one level deep.
fn own_files_below(folder: &Path, uid: u32, gid: u32) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = std::fs::symlink_metadata(entry.path())?;
        // One name only: a second could be a stranger's hard link to a file of root's.
        if meta.is_file() && meta.uid() == 0 && meta.nlink() == 1 {
            own(&entry.path(), uid, gid)?;
        }
    }
    Ok(())
}

/// Where the worker finds a copy of a key that only root may read.
pub(crate) fn staged_key(config: &Config, index: usize) -> std::path::PathBuf {
    config.home.join(format!("run/tls-key-{index}.pem"))
}

/// Root copies keys that the worker cannot read into `run/`, readable by the worker alone.
pub(crate) fn stage_keys(config: &Config, uid: u32, gid: u32) -> anyhow::Result<()> {
    for (index, identity) in config.server.tls.iter().enumerate() {
        let bytes = std::fs::read(&identity.key).with_context(|| format!("cannot read the key {}", identity.key.display()))?;
        let target = staged_key(config, index);
        put(&target, &bytes, 0o600, Some((uid, gid))).with_context(|| format!("cannot write {}", target.display()))?;
    }
    Ok(())
}

/// `run/postino.pid`, for people and init scripts; our own tools use the control socket.
pub(crate) fn write_pid_file(home: &Path) -> anyhow::Result<()> {
    let path = home.join("run/postino.pid");
    put(&path, format!("{}\n", std::process::id()).as_bytes(), 0o644, None).with_context(|| format!("cannot write {}", path.display()))
}

/// A file in a folder that may belong to a less trusted account than ours: never through a link that lies there already.
fn put(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&new)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    std::io::Write::write_all(&mut file, bytes)?;
    drop(file);
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worker owns `run/`; root must not write through a link that a broken worker left there.
    #[test]
    fn the_pid_file_replaces_a_planted_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "mine").unwrap();
        for name in ["postino.pid", "postino.new"] {
            std::os::unix::fs::symlink(&precious, dir.path().join("run").join(name)).unwrap();
        }
        write_pid_file(dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "mine");
        assert_eq!(std::fs::read_to_string(dir.path().join("run/postino.pid")).unwrap().trim(), std::process::id().to_string());
    }
}
