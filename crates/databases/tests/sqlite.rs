//! The contract on SQLite, and what only SQLite has.

use crate::contract;
use postino_databases::{Layout, Limits, SqliteSettings};
use postino_ports::accounts::{AccountsError, Keepers};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn keepers(directory: &Path, layout: Layout) -> Keepers {
    postino_databases::sqlite(&SqliteSettings { path: directory.join("accounts.db"), layout, limits: Limits::default() })
}

#[test]
fn one_table() {
    let directory = tempfile::tempdir().unwrap();
    let keepers = keepers(directory.path(), Layout::OneTable);
    contract::run(&keepers);
    contract::too_long(&keepers);
}

#[test]
fn a_table_for_each_domain() {
    let directory = tempfile::tempdir().unwrap();
    let keepers = keepers(directory.path(), Layout::TableForEachDomain);
    contract::run(&keepers);
    contract::tables_of_domains(&keepers);
}

#[test]
fn the_file_is_private_and_a_missing_one_is_no_empty_domain() {
    let directory = tempfile::tempdir().unwrap();
    let keepers = keepers(directory.path(), Layout::OneTable);
    assert!(matches!(keepers.accounts.find("a.example", "ann"), Err(AccountsError::Unavailable { .. })), "unknown is temporary");
    keepers.accounts.add_domain("a.example").unwrap();
    assert_eq!(keepers.accounts.find("a.example", "ann"), Ok(None));
    let mode = std::fs::metadata(directory.path().join("accounts.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
