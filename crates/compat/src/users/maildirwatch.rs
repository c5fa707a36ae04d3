//! `maildirwatch(1)`: shows what is new in $MAILDIR, again every half minute, for a terminal that is left open. Called by `main`; never touches a
//! message.

use super::notice::{self, Glance};
use crate::fatal::Fatal;
use crate::maildir;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(30);
/// Goes to the first line and clears the screen.
const CLEAR: &str = "\x1b[;H\x1b[;J";
/// Most messages shown.
const SHOWN_MAX: usize = 100;

pub(super) fn run() -> Result<(), Fatal> {
    let maildir = std::env::var_os("MAILDIR").map(PathBuf::from).ok_or_else(|| Fatal::soft("MAILDIR not set"))?;
    loop {
        maildir::clean_tmp(&maildir);
        let screen = screen(&maildir).map_err(|e| Fatal::unable("scan $MAILDIR", &e))?;
        let mut out = io::stdout().lock();
        out.write_all(screen.as_bytes()).and_then(|()| out.flush()).map_err(|e| Fatal::unable("write output", &e))?;
        std::thread::sleep(PAUSE);
    }
}

fn screen(maildir: &Path) -> io::Result<String> {
    let mut found = Vec::new();
    maildir::each_file(maildir, "new", &mut |path, metadata| {
        if metadata.is_file() {
            found.push((metadata.modified().ok(), path));
        }
    })?;
    found.sort();
    let mut out = String::from(CLEAR);
    for (_, path) in found.iter().take(SHOWN_MAX) {
        // Read by another program meanwhile.
        let Ok(mut message) = File::open(maildir.join(path)) else { continue };
        out.push_str(&lines(&notice::glance(&mut message)?));
    }
    if found.len() > SHOWN_MAX {
        out.push_str(&format!("... and {} more\n", found.len() - SHOWN_MAX));
    }
    Ok(out)
}

fn lines(seen: &Glance) -> String {
    let (to, from) = (seen.delivered_to.as_deref().unwrap_or_default(), seen.return_path.as_deref().unwrap_or_default());
    let mut out = format!("TO <{to}> FROM <{from}>\n");
    for line in [&seen.subject, &seen.text].into_iter().filter(|line| !line.is_empty()) {
        out.push_str(&format!("  {line}\n"));
    }
    out
}
