//! Exit codes that scripts rely on (man pages dot-qmail(5), qmail-command(8), qmail-queue(8)).

/// All is well.
pub const OK: i32 = 0;
/// Usage of our own commands was wrong.
pub const USAGE: i32 = 2;
/// dot-qmail: success, skip the rest of the file.
pub const STOP: i32 = 99;
/// Permanent failure.
pub const HARD: i32 = 100;
/// Temporary failure.
pub const SOFT: i32 = 111;

/// True for the exit codes of a program in dot-qmail that mean a permanent failure.
#[must_use]
pub const fn program_is_hard(code: i32) -> bool {
    matches!(code, 100 | 64 | 65 | 70 | 76 | 77 | 78 | 112)
}
