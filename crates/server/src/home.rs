//! The folders of a home: made, owned and readable as each part needs them. Called at start by `supervise`, `serve`, `setup` and `install-compat`; never touches mail.

mod hand_over;

use anyhow::Context;
use postino_control::Config;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes `queue/`, `run/`, `tls/`, `queue/drop/` with their owners and modes. `owner` is given only when we are root.
pub(crate) fn prepare(home: &Path, owner: Option<(u32, u32)>) -> anyhow::Result<()> {
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
        hand_over::hand_over(home, (uid, gid))
            .with_context(|| format!("cannot give {} to another account", home.join("queue").display()))?;
        own_files_below(&home.join("tls"), uid, gid)?;
        own_files_below(&home.join("queue"), uid, gid)?;
    }
    Ok(())
}

/// What lies at `path` now, never what a link points to: what is looked at is then what is changed.
fn hold(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    std::fs::OpenOptions::new().read(true).custom_flags(i32::try_from(flags).unwrap_or(0)).open(path)
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    let changed = hold(path).and_then(|folder| folder.set_permissions(std::fs::Permissions::from_mode(mode)));
    changed.with_context(|| format!("cannot chmod {}", path.display()))
}

fn own(path: &Path, uid: u32, gid: u32) -> anyhow::Result<()> {
    if std::fs::symlink_metadata(path)?.is_symlink() {
        anyhow::bail!("{} is a symbolic link; give the real folder", path.display());
    }
    let folder = hold(path).with_context(|| format!("cannot open {}", path.display()))?;
    give(&folder, uid, gid).with_context(|| format!("cannot chown {}", path.display()))
}

fn give(file: &std::fs::File, uid: u32, gid: u32) -> std::io::Result<()> {
    let meta = file.metadata()?;
    if meta.uid() == uid && meta.gid() == gid { Ok(()) } else { std::os::unix::fs::fchown(file, Some(uid), Some(gid)) }
}

/// Files made by root tools (setup) in a folder of the worker's, one level deep.
fn own_files_below(folder: &Path, uid: u32, gid: u32) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        // The folder's owner may put something else there meanwhile.
        let Ok(file) = hold(&entry.path()) else { continue };
        let meta = file.metadata()?;
        // One name only: a second could be a stranger's hard link to a file of root's.
        if meta.is_file() && meta.uid() == 0 && meta.nlink() == 1 {
            give(&file, uid, gid).with_context(|| format!("cannot chown {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Root works on a stopped queue as the account that owns it, for good: a link planted there must not lead root's hands to other files, and what
/// is made there must be the server's.
pub(crate) fn become_queue_owner(home: &Path) -> anyhow::Result<()> {
    use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
    let Ok(queue) = std::fs::symlink_metadata(home.join("queue")) else { return Ok(()) };
    if !geteuid().is_root() || queue.uid() == 0 {
        return Ok(());
    }
    let became = setgroups(&[]).and_then(|()| setgid(Gid::from_raw(queue.gid()))).and_then(|()| setuid(Uid::from_raw(queue.uid())));
    became.context("cannot act as the owner of the queue")
}

/// Where the worker finds copies of a certificate and its key when only root may read them (or enter their folder, as with certbot's).
pub(crate) fn staged(config: &Config, index: usize) -> (std::path::PathBuf, std::path::PathBuf) {
    (config.home.join(format!("run/tls-cert-{index}.pem")), config.home.join(format!("run/tls-key-{index}.pem")))
}

/// Root copies certificates and keys into `run/`, readable by the worker alone.
pub(crate) fn stage_keys(config: &Config, uid: u32, gid: u32) -> anyhow::Result<()> {
    for (index, identity) in config.server.tls.iter().enumerate() {
        let (certificate, key) = staged(config, index);
        for (source, target) in [(&identity.certificate, certificate), (&identity.key, key)] {
            let file = find_key(source, uid).with_context(|| format!("server.toml: [[tls]] {}: {}", identity.host, source.display()))?;
            let Some(mut file) = file else { continue };
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut bytes)?;
            put(&target, &bytes, 0o600, Some((uid, gid))).with_context(|| format!("cannot write {}", target.display()))?;
        }
    }
    Ok(())
}

/// Links followed on the way to a key or certificate.
const LINKS_MAX: usize = 40;

/// Opens a key, certificate or password file for root to read. `None`: it lies where the account `uid` could put something else in its place, a link to a file of root's for
/// one; from there only the account itself may read.
pub(crate) fn find_key(path: &Path, uid: u32) -> std::io::Result<Option<std::fs::File>> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).canonicalize()?;
        for above in folder.ancestors() {
            if std::fs::symlink_metadata(above)?.uid() == uid {
                return Ok(None);
            }
        }
        path = folder.join(path.file_name().unwrap_or_default());
        if !std::fs::symlink_metadata(&path)?.is_symlink() {
            return hold(&path).map(Some);
        }
        path = folder.join(std::fs::read_link(&path)?);
    }
    Err(std::io::Error::other("too many links"))
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
    // Its owner's alone from the first moment: who opened it before the chmod could read what comes later.
    let mut options = std::fs::OpenOptions::new();
    let mut file = std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600).open(&new)?;
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

    /// A broken worker must not have root read a file for it by a link in place of a key.
    #[test]
    fn a_key_in_a_folder_of_the_workers_is_not_read_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(dir.path()).unwrap().uid();
        std::fs::write(dir.path().join("key"), "k").unwrap();
        std::os::unix::fs::symlink("key", dir.path().join("link")).unwrap();
        for name in ["key", "link"] {
            assert!(find_key(&dir.path().join(name), own).unwrap().is_none(), "{name}");
            let mut text = String::new();
            std::io::Read::read_to_string(&mut find_key(&dir.path().join(name), own + 1).unwrap().unwrap(), &mut text).unwrap();
            assert_eq!(text, "k", "{name}");
        }
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        assert!(find_key(&dir.path().join("loop"), own + 1).is_err());
    }

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
