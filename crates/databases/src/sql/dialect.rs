//! What databases say differently: quoting, byte order, limits of rows, types. Called by the statements. Pure.

/// A kind of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgresql,
    /// MySQL and MariaDB.
    Mysql,
    /// Oracle Database.
    Oracle,
    /// IBM Informix.
    Informix,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text of at most so many characters.
    Characters(usize),
    /// Text without a bound of ours.
    Text,
    /// A small number.
    Small,
    /// 32 bits.
    Number,
    /// 64 bits.
    Big,
}

impl Dialect {
    /// A name of a table or column, quoted.
    pub(crate) fn quote(self, name: &str) -> String {
        match self {
            Self::Mysql => format!("`{}`", name.replace('`', "``")),
            Self::Sqlite | Self::Postgresql => format!("\"{}\"", name.replace('"', "\"\"")),
            // Names that nobody quoted are kept in upper case there.
            Self::Oracle => format!("\"{}\"", name.replace('"', "\"\"").to_ascii_uppercase()),
            // Quotes may mean a string (DELIMIDENT): only where nothing else is possible.
            Self::Informix if is_plain(name) => name.to_owned(),
            Self::Informix => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// An expression for a text column that compares and sorts by bytes.
    pub(crate) fn by_bytes(self, column: &str) -> String {
        let quoted = self.quote(column);
        match self {
            // Oracle: the session sorts and compares so; Informix: char and varchar do, whatever the locale is.
            Self::Sqlite | Self::Oracle | Self::Informix => quoted,
            Self::Postgresql => format!("{quoted} COLLATE \"C\""),
            Self::Mysql => format!("BINARY {quoted}"),
        }
    }

    /// A SELECT for at most `count_max` rows; `rest` begins with `FROM`.
    pub(crate) fn select_first(self, what: &str, rest: &str, count_max: usize) -> String {
        match self {
            Self::Sqlite | Self::Postgresql | Self::Mysql => format!("SELECT {what} {rest} LIMIT {count_max}"),
            // Sorted first, counted afterwards; FETCH FIRST is only understood since 12c.
            Self::Oracle => format!("SELECT * FROM (SELECT {what} {rest}) WHERE ROWNUM <= {count_max}"),
            Self::Informix => format!("SELECT FIRST {count_max} {what} {rest}"),
        }
    }

    /// What rows of a table without a key are sorted by to come in the order in which they were added; `None`: nothing is needed or known.
    pub(crate) fn insertion_order(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => Some("rowid"),
            Self::Postgresql => Some("ctid"),
            Self::Oracle => Some("ROWID"),
            // A table in fragments has no rowid.
            Self::Mysql | Self::Informix => None,
        }
    }

    /// The column of `lastauth` with the domain.
    pub(crate) fn lastauth_domain(self) -> &'static str {
        match self {
            Self::Oracle | Self::Informix => "pw_domain",
            Self::Sqlite | Self::Postgresql | Self::Mysql => "domain",
        }
    }

    /// The column of `lastauth` with the user's name.
    pub(crate) fn lastauth_user(self) -> &'static str {
        match self {
            Self::Postgresql => "userid",
            Self::Oracle | Self::Informix => "pw_user",
            Self::Sqlite | Self::Mysql => "user",
        }
    }

    /// A column's type when we make the table.
    pub(crate) fn kind(self, kind: Kind) -> String {
        match (self, kind) {
            (Self::Oracle, Kind::Characters(n)) => format!("varchar2({n} char)"),
            (Self::Oracle, Kind::Text) => "varchar2(1000 char)".into(), // a CLOB cannot be compared
            (Self::Oracle, Kind::Small) => "number(5)".into(),
            (Self::Oracle, Kind::Number) => "number(10)".into(),
            (Self::Oracle, Kind::Big) => "number(19)".into(),
            (Self::Informix, Kind::Text) => "lvarchar(1000)".into(), // nor can a TEXT
            (Self::Informix, Kind::Small) => "smallint".into(),
            (Self::Informix, Kind::Number) => "integer".into(),
            (Self::Mysql, Kind::Characters(n)) if n < 255 => format!("char({n})"),
            (_, Kind::Characters(n)) => format!("varchar({n})"),
            (_, Kind::Text) => "text".into(),
            (Self::Mysql, Kind::Small) => "smallint".into(),
            (_, Kind::Small) => "int2".into(),
            (Self::Mysql, Kind::Number) => "int".into(),
            (_, Kind::Number) => "int4".into(),
            (_, Kind::Big) => "bigint".into(),
        }
    }

    /// What follows the columns of a table that we make.
    pub(crate) fn table_options(self) -> &'static str {
        match self {
            // Letters of the whole world, compared by their bytes, whatever the server's default is.
            Self::Mysql => " DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            Self::Sqlite | Self::Postgresql | Self::Oracle | Self::Informix => "",
        }
    }

    /// The longest name of a table, in bytes: a longer one the database would cut, and two domains would share a table.
    pub(crate) fn table_name_bytes_max(self) -> usize {
        match self {
            Self::Sqlite => 255,
            Self::Postgresql => 63,
            Self::Mysql => 64,
            // Older ones refuse what is longer than 30 and 18: they do not cut.
            Self::Oracle | Self::Informix => 128,
        }
    }
}

/// A name that needs no quotes.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
