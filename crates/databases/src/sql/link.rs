//! One connection to a database, and how one is opened: what each kind of database implements. Called by the pool and the keepers. A link never
//! repeats a statement by itself, and its errors never hold a password.

use super::dialect::Dialect;

/// A value of a row or of a statement's parameter.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// NULL.
    Null,
    /// Any integer type.
    Number(i64),
    /// Any text type (a database may give numbers as text).
    Text(String),
    /// Text that is no UTF-8.
    Bytes(Vec<u8>),
}

// By hand: a value may be a password.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Number(_) => "Number(..)",
            Self::Text(_) => "Text(..)",
            Self::Bytes(_) => "Bytes(..)",
        })
    }
}

impl Value {
    /// Text if it is UTF-8.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes(bytes.to_vec()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// Why a statement was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// The connection is gone or was refused: throw the link away.
    Lost(String),
    /// It did not answer in time: throw the link away, and do not try another at once.
    Late(String),
    /// The table does not exist.
    NoTable,
    /// A row with this key is there.
    Duplicate,
    /// A value does not fit.
    TooLong,
    /// Anything else that the database said; the link is still good.
    Refused(String),
}

/// A column's place for text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name in lower case.
    pub(crate) name: String,
    /// How many characters fit; `None`: no bound, or no text.
    pub(crate) characters_max: Option<usize>,
    /// The database means bytes, and may cut what is longer.
    pub(crate) counts_bytes: bool,
}

impl Column {
    /// From a row of the database's own tables: name and width.
    #[cfg(any(feature = "postgresql", feature = "mysql"))]
    pub(crate) fn of(name: Option<&Value>, width: Option<&Value>) -> Self {
        let characters_max = super::keeper::number(width).and_then(|n| usize::try_from(n).ok());
        Self { name: super::keeper::text(name).to_ascii_lowercase(), characters_max, counts_bytes: false }
    }
}

/// An open connection. Each call ends within the query time-out.
pub(crate) trait Link: Send {
    /// Rows of a SELECT. Parameters stand as `?` in `sql`.
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError>;
    /// Does a change, in a transaction of its own that is durable on return, and says how many rows it met.
    fn change(&mut self, sql: &str, values: &[Value]) -> Result<u64, LinkError>;
    /// The columns of a table; empty: no such table.
    fn columns(&mut self, table: &str) -> Result<Vec<Column>, LinkError>;
    /// Asks whether the other side still answers, before a link is used that lay idle.
    fn ping(&mut self) -> Result<(), LinkError>;
}

/// What a link is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Questions: a replica may answer.
    Read,
    /// Changes, and questions whose answer must be the newest: the master.
    Write,
}

/// Opens links.
pub(crate) trait Opener: Send + Sync + std::fmt::Debug {
    /// Opens one within the connect time-out.
    fn open(&self, purpose: Purpose) -> Result<Box<dyn Link>, LinkError>;
    /// The database's way of saying things.
    fn dialect(&self) -> Dialect;
    /// Name of the database for the log (`sqlite /path`, `postgresql at host`): no password.
    fn name(&self) -> String;
    /// Whether changes go to another server than questions.
    fn is_replicated(&self) -> bool {
        false
    }
}
