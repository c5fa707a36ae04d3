//! `docs/rooms.tsv`: questions of a newcomer and the place that answers each. The place must exist.

use crate::{Faults, tree};
use std::path::Path;

const TABLE: &str = "docs/rooms.tsv";

pub(crate) fn check(root: &Path) -> Faults {
    let text = match std::fs::read_to_string(root.join(TABLE)) {
        Ok(text) => text,
        Err(e) => return vec![format!("{TABLE}: {e}")],
    };
    let judge = |(line, cells): (usize, Vec<&str>)| match cells.as_slice() {
        [_, path] if root.join(path).try_exists().unwrap_or(false) => None,
        [question, path] => Some(format!("{TABLE}:{line}: {question}: there is no {path}")),
        _ => Some(format!("{TABLE}:{line}: not question TAB path")),
    };
    tree::rows(&text).into_iter().filter_map(judge).collect()
}
