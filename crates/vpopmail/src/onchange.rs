//! `etc/onchange` of vpopmail's home: a site's own program that is told of each change, `onchange OPERATION OBJECT …`. Called after a change stands, by
//! vpopmail's programs and by `postino domain`, `user` and `alias`. What it answers changes nothing.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Tells it, when there is one. `operation` is vpopmail's word: `add_domain`, `del_domain`, `add_alias_domain`, `add_user`, `del_user`, `mod_user`,
/// `valias_insert`, `valias_remove`, `valias_delete`, `mod_limits`.
pub fn tell(vpopmail_home: &Path, operation: &str, objects: &[&str]) {
    let path = vpopmail_home.join("etc/onchange");
    let Ok(found) = std::fs::symlink_metadata(&path) else { return };
    let complain = |what: &dyn std::fmt::Display| drop(writeln!(std::io::stderr().lock(), "warning: {}: {what}", path.display()));
    let owner = std::fs::metadata(vpopmail_home).map_or(0, |home| home.uid());
    if !found.is_file() || found.mode() & 0o022 != 0 || (found.uid() != 0 && found.uid() != owner) {
        return complain(&"not run: it must be a file that only root or vpopmail may write");
    }
    if found.mode() & 0o111 == 0 {
        return;
    }
    let mut command = Command::new(&path);
    command.arg(operation).args(objects).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        // What vpopmail wrote, or may put in its place, must not run as root.
        let above = [path.parent().unwrap_or(vpopmail_home), vpopmail_home].map(std::fs::metadata);
        let all = std::iter::once(Some(found)).chain(above.map(Result::ok)).flatten();
        if let Some(keeper) = all.into_iter().find(|part| part.uid() != 0) {
            command.uid(keeper.uid()).gid(keeper.gid());
        }
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => complain(&status),
        Err(error) => complain(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn in_a_folder_of_vpopmails_nothing_runs_as_root() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root has rights to lose");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let (etc, told) = (home.path().join("etc"), home.path().join("told"));
        std::fs::create_dir(&etc).unwrap();
        std::fs::write(etc.join("onchange"), "#!/bin/sh\nid -u > \"$1\"\n").unwrap();
        std::fs::set_permissions(etc.join("onchange"), PermissionsExt::from_mode(0o755)).unwrap();
        let as_whom = || {
            tell(home.path(), &told.display().to_string(), &[]);
            let text = std::fs::read_to_string(&told).unwrap();
            std::fs::remove_file(&told).unwrap();
            text
        };
        assert_eq!(as_whom(), "0\n", "all of the way is root's");
        chown(home.path(), Some(65534), Some(65534)).unwrap();
        assert_eq!(as_whom(), "65534\n");
    }
}
