//! The keys of `[directory]` in `control/server.toml`: who keeps accounts.

use super::{Home, Kind, Reload, Setting};
use crate::directory::{OdbcDialect, Store};
use crate::resolved::Config;
use std::time::Duration;

const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, home: Home::Toml, kind, default, unit: "", reload: Reload::Restart, help, editable: true }
}

const fn seconds(name: &'static str, bounds: (u64, u64), set: fn(&mut Config, u64), default: &'static str, help: &'static str) -> Setting {
    Setting { unit: "s", ..key(name, Kind::Number { min: bounds.0, max: bounds.1, set }, default, help) }
}

/// By name.
pub(super) static SETTINGS: &[Setting] = &[
    key(
        "directory.aliases",
        Kind::Flag(|c, v| c.directory.aliases = v),
        "true",
        "Alias lines are kept in the store too (table valias); those in .qmail files count in any case.",
    ),
    seconds(
        "directory.cache_absent_s",
        (0, 3600),
        |c, v| c.directory.cache_absent = Duration::from_secs(v),
        "1",
        "How long the running server remembers that an account does not exist.",
    ),
    seconds(
        "directory.cache_s",
        (0, 3600),
        |c, v| c.directory.cache = Duration::from_secs(v),
        "5",
        "How long the running server remembers an account of the store. A new password counts at once; an old one may work for so long.",
    ),
    seconds(
        "directory.connect_timeout_s",
        (1, 600),
        |c, v| c.directory.connect_timeout = Duration::from_secs(v),
        "5",
        "Longest wait for a connection to the store.",
    ),
    key(
        "directory.connection_file",
        Kind::Path(|c, v| c.directory.connection_file = Some(v)),
        "",
        "vpopmail's file that says where the store is; when not set, vpopmail.pgsql, vpopmail.mysql, vpopmail.odbc, vpopmail.ldap or (the database itself) vpopmail.sqlite in etc of vpopmail's home.",
    ),
    Setting {
        unit: "",
        ..seconds(
            "directory.connections_max",
            (1, 64),
            |c, v| c.directory.connections_max = usize::try_from(v).unwrap_or(4),
            "4",
            "Connections to the store at once; as many again to the server for changes where that is another.",
        )
    },
    key(
        "directory.layout",
        Kind::Choice(&["one-table", "many-tables"], |c, v| c.directory.many_tables = v == "many-tables"),
        "one-table",
        "vpopmail's layout of account tables: one for all domains, or one for each.",
    ),
    key(
        "directory.limits",
        Kind::Flag(|c, v| c.directory.limits = v),
        "true",
        "Limits of domains, addresses of domains and the state of hashing are kept in the store too (tables limits, ip_alias_map, dir_control).",
    ),
    key("directory.logins", Kind::Flag(|c, v| c.directory.logins = v), "true", "Last logins are kept in the store too (table lastauth)."),
    key(
        "directory.odbc_dialect",
        Kind::Choice(&OdbcDialect::NAMES, |c, v| c.directory.odbc_dialect = OdbcDialect::named(v).unwrap_or_default()),
        "oracle",
        "The SQL of the database behind ODBC (store = odbc). One that names itself as another is refused.",
    ),
    seconds(
        "directory.query_timeout_s",
        (1, 600),
        |c, v| c.directory.query_timeout = Duration::from_secs(v),
        "5",
        "Longest wait for an answer of the store.",
    ),
    key(
        "directory.relays",
        Kind::Flag(|c, v| c.directory.relays = v),
        "true",
        "Relays opened by logins are kept in the store too (table relay).",
    ),
    key(
        "directory.store",
        Kind::Choice(&Store::NAMES, |c, v| c.directory.store = Store::named(v).unwrap_or_default()),
        "files",
        "Who keeps the accounts of virtual domains: vpopmail's files, or a database with vpopmail's tables. All but files and sqlite want a program built with the feature of that name.",
    ),
    key(
        "directory.tls_authorities",
        Kind::Path(|c, v| c.directory.tls_authorities = Some(v)),
        "",
        "Certificates (PEM) of authorities that a MySQL server's certificate must come from; without them there is no TLS. PostgreSQL: sslrootcert in the connection file.",
    ),
];
