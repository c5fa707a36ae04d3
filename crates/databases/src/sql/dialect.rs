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
        }
    }

    /// An expression for a text column that compares and sorts by bytes.
    pub(crate) fn by_bytes(self, column: &str) -> String {
        let quoted = self.quote(column);
        match self {
            Self::Sqlite => quoted,
            Self::Postgresql => format!("{quoted} COLLATE \"C\""),
            Self::Mysql => format!("BINARY {quoted}"),
        }
    }

    /// A SELECT for at most `count_max` rows; `rest` begins with `FROM`.
    pub(crate) fn select_first(self, what: &str, rest: &str, count_max: usize) -> String {
        match self {
            Self::Sqlite | Self::Postgresql | Self::Mysql => format!("SELECT {what} {rest} LIMIT {count_max}"),
        }
    }

    /// What rows of a table without a key are sorted by to come in the order in which they were added; `None`: nothing is needed or known.
    pub(crate) fn insertion_order(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => Some("rowid"),
            Self::Postgresql => Some("ctid"),
            Self::Mysql => None,
        }
    }

    /// The column of `lastauth` with the user's name.
    pub(crate) fn lastauth_user(self) -> &'static str {
        match self {
            Self::Postgresql => "userid",
            Self::Sqlite | Self::Mysql => "user",
        }
    }

    /// A column's type when we make the table.
    pub(crate) fn kind(self, kind: Kind) -> String {
        match (self, kind) {
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
            Self::Sqlite | Self::Postgresql => "",
        }
    }

    /// The longest name of a table, in bytes: a longer one the database would cut, and two domains would share a table.
    pub(crate) fn table_name_bytes_max(self) -> usize {
        match self {
            Self::Sqlite => 255,
            Self::Postgresql => 63,
            Self::Mysql => 64,
        }
    }
}
