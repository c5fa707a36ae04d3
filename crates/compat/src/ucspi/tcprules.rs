//! `tcprules CDB TMP < RULES`: compiles rules by client address. The old file stands until the new one is whole and on the disk.

use crate::fatal::Fatal;
use postino_control::tcprules::Rules;
use postino_types::exit;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

pub(crate) fn run(args: &[OsString]) -> Result<(), Fatal> {
    let [cdb, tmp, ..] = args else { return Err(Fatal::usage("tcprules rules.cdb rules.tmp")) };
    let mut text = Vec::new();
    io::stdin().lock().read_to_end(&mut text).map_err(|e| Fatal::unable("read input", &e))?;
    let rules = Rules::parse(&text).map_err(|bad| {
        let line = text.split(|&b| b == b'\n').nth(bad.line.saturating_sub(1)).unwrap_or_default();
        let line = String::from_utf8_lossy(postino_control::classic::trim_end(line)).into_owned();
        Fatal::with_code(exit::HARD, format!("unable to parse this line: {line}"))
    })?;
    let bytes = rules.to_cdb().map_err(|e| Fatal::soft(format!("unable to write {}: {e}", Path::new(tmp).display())))?;
    replace(Path::new(cdb), Path::new(tmp), &bytes)
}

/// Writes `bytes` to `tmp`, syncs it and makes it `target`, durably.
pub(super) fn replace(target: &Path, tmp: &Path, bytes: &[u8]) -> Result<(), Fatal> {
    let mut file = File::create(tmp).map_err(|e| Fatal::unable(&format!("create {}", tmp.display()), &e))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|e| Fatal::unable(&format!("write {}", tmp.display()), &e))?;
    let moved = std::fs::rename(tmp, target).and_then(|()| {
        let parent = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        postino_disk::sync_dir(parent)
    });
    moved.map_err(|e| Fatal::unable(&format!("move {} to {}", tmp.display(), target.display()), &e))
}
