//! `qmail-newu(8)`: compiles users/assign into users/cdb. The old users/cdb stays in use until the new one is whole on the disk.

use crate::fatal::Fatal;
use postino_control::assign;
use std::path::Path;

pub(crate) fn run(home: &Path) -> Result<(), Fatal> {
    let text = std::fs::read(home.join("users/assign")).map_err(|e| Fatal::unable("open users/assign", &e))?;
    let lines = assign::parse(&text).map_err(|_| Fatal::soft("bad format in users/assign"))?;
    let cdb = assign::to_cdb(&lines).map_err(|e| Fatal::soft(format!("unable to write users/cdb.tmp: {e}")))?;
    postino_disk::replace_file(&home.join("users/cdb"), &cdb, 0o644).map_err(|e| Fatal::unable("move users/cdb.tmp to users/cdb", &e))
}
