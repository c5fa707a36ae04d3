//! Any database that has an ODBC driver, through the machine's driver manager. Called by the pool. A driver may hang for as long as it likes: each connection
//! lives on a thread of its own, and callers wait for their time-out, never longer. Never shows a password, not even one in a driver's message.

use crate::connection_file::OdbcServer;
use crate::settings::{Limits, OdbcSettings};
use crate::sql::dialect::Dialect;
use crate::sql::link::{Column, Link, LinkError, Opener, Purpose, Value};
use odbc_api::parameter::{InputParameter, VarCharBox, VarWCharBox, WithDataType};
use odbc_api::{Connection, ConnectionOptions, Cursor, DataType, Error, environment};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

/// Threads for each connection that may be open: the others hang in the driver, given up by their callers.
const THREADS_FOR_ONE: usize = 4;
/// Memory of a driver's thread.
const STACK_BYTES: usize = 1 << 20;

/// Opens connections to one database, or to two.
#[derive(Debug)]
pub(crate) struct OdbcOpener {
    read: OdbcServer,
    write: Option<OdbcServer>,
    dialect: Dialect,
    limits: Limits,
    threads: Arc<AtomicUsize>,
}

impl OdbcOpener {
    pub(crate) fn new(settings: &OdbcSettings) -> Self {
        let (read, write, dialect) = (settings.read.clone(), settings.write.clone(), settings.dialect);
        Self { read, write, dialect, limits: settings.limits.clone(), threads: Arc::default() }
    }
}

impl Opener for OdbcOpener {
    fn open(&self, purpose: Purpose) -> Result<Box<dyn Link>, LinkError> {
        let server = match (purpose, &self.write) {
            (Purpose::Write, Some(write)) => write,
            _ => &self.read,
        };
        let guard = Counted::new(&self.threads);
        if guard.before >= self.limits.connections_max.max(1).saturating_mul(THREADS_FOR_ONE) {
            return Err(LinkError::Late("too many connections hang in the driver".into()));
        }
        let (jobs, todo) = channel();
        let (ready, opened) = sync_channel(1);
        let (server, dialect, limits) = (server.clone(), self.dialect, self.limits.clone());
        let password = server.password.clone();
        let serve = move || {
            let _guard = guard;
            match connect(&server, dialect, &limits) {
                Ok(connection) if ready.send(Ok(())).is_ok() => work(&connection, &todo),
                Ok(_) => {}
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        let started = std::thread::Builder::new().name("odbc".into()).stack_size(STACK_BYTES).spawn(serve);
        started.map_err(|error| LinkError::Lost(error.to_string()))?;
        let opened = opened.recv_timeout(self.limits.connect).unwrap_or_else(|error| Err(no_answer(error, self.limits.connect)));
        opened.map_err(|error| hide(error, &password))?;
        Ok(Box::new(OdbcLink { jobs, query: self.limits.query, dialect, password }))
    }

    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn name(&self) -> String {
        format!("odbc {}", self.read.name)
    }

    fn is_replicated(&self) -> bool {
        self.write.is_some()
    }
}

/// One of the threads, while it lives.
struct Counted {
    threads: Arc<AtomicUsize>,
    before: usize,
}

impl Counted {
    fn new(threads: &Arc<AtomicUsize>) -> Self {
        let before = threads.fetch_add(1, Ordering::Relaxed);
        Self { threads: Arc::clone(threads), before }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.threads.fetch_sub(1, Ordering::Relaxed);
    }
}

type Job = Box<dyn FnOnce(&Connection<'static>) + Send>;

/// The life of a connection's thread: until its link is dropped.
fn work(connection: &Connection<'static>, todo: &Receiver<Job>) {
    while let Ok(job) = todo.recv() {
        job(connection);
    }
}

fn connect(server: &OdbcServer, dialect: Dialect, limits: &Limits) -> Result<Connection<'static>, LinkError> {
    let seconds = u32::try_from(limits.connect.as_secs()).unwrap_or(u32::MAX);
    let options = ConnectionOptions { login_timeout_sec: Some(seconds), ..ConnectionOptions::default() };
    let lost = |error: Error| LinkError::Lost(error.to_string());
    let connection = environment().map_err(lost)?.connect_with_connection_string(&server.line, options).map_err(lost)?;
    check_brand(&connection.database_management_system_name().unwrap_or_default(), dialect)?;
    for statement in session(dialect, limits) {
        connection.execute(&statement, (), None).map_err(lost)?;
    }
    Ok(connection)
}

/// Refuses a database that names itself and is of another kind than the dialect; one that we do not know may be anything.
fn check_brand(name: &str, dialect: Dialect) -> Result<(), LinkError> {
    let lower = name.to_ascii_lowercase();
    let known: [(&str, Dialect); 6] = [
        ("postgresql", Dialect::Postgresql),
        ("mariadb", Dialect::Mysql),
        ("mysql", Dialect::Mysql),
        ("sqlite", Dialect::Sqlite),
        ("oracle", Dialect::Oracle),
        ("informix", Dialect::Informix),
    ];
    match known.iter().find(|(brand, _)| lower.contains(brand)) {
        Some((_, other)) if *other != dialect => Err(LinkError::Lost(format!("the database is {name}, and odbc_dialect says otherwise"))),
        _ => Ok(()),
    }
}

/// What a new session is told.
fn session(dialect: Dialect, limits: &Limits) -> Vec<String> {
    match dialect {
        // A value that does not fit is refused, never cut.
        Dialect::Mysql => vec!["SET SESSION sql_mode = 'STRICT_ALL_TABLES'".into()],
        Dialect::Sqlite => {
            vec![format!("PRAGMA busy_timeout = {}", limits.query.as_millis()), "PRAGMA synchronous = FULL".into()]
        }
        Dialect::Oracle => vec!["ALTER SESSION SET NLS_SORT = BINARY".into(), "ALTER SESSION SET NLS_COMP = BINARY".into()],
        Dialect::Informix => vec![format!("SET LOCK MODE TO WAIT {}", limits.query.as_secs().max(1))],
        Dialect::Postgresql => Vec::new(),
    }
}

struct OdbcLink {
    jobs: Sender<Job>,
    query: Duration,
    dialect: Dialect,
    password: String,
}

impl OdbcLink {
    /// Runs `work` on the connection's thread and waits for at most the query time-out.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection<'static>) -> Result<T, LinkError> + Send + 'static,
    ) -> Result<T, LinkError> {
        let (done, answer) = sync_channel(1);
        let job: Job = Box::new(move |connection| drop(done.send(work(connection))));
        self.jobs.send(job).map_err(|_| LinkError::Lost("the driver's thread has ended".into()))?;
        let answer = answer.recv_timeout(self.query).unwrap_or_else(|error| Err(no_answer(error, self.query)));
        answer.map_err(|error| hide(error, &self.password))
    }
}

fn no_answer(error: RecvTimeoutError, waited: Duration) -> LinkError {
    match error {
        RecvTimeoutError::Timeout => LinkError::Late(format!("no answer within {} s", waited.as_secs_f32())),
        RecvTimeoutError::Disconnected => LinkError::Lost("the driver's thread has ended".into()),
    }
}

impl Link for OdbcLink {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError> {
        let (sql, values, dialect) = (sql.to_owned(), values.to_vec(), self.dialect);
        self.ask(move |connection| {
            let parameters = parameters(dialect, &values);
            let cursor = connection.execute(&sql, parameters.as_slice(), None).map_err(|error| failure(&error))?;
            cursor.map_or_else(|| Ok(Vec::new()), |cursor| fetch(cursor).map_err(|error| failure(&error)))
        })
    }

    fn change(&mut self, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        let (sql, values, dialect) = (sql.to_owned(), values.to_vec(), self.dialect);
        // ODBC's connections commit each statement by themselves unless they are told otherwise.
        self.ask(move |connection| {
            let parameters = parameters(dialect, &values);
            let change = || {
                let mut statement = connection.preallocate()?;
                drop(statement.execute(&sql, parameters.as_slice())?);
                statement.row_count()
            };
            change().map(|met| met.and_then(|met| u64::try_from(met).ok()).unwrap_or(0)).map_err(|error| failure(&error))
        })
    }

    fn columns(&mut self, table: &str) -> Result<Vec<Column>, LinkError> {
        // As our statements will find it; the catalogue would show tables of other owners, too.
        let sql = format!("SELECT * FROM {} WHERE 1 = 0", self.dialect.quote(table));
        let dialect = self.dialect;
        let columns = self.ask(move |connection| {
            let cursor = connection.execute(&sql, (), None).map_err(|error| failure(&error))?;
            cursor.map_or_else(|| Ok(Vec::new()), |cursor| describe(cursor, dialect).map_err(|error| failure(&error)))
        });
        match columns {
            Err(LinkError::NoTable) => Ok(Vec::new()),
            other => other,
        }
    }

    fn ping(&mut self) -> Result<(), LinkError> {
        let sql = match self.dialect {
            Dialect::Oracle => "SELECT 1 FROM dual",
            Dialect::Informix => "SELECT FIRST 1 1 FROM systables",
            Dialect::Sqlite | Dialect::Postgresql | Dialect::Mysql => "SELECT 1",
        };
        self.rows(sql, &[]).map(drop)
    }
}

/// Values as parameters. Text goes as UTF-16, whatever the driver's idea of this machine's letters is.
fn parameters(dialect: Dialect, values: &[Value]) -> Vec<Box<dyn InputParameter>> {
    values.iter().map(|value| parameter(dialect, value)).collect()
}

fn parameter(dialect: Dialect, value: &Value) -> Box<dyn InputParameter> {
    let is_old = matches!(dialect, Dialect::Oracle | Dialect::Informix);
    let text = |text: &str| -> Box<dyn InputParameter> {
        // To Oracle an empty text is NULL, which equals nothing and is refused in a key: one blank stands for it, which we cut when we read.
        let text = if text.is_empty() && dialect == Dialect::Oracle { " " } else { text };
        let wide = VarWCharBox::from_str_slice(text);
        match is_old {
            // As CHAR, because Oracle compares the blanks at the end of a char column with a VARCHAR.
            true => Box::new(WithDataType::new(wide, DataType::Char { length: NonZeroUsize::new(text.chars().count()) })),
            false => Box::new(wide),
        }
    };
    match value {
        Value::Null => Box::new(VarWCharBox::null()),
        // Drivers of Oracle have no 64-bit numbers.
        Value::Number(number) if is_old => {
            let decimal = DataType::Decimal { precision: 19, scale: 0 };
            Box::new(WithDataType::new(VarCharBox::from_string(number.to_string()), decimal))
        }
        Value::Number(number) => Box::new(*number),
        Value::Text(value) => text(value),
        Value::Bytes(bytes) => text(&String::from_utf8_lossy(bytes)),
    }
}

fn fetch(mut cursor: impl Cursor) -> Result<Vec<Vec<Value>>, Error> {
    let count = u16::try_from(cursor.num_result_cols()?).unwrap_or(0);
    let numbers: Vec<bool> = (1..=count).map(|at| cursor.col_data_type(at).map(is_number)).collect::<Result<_, _>>()?;
    let (mut rows, mut letters) = (Vec::new(), Vec::new());
    while let Some(mut row) = cursor.next_row()? {
        let mut values = Vec::with_capacity(numbers.len());
        for (at, &is_number) in (1..=count).zip(&numbers) {
            values.push(if row.get_wide_text(at, &mut letters)? { value_of(&letters, is_number) } else { Value::Null });
        }
        rows.push(values);
    }
    Ok(rows)
}

/// Numbers may come with a fraction of zero: `27.` of Informix's COUNT.
fn value_of(letters: &[u16], is_number: bool) -> Value {
    let text = String::from_utf16_lossy(letters);
    let whole = text.split('.').next().unwrap_or_default().trim();
    match whole.parse() {
        Ok(number) if is_number => Value::Number(number),
        _ => Value::Text(text),
    }
}

fn is_number(kind: DataType) -> bool {
    use DataType::{BigInt, Bit, Decimal, Double, Float, Integer, Numeric, Real, SmallInt, TinyInt};
    matches!(kind, Numeric { .. } | Decimal { .. } | Integer | SmallInt | TinyInt | BigInt | Float { .. } | Real | Double | Bit)
}

fn describe(mut cursor: impl Cursor, dialect: Dialect) -> Result<Vec<Column>, Error> {
    let count = u16::try_from(cursor.num_result_cols()?).unwrap_or(0);
    // Informix cuts what is too long without a word.
    let counts_bytes = dialect == Dialect::Informix;
    let mut columns = Vec::new();
    for at in 1..=count {
        let name = cursor.col_name(at)?.to_ascii_lowercase();
        let characters_max = match cursor.col_data_type(at)? {
            DataType::Char { length } | DataType::WChar { length } | DataType::Varchar { length } | DataType::WVarchar { length } => length,
            _ => None,
        };
        columns.push(Column { name, characters_max: characters_max.map(NonZeroUsize::get), counts_bytes });
    }
    Ok(columns)
}

/// SQLSTATE first (ODBC, Appendix A), then what drivers say that have only one state for everything.
fn failure(error: &Error) -> LinkError {
    let Error::Diagnostics { record, .. } = error else { return LinkError::Lost(error.to_string()) };
    let text = String::from_utf16_lossy(&record.message);
    match (record.state.as_str(), record.native_error) {
        ("42S02" | "42P01" | "S0002", _) => LinkError::NoTable,
        // Oracle 1; MySQL 1062; Informix -239, -268, -346.
        ("23505", _) | ("23000", 1 | 1062 | -239 | -268 | -346) => LinkError::Duplicate,
        ("22001" | "22003" | "22026", _) => LinkError::TooLong,
        ("HYT00" | "HYT01" | "57014", _) => LinkError::Late(text),
        // MySQL: too long, letters that a column cannot hold, out of range; Oracle: the same.
        (_, 1406 | 1366 | 1264 | 12899 | 1401 | 1438) => LinkError::TooLong,
        (_, 942) => LinkError::NoTable,
        (state, _) if state.starts_with("08") || state.starts_with("57P") => LinkError::Lost(text),
        (_, 2006 | 2013) => LinkError::Lost(text),
        _ if text.contains("no such table") => LinkError::NoTable,
        _ if text.contains("UNIQUE constraint failed") => LinkError::Duplicate,
        _ if text.contains("database is locked") => LinkError::Late(text),
        _ => LinkError::Refused(text),
    }
}

/// A driver may repeat what it was told.
fn hide(error: LinkError, password: &str) -> LinkError {
    let hidden = |text: String| if password.is_empty() { text } else { text.replace(password, "***") };
    match error {
        LinkError::Lost(text) => LinkError::Lost(hidden(text)),
        LinkError::Late(text) => LinkError::Late(hidden(text)),
        LinkError::Refused(text) => LinkError::Refused(hidden(text)),
        other => other,
    }
}
