//! `maildirmake(1)`: makes one Maildir, which must not be there yet.

use crate::fatal::Fatal;
use rustix::fs::Mode;
use std::ffi::OsString;
use std::path::Path;

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let [directory] = args else { return Err(Fatal::usage("maildirmake name")) };
    let directory = Path::new(directory);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    for path in [directory.to_path_buf(), directory.join("tmp"), directory.join("new"), directory.join("cur")] {
        rustix::fs::mkdir(&path, Mode::RWXU).map_err(|e| Fatal::unable(&format!("mkdir {}", path.display()), &e.into()))?;
    }
    let parent = directory.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    for path in [directory, parent] {
        postino_disk::sync_dir(path).map_err(|e| Fatal::unable(&format!("sync {}", path.display()), &e))?;
    }
    Ok(())
}
