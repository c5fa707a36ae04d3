//! The contract on real servers, old tables, and servers that stop, start and freeze.

use crate::contract::{self, record};
use postino_databases::{Layout, Limits};
use postino_ports::accounts::{AccountsError, Keepers};
use postino_testkit::database_server::{Brand, DatabaseServer};
use std::time::{Duration, Instant};

fn keepers(server: &DatabaseServer, brand: Brand, database: &str, layout: Layout) -> Keepers {
    let limits = Limits { connect: Duration::from_secs(2), query: Duration::from_secs(2), ..Limits::default() };
    let line = server.connection_line(database);
    match brand {
        Brand::Postgresql => {
            let read = postino_databases::connection_file::PostgresqlServer::parse(&line).unwrap();
            postino_databases::postgresql(&postino_databases::PostgresqlSettings { read, write: None, layout, limits })
        }
        Brand::Mariadb => {
            let read = postino_databases::connection_file::MysqlServer::parse(&line).unwrap();
            postino_databases::mysql(&postino_databases::MysqlSettings { read, write: None, authorities: None, layout, limits })
        }
    }
}

#[test]
fn postgresql() {
    all(Brand::Postgresql, include_str!("old_postgresql.sql"));
}

#[test]
fn mariadb() {
    all(Brand::Mariadb, include_str!("old_mysql.sql"));
}

fn all(brand: Brand, old: &str) {
    let Some(mut server) = DatabaseServer::start_new(brand) else { return };
    let one = keepers(&server, brand, "vpopmail", Layout::OneTable);
    assert!(matches!(one.accounts.find("one.example", "ann"), Err(AccountsError::Unavailable { .. })), "no table is not `no such user`");
    contract::run(&one);
    contract::too_long(&one);
    many_accounts(&one);
    many_callers(&one);
    server.sql("", "CREATE DATABASE tables");
    replica_and_master(&server, brand);
    let tables = keepers(&server, brand, "tables", Layout::TableForEachDomain);
    contract::run(&tables);
    contract::too_long(&tables);
    contract::tables_of_domains(&tables);
    server.sql("", "CREATE DATABASE old");
    server.sql("old", old);
    what_vpopmail_wrote(&keepers(&server, brand, "old", Layout::OneTable));
    outages(&mut server, &one);
}

/// Questions go to the first server, changes to the second: here two databases, so that one sees who was asked.
fn replica_and_master(server: &DatabaseServer, brand: Brand) {
    server.sql("", "CREATE DATABASE master");
    let (read, write) = (server.connection_line("vpopmail"), server.connection_line("master"));
    let (layout, limits) = (Layout::OneTable, Limits::default());
    let both = match brand {
        Brand::Postgresql => {
            let parse = |line: &str| postino_databases::connection_file::PostgresqlServer::parse(line).unwrap();
            let (read, write) = (parse(&read), Some(parse(&write)));
            postino_databases::postgresql(&postino_databases::PostgresqlSettings { read, write, layout, limits })
        }
        Brand::Mariadb => {
            let parse = |line: &str| postino_databases::connection_file::MysqlServer::parse(line).unwrap();
            let (read, write) = (parse(&read), Some(parse(&write)));
            postino_databases::mysql(&postino_databases::MysqlSettings { read, write, authorities: None, layout, limits })
        }
    };
    let master = keepers(server, brand, "master", Layout::OneTable);
    both.accounts.add_domain("one.example").unwrap();
    both.accounts.insert("one.example", &record("ann")).unwrap();
    assert_eq!(master.accounts.find("one.example", "ann"), Ok(Some(record("ann"))), "the master got it");
    assert_eq!(both.accounts.find("one.example", "ann"), Ok(None), "the replica was asked, and has not heard of it");
    both.accounts.update("one.example", &record("ann")).unwrap();
    both.accounts.remove("one.example", "ann").unwrap();
    assert_eq!(master.accounts.count("one.example"), Ok(0));
}

fn many_accounts(keepers: &Keepers) {
    let names: Vec<String> = (0..10_000).map(|n| format!("u{n:05}")).collect();
    keepers.accounts.add_domain("big.example").unwrap();
    for name in &names {
        keepers.accounts.insert("big.example", &record(name)).unwrap();
    }
    assert_eq!(keepers.accounts.count("big.example"), Ok(10_000));
    let mut seen: Vec<String> = Vec::new();
    while let Some(page) =
        Some(keepers.accounts.page("big.example", seen.last().map(String::as_str), 1000).unwrap()).filter(|p| !p.is_empty())
    {
        seen.extend(page.into_iter().map(|record| record.name));
    }
    assert_eq!(seen, names);
    keepers.accounts.remove_domain("big.example").unwrap();
    assert_eq!(keepers.accounts.count("big.example"), Ok(0));
}

/// More callers than connections, all adding the same names: each name is added once.
fn many_callers(keepers: &Keepers) {
    let added = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                for n in 0..20 {
                    match keepers.accounts.insert("one.example", &record(&format!("same{n}"))) {
                        Ok(()) => drop(added.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
                        Err(AccountsError::Exists(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                    let address = std::net::IpAddr::from([192, 0, 2, n]);
                    keepers.relays.open(address, 1000).unwrap();
                }
            });
        }
    });
    assert_eq!((added.into_inner(), keepers.accounts.count("one.example")), (20, Ok(20)));
    assert_eq!(keepers.relays.clear(1000), Ok(20));
    for n in 0..20 {
        keepers.accounts.remove("one.example", &format!("same{n}")).unwrap();
    }
}

/// Tables of vpopmail 5.4 with its narrow columns.
fn what_vpopmail_wrote(keepers: &Keepers) {
    let ann = keepers.accounts.find("old.example", "ann").unwrap().unwrap();
    assert_eq!((ann.password.as_str(), ann.flags, ann.quota.as_str()), ("$1$abcdefgh$0123456789abcdefghijkl", 6, "5000000S,1000C"));
    assert_eq!((ann.clear.as_deref(), ann.gecos.as_slice()), (Some("geheim"), "Änn O'Brien".as_bytes()));
    assert_eq!(keepers.accounts.count("old.example"), Ok(2));
    let mut long = ann.clone();
    long.password = "$6$rounds=5000$0123456789abcdef$".to_owned() + &"x".repeat(86);
    assert_eq!(keepers.accounts.update("old.example", &long), Err(AccountsError::TooLong { column: "pw_passwd", bytes_max: 40 }));
    long.password = ann.password.clone();
    long.clear = Some("seventeen letters".into());
    assert_eq!(keepers.accounts.update("old.example", &long), Err(AccountsError::TooLong { column: "pw_clear_passwd", bytes_max: 16 }));
    assert_eq!(keepers.accounts.find("old.example", "ann"), Ok(Some(ann)));
    let aliases = keepers.aliases.as_ref().unwrap();
    assert_eq!(aliases.lines("old.example", "sales").unwrap(), ["&ann@old.example", "&bob@old.example"]);
    assert_eq!(
        keepers.logins.last("old.example", "ann").unwrap().map(|login| (login.address, login.at)),
        Some(("192.0.2.5".into(), 1_030_000_000))
    );
    let six = "2001:db8:1111:2222:3333:4444:5555:6666";
    let login = postino_ports::accounts::LastLogin { address: six.into(), at: 1_700_000_000 };
    keepers.logins.note("old.example", "ann", &login).unwrap();
    assert_eq!(
        keepers.logins.last("old.example", "ann").unwrap().map(|login| (login.address, login.at)),
        Some(("::".into(), 1_700_000_000))
    );
    assert_eq!(keepers.relays.list().unwrap(), [("192.0.2.5".parse().unwrap(), 1_030_000_000)]);
    assert_eq!(keepers.relays.open("192.0.2.6".parse().unwrap(), 1_030_000_100), Ok(true));
    assert_eq!(keepers.relays.open("192.0.2.6".parse().unwrap(), 1_030_000_100), Ok(false));
    assert!(matches!(keepers.relays.open(six.parse().unwrap(), 1), Err(AccountsError::TooLong { bytes_max: 18, .. })));
    assert_eq!(keepers.relays.clear(1_030_000_000), Ok(1));
    assert_eq!(keepers.relays.clear(1_030_000_100), Ok(1));
    let limits = keepers.domains.limits("old.example").unwrap().unwrap();
    assert_eq!((limits.accounts_max, limits.default_quota_bytes, limits.flags), (25, 5_000_000, postino_types::account::FLAG_NO_IMAP));
    assert_eq!(keepers.domains.hash_state("old.example").unwrap().unwrap().level_end, [61, 61, 61]);
    assert_eq!(keepers.domains.domain_of("192.0.2.80".parse().unwrap()), Ok(Some("old.example".into())));
}

/// Down, up again, frozen, thawed: temporary while it lasts, and never for longer than the deadline.
fn outages(server: &mut DatabaseServer, keepers: &Keepers) {
    keepers.accounts.insert("one.example", &record("ann")).unwrap();
    let unavailable = || assert!(matches!(keepers.accounts.find("one.example", "ann"), Err(AccountsError::Unavailable { .. })));
    server.stop();
    let asked = Instant::now();
    for _ in 0..50 {
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
    assert!(asked.elapsed() < Duration::from_secs(10), "the deadline holds: {:?}", asked.elapsed());
    server.resume();
    found();
    keepers.accounts.remove("one.example", "ann").unwrap();
}
