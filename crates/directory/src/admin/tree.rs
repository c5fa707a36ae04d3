//! Directory trees of users: made, checked, made durable. Called by the changes. Never follows a link that it did not make.

use super::journal::own;
use super::{AdminError, Owner};
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Makes `path` with mode 0700.
pub(super) fn make_dir(path: &Path, owner: Owner) -> Result<(), AdminError> {
    DirBuilder::new().mode(0o700).create(path).map_err(AdminError::io(path))?;
    own(path, owner)
}

/// Writes a new file, not synced yet.
pub(super) fn write_new(path: &Path, bytes: &[u8], owner: Owner) -> Result<(), AdminError> {
    let mut file = postino_disk::create_new(path, 0o600).map_err(AdminError::io(path))?;
    file.write_all(bytes).map_err(AdminError::io(path))?;
    own(path, owner)
}

/// The directory of a new user: Maildir, and a `lastauth` that says "never".
pub(super) fn make_user(path: &Path, owner: Owner) -> Result<(), AdminError> {
    if let Some(domain) = path.parent() {
        postino_disk::spread_children(domain);
    }
    make_dir(path, owner)?;
    let maildir = path.join("Maildir");
    make_dir(&maildir, owner)?;
    for part in ["cur", "new", "tmp"] {
        make_dir(&maildir.join(part), owner)?;
    }
    write_new(&path.join("lastauth"), b"0.0.0.0", owner)
}

/// Takes away what a crashed attempt to add this user left: a Maildir without mail. Anything else is an error.
pub(super) fn clear_leftover(path: &Path) -> Result<(), AdminError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(AdminError::io(path)(error)),
        Ok(_) => {}
    }
    for entry in files_below(path, 3)? {
        if entry != path.join("lastauth") {
            return Err(AdminError::DirectoryTaken(path.to_path_buf()));
        }
    }
    std::fs::remove_dir_all(path).map_err(AdminError::io(path))
}

/// Everything below `path` that is not a directory; deeper than `depth` levels counts as a file.
fn files_below(path: &Path, depth: usize) -> Result<Vec<PathBuf>, AdminError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(AdminError::io(path))? {
        let entry = entry.map_err(AdminError::io(path))?;
        let is_dir = entry.file_type().map_err(AdminError::io(path))?.is_dir();
        if is_dir && depth > 0 {
            files.extend(files_below(&entry.path(), depth - 1)?);
        } else {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Makes the trees of new users durable before anything names them. All are made first and synced then: one journal commit of the file system
/// carries them all, and the other syncs find nothing to do. The content of `lastauth` may be lost, it says nothing yet.
pub(super) fn sync_users(domain: &Path, users: &[PathBuf]) -> Result<(), AdminError> {
    for path in users.iter().flat_map(|user| [user.join("Maildir"), user.clone()]) {
        postino_disk::sync_dir(&path).map_err(AdminError::io(&path))?;
    }
    postino_disk::sync_dir(domain).map_err(AdminError::io(domain))
}

/// Makes the content of these new files durable.
pub(super) fn sync_files(paths: &[PathBuf]) -> Result<(), AdminError> {
    for path in paths {
        File::open(path).and_then(|file| file.sync_all()).map_err(AdminError::io(path))?;
    }
    Ok(())
}
