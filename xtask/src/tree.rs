//! The files of the repository: what git tracks, or everything but build output where there is no git. Read once a check; never written.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One text file.
pub(crate) struct TextFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// Its content.
    pub(crate) text: String,
}

/// All tracked text files up to 2 MiB, sorted by path.
pub(crate) fn text_files(root: &Path) -> Vec<TextFile> {
    let mut paths = tracked(root).unwrap_or_else(|| walk(root));
    paths.sort();
    let read = |path: String| {
        let full = root.join(&path);
        let small = std::fs::metadata(&full).is_ok_and(|m| m.is_file() && m.len() <= 2 << 20);
        let text = small.then(|| std::fs::read(&full).ok()).flatten().and_then(|bytes| String::from_utf8(bytes).ok())?;
        Some(TextFile { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    let out = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z"]).output().ok().filter(|o| o.status.success())?;
    let paths: Vec<String> =
        out.stdout.split(|b| *b == 0).filter(|p| !p.is_empty()).map(|p| String::from_utf8_lossy(p).into_owned()).collect();
    (!paths.is_empty()).then_some(paths)
}

fn walk(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&dir)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let path = dir.join(&name);
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && name != "target" && name != ".git" {
                waiting.push(path);
            } else if kind.is_file() {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found
}

/// True for Rust files that are ours: the kits under `tools/` keep their own style.
pub(crate) fn is_rust(path: &str) -> bool {
    path.ends_with(".rs") && !path.starts_with("tools/")
}

/// True for files that hold only tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}

/// The rows of a tab-separated file with their line numbers; empty lines and `#` lines left out.
pub(crate) fn rows(text: &str) -> Vec<(usize, Vec<&str>)> {
    let lines = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#'));
    lines.map(|(i, l)| (i + 1, l.split('\t').map(str::trim).collect())).collect()
}
