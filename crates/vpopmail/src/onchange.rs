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
    if found.uid() != 0 && rustix::process::geteuid().is_root() {
        // What vpopmail wrote must not run as root.
        command.uid(found.uid()).gid(found.gid());
    }
    match command.status() {
        Ok(status) if status.success() => {}
        Ok(status) => complain(&status),
        Err(error) => complain(&error),
    }
}
