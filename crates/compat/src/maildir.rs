//! What programs that read a Maildir have in common: its files, and the tidying of tmp. Called by qmail-pop3d, maildirserial, maildir2mbox and
//! maildirwatch; never reads or moves a message.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Files in tmp not touched for so long are an unfinished delivery's (maildir(5)).
const TMP_AGE: Duration = Duration::from_secs(36 * 3600);

/// Tells each file of `new`, `cur` or `tmp`: its path below the Maildir, and what is known of it. Hidden names are no messages.
pub(crate) fn each_file(maildir: &Path, folder: &str, take: &mut dyn FnMut(PathBuf, Metadata)) -> io::Result<()> {
    for entry in fs::read_dir(maildir.join(folder))? {
        let name = entry?.file_name();
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        let path = Path::new(folder).join(name);
        // Gone already: another reader was quicker.
        if let Ok(metadata) = fs::metadata(maildir.join(&path)) {
            take(path, metadata);
        }
    }
    Ok(())
}

/// Removes what unfinished deliveries left in tmp. Tidiness only: what stays is tried again next time.
pub(crate) fn clean_tmp(maildir: &Path) {
    let now = SystemTime::now();
    let _ = each_file(maildir, "tmp", &mut |path, metadata| {
        let age = metadata.accessed().ok().and_then(|touched| now.duration_since(touched).ok());
        if age.is_some_and(|age| age > TMP_AGE) {
            let _ = fs::remove_file(maildir.join(path));
        }
    });
}
