//! `qmail-newmrh(8)`: compiles control/morercpthosts into control/morercpthosts.cdb; the hosts in lower case, without data.

use crate::fatal::Fatal;
use postino_control::cdb::CdbWriter;
use std::path::Path;

pub(crate) fn run(home: &Path) -> Result<(), Fatal> {
    let text = std::fs::read(home.join("control/morercpthosts")).map_err(|e| Fatal::unable("read control/morercpthosts", &e))?;
    let mut writer = CdbWriter::new();
    for (_, host) in postino_control::classic::list(&text) {
        writer.add(&host.to_ascii_lowercase(), b"").map_err(|e| Fatal::soft(format!("unable to write control/morercpthosts.tmp: {e}")))?;
    }
    let cdb = writer.finish().map_err(|e| Fatal::soft(format!("unable to write control/morercpthosts.tmp: {e}")))?;
    let target = home.join("control/morercpthosts.cdb");
    postino_disk::replace_file(&target, &cdb, 0o644)
        .map_err(|e| Fatal::unable("move control/morercpthosts.tmp to control/morercpthosts.cdb", &e))
}
