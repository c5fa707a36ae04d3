//! How the historical programs complain: `PROGRAM: fatal: TEXT` on standard error and an exit code. Used by every program here.

use crate::qq::Refused;
use postino_local::error_text::error_text;
use postino_types::exit;
use std::io::{self, Write};

/// The end of a program.
#[derive(Debug)]
pub(crate) struct Fatal {
    code: i32,
    text: String,
}

impl Fatal {
    /// Exit 111.
    pub(crate) fn soft(text: impl Into<String>) -> Self {
        Self { code: exit::SOFT, text: format!("fatal: {}", text.into()) }
    }
    /// Exit `code`.
    pub(crate) fn with_code(code: i32, text: impl Into<String>) -> Self {
        Self { code, text: format!("fatal: {}", text.into()) }
    }
    /// Exit 100.
    pub(crate) fn hard(text: impl Into<String>) -> Self {
        Self { code: exit::HARD, text: format!("fatal: {}", text.into()) }
    }
    /// The queue's own words.
    pub(crate) fn refused(refused: &Refused) -> Self {
        Self { code: refused.exit_code(), text: format!("fatal: {}", refused.text) }
    }
    /// Exit 111, `unable to WHAT: ERR`.
    pub(crate) fn unable(what: &str, error: &io::Error) -> Self {
        Self::soft(format!("unable to {what}: {}", error_text(error)))
    }
    /// Exit `code` without a word: all was said before.
    pub(crate) fn silent(code: i32) -> Self {
        Self { code, text: String::new() }
    }
    /// Exit 100, `usage: TEXT`.
    pub(crate) fn usage(text: &str) -> Self {
        Self { code: exit::HARD, text: format!("usage: {text}") }
    }
}

/// Turns a program's result into its exit code.
pub(crate) fn main(name: &str, result: Result<(), Fatal>) -> i32 {
    match result {
        Ok(()) => exit::OK,
        Err(fatal) => {
            if !fatal.text.is_empty() {
                let _ = writeln!(io::stderr().lock(), "{name}: {}", fatal.text);
            }
            fatal.code
        }
    }
}

/// As [`main`] for a program with exit codes of its own.
pub(crate) fn ended(name: &str, result: Result<i32, Fatal>) -> i32 {
    match result {
        Ok(code) => code,
        Err(fatal) => main(name, Err(fatal)),
    }
}
