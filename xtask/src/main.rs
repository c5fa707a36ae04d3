//! The repository's own checks: `cargo run -p xtask -- layers | tidy | rfc | rooms | reference [--check] | all`.
//! Called by `./test` and by people; never part of the product, never changes a file but `docs/reference.md`.
#![forbid(unsafe_code)]

mod layers;
mod masked;
mod reference;
mod rfc;
mod rooms;
mod tidy;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

/// What a check found: one line a fault, `file:line: what`.
pub(crate) type Faults = Vec<String>;

const USAGE: &str = "usage: xtask layers | tidy | rfc | rooms | reference [--check] | all";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let root = root();
    let faults = match words.as_slice() {
        ["layers"] => layers::check(&root),
        ["tidy"] => tidy::check(&root),
        ["rfc"] => rfc::check(&root),
        ["rooms"] => rooms::check(&root),
        ["reference"] => reference::write(&root),
        ["reference", "--check"] => reference::check(&root),
        ["all"] => [layers::check, tidy::check, rfc::check, rooms::check, reference::check].iter().flat_map(|check| check(&root)).collect(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    for fault in &faults {
        eprintln!("{fault}");
    }
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
