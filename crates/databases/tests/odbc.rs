//! The contract through ODBC: Debian's drivers for SQLite, PostgreSQL and MariaDB, each where it is installed.

use crate::contract::{self, record};
use postino_databases::connection_file::OdbcServer;
use postino_databases::{Dialect, Layout, Limits, OdbcSettings};
use postino_ports::accounts::{AccountsError, Keepers};
use postino_testkit::database_server::{Brand, DatabaseServer};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A driver's library; `None`: not installed here.
fn driver(file: &str) -> Option<PathBuf> {
    let places = ["/usr/lib/x86_64-linux-gnu/odbc", "/usr/lib/aarch64-linux-gnu/odbc"];
    let found = places.iter().map(|place| Path::new(place).join(file)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("skipped: {file} is not installed");
    }
    found
}

fn keepers(line: &str, dialect: Dialect, layout: Layout) -> Keepers {
    let limits = Limits { connect: Duration::from_secs(2), query: Duration::from_secs(2), ..Limits::default() };
    let read = OdbcServer::parse(line).unwrap();
    postino_databases::odbc(&OdbcSettings { read, write: None, dialect, layout, limits })
}

fn contracts(line: impl Fn(&str) -> String, dialect: Dialect) -> Keepers {
    let one = keepers(&line("vpopmail"), dialect, Layout::OneTable);
    assert!(matches!(one.accounts.find("one.example", "ann"), Err(AccountsError::Unavailable { .. })), "no table is not `no such user`");
    contract::run(&one);
    contract::too_long(&one);
    let tables = keepers(&line("tables"), dialect, Layout::TableForEachDomain);
    contract::run(&tables);
    contract::too_long(&tables);
    contract::tables_of_domains(&tables);
    one
}

#[test]
fn sqlite() {
    let Some(driver) = driver("libsqlite3odbc.so") else { return };
    let directory = tempfile::tempdir().unwrap();
    let line = |name: &str| format!("Driver={};Database={}/{name}.db", driver.display(), directory.path().display());
    contracts(line, Dialect::Sqlite);
    let wrong = keepers(&line("vpopmail"), Dialect::Oracle, Layout::OneTable);
    let error = wrong.accounts.find("one.example", "ann").unwrap_err().to_string();
    assert!(error.contains("odbc_dialect"), "{error}");
}

#[test]
fn postgresql() {
    let Some(driver) = driver("psqlodbcw.so") else { return };
    let Some(mut server) = DatabaseServer::start_new(Brand::Postgresql) else { return };
    server.sql("", "CREATE DATABASE tables");
    let place = server.directory().display().to_string();
    let line = |name: &str| format!("Driver={};Servername={place};UID=postgres;PWD={{se;cret}};Database={name}", driver.display());
    let one = contracts(line, Dialect::Postgresql);
    outages(&mut server, &one);
}

#[test]
fn mariadb() {
    let Some(driver) = driver("libmaodbc.so") else { return };
    let Some(mut server) = DatabaseServer::start_new(Brand::Mariadb) else { return };
    server.sql("", "CREATE DATABASE tables");
    let place = server.directory().join("m.sock").display().to_string();
    let line = |name: &str| format!("Driver={};SOCKET={place};UID=root;Database={name}", driver.display());
    let one = contracts(line, Dialect::Mysql);
    outages(&mut server, &one);
}

#[test]
fn no_message_shows_the_password() {
    let keepers = keepers("Driver=/nowhere/secret-word.so;PWD=secret-word", Dialect::Oracle, Layout::OneTable);
    let error = keepers.accounts.find("one.example", "ann").unwrap_err();
    // The driver manager repeats the file's name, in which the password stands here.
    assert!(matches!(error, AccountsError::Unavailable { .. }) && error.to_string().contains("'/nowhere/***.so'"), "{error}");
}

/// Down, up again, frozen, thawed: temporary while it lasts, and never for longer than the time-out.
fn outages(server: &mut DatabaseServer, keepers: &Keepers) {
    keepers.accounts.insert("one.example", &record("ann")).unwrap();
    let unavailable = || assert!(matches!(keepers.accounts.find("one.example", "ann"), Err(AccountsError::Unavailable { .. })));
    server.stop();
    let asked = Instant::now();
    for _ in 0..20 {
        unavailable();
    }
    assert!(asked.elapsed() < Duration::from_secs(10), "a database that is down costs one attempt, not one each");
    server.start();
    let found = || {
        let asked = Instant::now();
        loop {
            match keepers.accounts.find("one.example", "ann") {
                Ok(found) => break assert_eq!(found, Some(record("ann"))),
                Err(error) => assert!(asked.elapsed() < Duration::from_secs(20), "{error}"),
            }
        }
    };
    found();
    server.pause();
    let asked = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(unavailable);
        }
    });
    assert!(asked.elapsed() < Duration::from_secs(10), "the time-out holds: {:?}", asked.elapsed());
    server.resume();
    found();
}
