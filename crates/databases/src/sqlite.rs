//! SQLite: a file beside vpopmail's own. Called by the pool. The file is made by the first change, readable by the owner of its directory alone; every
//! change is synced before it returns.

use crate::settings::SqliteSettings;
use crate::sql::dialect::Dialect;
use crate::sql::link::{Column, Link, LinkError, Opener, Purpose, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ToSql, params_from_iter};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Statements kept ready on a connection.
const STATEMENTS_KEPT: usize = 32;

/// Opens one file.
#[derive(Debug)]
pub(crate) struct SqliteOpener {
    path: PathBuf,
    wait: Duration,
}

impl SqliteOpener {
    pub(crate) fn new(settings: &SqliteSettings) -> Self {
        Self { path: settings.path.clone(), wait: settings.limits.query }
    }
}

impl Opener for SqliteOpener {
    fn open(&self, purpose: Purpose) -> Result<Box<dyn Link>, LinkError> {
        if purpose == Purpose::Write {
            make_private(&self.path).map_err(|error| LinkError::Lost(error.to_string()))?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags).and_then(|connection| {
            connection.busy_timeout(self.wait)?;
            connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "trusted_schema", false)?;
            connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
            Ok(connection)
        });
        let connection = connection.map_err(|error| LinkError::Lost(error.to_string()))?;
        let file = identity(&self.path).map_err(|error| LinkError::Lost(error.to_string()))?;
        Ok(Box::new(SqliteLink { connection, path: self.path.clone(), file }))
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn name(&self) -> String {
        format!("sqlite {}", self.path.display())
    }
}

/// Made here because SQLite goes by the umask; its log and index take the file's mode and, where root makes them, its owner.
fn make_private(path: &Path) -> std::io::Result<()> {
    let file = match postino_disk::create_new(path, 0o600) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    let parent = path.parent().map(std::fs::metadata).transpose()?;
    let own = file.metadata()?;
    if let Some(parent) = parent
        && (parent.uid(), parent.gid()) != (own.uid(), own.gid())
        && own.uid() == 0
    {
        std::os::unix::fs::fchown(&file, Some(parent.uid()), Some(parent.gid()))?;
    }
    Ok(())
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

struct SqliteLink {
    connection: Connection,
    path: PathBuf,
    /// Device and inode when it was opened: a file that was put in its place must be opened anew.
    file: (u64, u64),
}

impl Link for SqliteLink {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let columns = statement.column_count();
            let mut rows = statement.query(params_from_iter(values))?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push((0..columns).map(|at| row.get_ref(at).map(value_of)).collect::<Result<_, _>>()?);
            }
            Ok(out)
        };
        run().map_err(|error| failure(&error))
    }

    fn change(&mut self, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        let run = || self.connection.prepare_cached(sql)?.execute(params_from_iter(values));
        run().map(|met| u64::try_from(met).unwrap_or(u64::MAX)).map_err(|error| failure(&error))
    }

    fn columns(&mut self, table: &str) -> Result<Vec<Column>, LinkError> {
        let rows = self.rows("SELECT name, type FROM pragma_table_info(?)", &[table.into()])?;
        Ok(rows
            .into_iter()
            .filter_map(|row| match <[Value; 2]>::try_from(row) {
                Ok([Value::Text(name), Value::Text(kind)]) => {
                    Some(Column { name: name.to_ascii_lowercase(), characters_max: width_of(&kind), counts_bytes: false })
                }
                _ => None,
            })
            .collect())
    }

    fn ping(&mut self) -> Result<(), LinkError> {
        match identity(&self.path) {
            Ok(now) if now == self.file => Ok(()),
            Ok(_) => Err(LinkError::Lost("the file was replaced".into())),
            Err(error) => Err(LinkError::Lost(error.to_string())),
        }
    }
}

/// The number in `varchar(32)` and `char(32)`. SQLite itself does not look at it; we do, so that a copy into another database fits.
fn width_of(kind: &str) -> Option<usize> {
    let kind = kind.to_ascii_lowercase();
    let rest = kind.strip_prefix("varchar").or_else(|| kind.strip_prefix("char"))?;
    rest.trim().strip_prefix('(')?.strip_suffix(')')?.trim().parse().ok()
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Number(number),
        ValueRef::Real(number) => Value::Text(number.to_string()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Value::of_bytes(bytes),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(rusqlite::types::ToSqlOutput::from(rusqlite::types::Null)),
            Self::Number(number) => Ok((*number).into()),
            Self::Text(text) => text.to_sql(),
            Self::Bytes(bytes) => bytes.to_sql(),
        }
    }
}

fn failure(error: &Error) -> LinkError {
    let text = error.to_string();
    match error {
        Error::SqliteFailure(_, Some(message)) if message.starts_with("no such table") => LinkError::NoTable,
        Error::SqliteFailure(code, _) => match (code.code, code.extended_code) {
            (ErrorCode::ConstraintViolation, rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY | rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE) => {
                LinkError::Duplicate
            }
            (ErrorCode::TooBig, _) => LinkError::TooLong,
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => LinkError::Late(text),
            (ErrorCode::ConstraintViolation, _) => LinkError::Refused(text),
            _ => LinkError::Lost(text),
        },
        _ => LinkError::Refused(text),
    }
}
