//! `docs/reference.md`, made from the table of settings.

use crate::Faults;
use std::path::Path;

const PAGE: &str = "docs/reference.md";

pub(crate) fn write(root: &Path) -> Faults {
    match std::fs::write(root.join(PAGE), postino_control::reference_markdown()) {
        Ok(()) => Faults::new(),
        Err(e) => vec![format!("{PAGE}: {e}")],
    }
}

pub(crate) fn check(root: &Path) -> Faults {
    match std::fs::read_to_string(root.join(PAGE)) {
        Ok(page) if page == postino_control::reference_markdown() => Faults::new(),
        Ok(_) => vec![format!("{PAGE}: is not what the table says; run: cargo run -p xtask -- reference")],
        Err(e) => vec![format!("{PAGE}: {e}")],
    }
}
