//! `qmail-qread`, `qmail-qstat`, `qmail-tcpto`, `qmail-tcpok`: what waits, and which hosts did not answer lately. The queue is opened by postino,
//! which asks the running server; only the table of timeouts is read and cleared here.

use crate::fatal::Fatal;
use crate::remote::tcpto::{TABLE_BYTES, now, records};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Becomes `postino queue WORDS --qmail`.
pub(crate) fn ask_postino(word: &str, home: &Path) -> Result<(), Fatal> {
    let program = postino(home);
    let error = Command::new(&program).args(["queue", word, "--qmail"]).env("POSTINO_HOME", home).exec();
    Err(Fatal::unable(&format!("run {}", program.display()), &error))
}

/// postino next to this program, or in the home, or wherever PATH has it.
fn postino(home: &Path) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|me| Some(me.parent()?.join("postino")));
    let places = beside.into_iter().chain([home.join("bin/postino")]);
    places.into_iter().find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from("postino"))
}

fn unable(doing: &str, error: &std::io::Error) -> Fatal {
    Fatal::unable(&format!("{doing} queue/lock/tcpto"), error)
}

/// `qmail-tcpto(8)`.
pub(crate) fn tcpto(home: &Path) -> Result<(), Fatal> {
    let file = File::open(home.join("queue/lock/tcpto")).map_err(|e| unable("open", &e))?;
    file.lock_shared().map_err(|e| unable("lock", &e))?;
    let mut bytes = Vec::new();
    file.take(TABLE_BYTES).read_to_end(&mut bytes).map_err(|e| unable("read", &e))?;
    let now = now();
    let mut out = std::io::stdout().lock();
    for record in records(&bytes).iter().filter(|record| record.count > 0) {
        let ago = now.saturating_sub(u64::from(record.when));
        let line = format!("{} timed out {ago} seconds ago; # recent timeouts: {}", Ipv4Addr::from(record.ip), record.count);
        writeln!(out, "{line}").map_err(|e| Fatal::unable("write", &e))?;
    }
    Ok(())
}

/// `qmail-tcpok(8)`.
pub(crate) fn tcpok(home: &Path) -> Result<(), Fatal> {
    let mut file = OpenOptions::new().write(true).open(home.join("queue/lock/tcpto")).map_err(|e| unable("open", &e))?;
    file.lock().map_err(|e| unable("lock", &e))?;
    let empty = vec![0; usize::try_from(TABLE_BYTES).unwrap_or(0)];
    file.write_all(&empty).map_err(|e| unable("write", &e))
}
