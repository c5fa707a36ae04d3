//! vpopmail's tables: their columns and keys, and the statements that make them where they are missing. Called by the keepers. Widths are those of
//! vpopmail 5.6; addresses get room for IPv6, which older readers do not mind. A table that is there is used as it is, whatever its widths.

use super::dialect::{Dialect, Kind};

/// A table of vpopmail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    /// Accounts.
    Accounts,
    /// Accounts of one domain: as `Accounts` without the domain.
    AccountsOfDomain,
    /// Alias lines.
    Aliases,
    /// Last logins.
    Logins,
    /// Opened relays.
    Relays,
    /// Limits of domains.
    Limits,
    /// Addresses of ours and their domains.
    Addresses,
    /// Hashing of directories.
    Hashing,
}

/// Names that no domain's table may have.
const RESERVED: &[&str] =
    &["vpopmail", "users", "valias", "lastauth", "relay", "limits", "ip_alias_map", "dir_control", "vlog", "aliasdomains"];

/// The columns of `limits` in our order: name, and whether it is wide, narrow or between.
pub(crate) const LIMITS_COLUMNS: &[(&str, Kind, &str)] = &[
    ("maxpopaccounts", Kind::Number, "-1"),
    ("maxaliases", Kind::Number, "-1"),
    ("maxforwards", Kind::Number, "-1"),
    ("maxautoresponders", Kind::Number, "-1"),
    ("maxmailinglists", Kind::Number, "-1"),
    ("diskquota", Kind::Big, "0"),
    ("maxmsgcount", Kind::Big, "0"),
    ("defaultquota", Kind::Big, "0"),
    ("defaultmaxmsgcount", Kind::Big, "0"),
    ("disable_pop", Kind::Small, "0"),
    ("disable_imap", Kind::Small, "0"),
    ("disable_dialup", Kind::Small, "0"),
    ("disable_passwordchanging", Kind::Small, "0"),
    ("disable_webmail", Kind::Small, "0"),
    ("disable_relay", Kind::Small, "0"),
    ("disable_smtp", Kind::Small, "0"),
    ("disable_spamassassin", Kind::Small, "0"),
    ("delete_spam", Kind::Small, "0"),
    ("disable_maildrop", Kind::Small, "0"),
    ("perm_account", Kind::Small, "0"),
    ("perm_alias", Kind::Small, "0"),
    ("perm_forward", Kind::Small, "0"),
    ("perm_autoresponder", Kind::Small, "0"),
    ("perm_maillist", Kind::Small, "0"),
    ("perm_quota", Kind::Small, "0"),
    ("perm_defaultquota", Kind::Small, "0"),
];

/// The columns of `dir_control` after the domain, without `the_dir`.
pub(crate) const HASHING_COLUMNS: &[&str] = &[
    "cur_users",
    "level_cur",
    "level_max",
    "level_start0",
    "level_start1",
    "level_start2",
    "level_end0",
    "level_end1",
    "level_end2",
    "level_mod0",
    "level_mod1",
    "level_mod2",
    "level_index0",
    "level_index1",
    "level_index2",
];

/// A column: name, type, and what follows the type.
type Column = (&'static str, Kind, String);

impl Table {
    /// Its name; a domain's own table is named by the domain ([`table_of_domain`]).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accounts => "vpopmail",
            Self::AccountsOfDomain => "users",
            Self::Aliases => "valias",
            Self::Logins => "lastauth",
            Self::Relays => "relay",
            Self::Limits => "limits",
            Self::Addresses => "ip_alias_map",
            Self::Hashing => "dir_control",
        }
    }

    fn columns(self, dialect: Dialect) -> Vec<Column> {
        let required = || "NOT NULL".to_owned();
        let name = |column, width| (column, Kind::Characters(width), required());
        let free = |column, kind| (column, kind, String::new());
        let number = |column, kind, default: &str| (column, kind, format!("DEFAULT {default} NOT NULL"));
        match self {
            Self::Accounts | Self::AccountsOfDomain => {
                let mut columns = vec![name("pw_name", 32)];
                if self == Self::Accounts {
                    columns.push(name("pw_domain", 96));
                }
                columns.extend([
                    free("pw_passwd", Kind::Characters(128)),
                    free("pw_uid", Kind::Number),
                    free("pw_gid", Kind::Number),
                    free("pw_gecos", Kind::Characters(48)),
                    free("pw_dir", Kind::Characters(160)),
                    free("pw_shell", Kind::Characters(20)),
                    free("pw_clear_passwd", Kind::Characters(128)),
                ]);
                columns
            }
            Self::Aliases => vec![name("alias", 32), name("domain", 96), ("valias_line", Kind::Text, required())],
            Self::Logins => {
                vec![
                    name(dialect.lastauth_user(), 32),
                    name(dialect.lastauth_domain(), 96),
                    name("remote_ip", 39),
                    number("timestamp", Kind::Big, "0"),
                ]
            }
            Self::Relays => vec![name("ip_addr", 39), number("timestamp", Kind::Big, "0")],
            Self::Limits => {
                let rest = LIMITS_COLUMNS.iter().map(|(column, kind, default)| number(column, *kind, default));
                std::iter::once(name("domain", 96)).chain(rest).collect()
            }
            Self::Addresses => vec![name("ip_addr", 39), free("domain", Kind::Characters(96))],
            Self::Hashing => {
                let numbers = HASHING_COLUMNS.iter().map(|&column| free(column, Kind::Number));
                std::iter::once(name("domain", 96)).chain(numbers).chain([free("the_dir", Kind::Characters(160))]).collect()
            }
        }
    }

    fn key(self, dialect: Dialect) -> Vec<&'static str> {
        match self {
            Self::Accounts => vec!["pw_name", "pw_domain"],
            Self::AccountsOfDomain => vec!["pw_name"],
            Self::Aliases => vec![],
            Self::Logins => vec![dialect.lastauth_user(), dialect.lastauth_domain()],
            Self::Relays | Self::Addresses => vec!["ip_addr"],
            Self::Limits | Self::Hashing => vec!["domain"],
        }
    }

    /// The statements that make the table under `name`.
    pub(crate) fn create(self, dialect: Dialect, name: &str) -> Vec<String> {
        let list = |columns: &[&str]| columns.iter().map(|c| dialect.quote(c)).collect::<Vec<_>>().join(", ");
        let mut parts: Vec<String> = self
            .columns(dialect)
            .into_iter()
            .map(|(column, kind, rest)| format!("{} {} {rest}", dialect.quote(column), dialect.kind(kind)).trim_end().to_owned())
            .collect();
        let key = self.key(dialect);
        if !key.is_empty() {
            parts.push(format!("PRIMARY KEY ({})", list(&key)));
        }
        let mut statements = vec![format!("CREATE TABLE {} ({}){}", dialect.quote(name), parts.join(", "), dialect.table_options())];
        if self == Self::Aliases {
            statements.push(format!("CREATE INDEX valias_idx ON {} ({})", dialect.quote(name), list(&["alias", "domain"])));
        }
        statements
    }
}

/// The table of a domain where each has its own: `_` for `.` and `-`; without a domain: `users`. `None`: the name is one of vpopmail's other tables, or
/// too long for the database.
pub(crate) fn table_of_domain(dialect: Dialect, domain: &str) -> Option<String> {
    if domain.is_empty() {
        return Some(Table::AccountsOfDomain.name().into());
    }
    let name = domain.replace(['.', '-'], "_");
    (!RESERVED.contains(&name.as_str()) && name.len() <= dialect.table_name_bytes_max()).then_some(name)
}
