//! What the keepers of one database share: pools, table names, widths of columns, and how the database's errors become the port's. Used by the modules
//! that implement the ports. A missing table is made by the first change, and is empty to a question, except the table of accounts: without that nobody
//! could tell "no such user" from "the wrong database".

use super::dialect::Dialect;
use super::link::{Column, LinkError, Opener, Purpose, Value};
use super::pool::Pool;
use super::tables::{Table, table_of_domain};
use crate::settings::{Layout, Limits};
use postino_ports::accounts::AccountsError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the widths of a table are remembered: a site may widen a column.
const COLUMNS_KEPT: Duration = Duration::from_secs(60);
/// Tables whose widths are remembered, at most.
const COLUMNS_TABLES_MAX: usize = 1024;

type Widths = HashMap<String, (Arc<[Column]>, Instant)>;

/// All keepers over one database.
#[derive(Debug)]
pub(crate) struct SqlKeeper {
    opener: Arc<dyn Opener>,
    reading: Arc<Pool>,
    writing: Arc<Pool>,
    pub(crate) dialect: Dialect,
    layout: Layout,
    pub(crate) limits: Limits,
    widths: Mutex<Widths>,
}

/// Where a domain's accounts are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Which kind of table.
    pub(crate) table: Table,
    /// Its name, unquoted.
    pub(crate) name: String,
}

impl SqlKeeper {
    pub(crate) fn new(opener: Arc<dyn Opener>, layout: Layout, limits: Limits) -> Self {
        let writing = Arc::new(Pool::new(Arc::clone(&opener), limits.clone()));
        let reading = if opener.is_replicated() { Arc::new(Pool::new(Arc::clone(&opener), limits.clone())) } else { Arc::clone(&writing) };
        let dialect = opener.dialect();
        Self { opener, reading, writing, dialect, layout, limits, widths: Mutex::default() }
    }

    /// The place of a domain's accounts.
    pub(crate) fn place(&self, domain: &str) -> Result<Place, AccountsError> {
        match self.layout {
            Layout::OneTable => Ok(Place { table: Table::Accounts, name: Table::Accounts.name().into() }),
            Layout::TableForEachDomain => {
                let name = table_of_domain(self.dialect, domain).ok_or(AccountsError::NotKept { what: "a domain of this name" })?;
                Ok(Place { table: Table::AccountsOfDomain, name })
            }
        }
    }

    fn pool(&self, purpose: Purpose) -> &Pool {
        match purpose {
            Purpose::Read => &self.reading,
            Purpose::Write => &self.writing,
        }
    }

    /// Rows of a question.
    pub(crate) fn rows(&self, purpose: Purpose, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError> {
        self.pool(purpose).with(purpose, |link| link.rows(sql, values))
    }

    /// Rows of a question to a table that may be missing, which is then empty.
    pub(crate) fn rows_if_any(&self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, AccountsError> {
        match self.rows(Purpose::Read, sql, values) {
            Err(LinkError::NoTable) => Ok(Vec::new()),
            other => other.map_err(|error| self.error(error)),
        }
    }

    /// A change; the rows that it met.
    pub(crate) fn change(&self, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        self.pool(Purpose::Write).with(Purpose::Write, |link| link.change(sql, values))
    }

    /// A change of rows of a table that may be missing, which then has none.
    pub(crate) fn change_if_any(&self, sql: &str, values: &[Value]) -> Result<u64, AccountsError> {
        match self.change(sql, values) {
            Err(LinkError::NoTable) => Ok(0),
            other => other.map_err(|error| self.error(error)),
        }
    }

    /// A change that makes the table when it is missing.
    pub(crate) fn change_or_create(&self, table: Table, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        match self.change(sql, values) {
            Err(LinkError::NoTable) => {
                self.create(table, table.name())?;
                self.change(sql, values)
            }
            other => other,
        }
    }

    /// Changes the row, or adds it: `true` when it was added. Every database has UPDATE and INSERT, and no two the same way to say both.
    pub(crate) fn replace(&self, table: Table, update: (&str, &[Value]), insert: (&str, &[Value])) -> Result<bool, LinkError> {
        if self.change_or_create(table, update.0, update.1)? > 0 {
            return Ok(false);
        }
        match self.change(insert.0, insert.1) {
            Ok(_) => Ok(true),
            // Another caller was quicker, or the row had these values already and the database counts only what differs.
            Err(LinkError::Duplicate) => self.change(update.0, update.1).map(|_| false),
            Err(error) => Err(error),
        }
    }

    /// Makes a table unless it is there.
    pub(crate) fn create(&self, table: Table, name: &str) -> Result<(), LinkError> {
        self.forget_columns(name);
        let statements = table.create(self.dialect, name);
        self.pool(Purpose::Write).with(Purpose::Write, |link| {
            if !link.columns(name)?.is_empty() {
                return Ok(());
            }
            for statement in &statements {
                match link.change(statement, &[]) {
                    // Made by another caller since we looked.
                    Err(LinkError::Refused(_) | LinkError::Duplicate) if !link.columns(name)?.is_empty() => return Ok(()),
                    other => other?,
                };
            }
            Ok(())
        })
    }

    /// Forgets what is remembered of a table that was made or dropped.
    pub(crate) fn forget_columns(&self, name: &str) {
        self.widths.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// A table's columns as the database has them; empty: no such table.
    pub(crate) fn columns(&self, name: &str) -> Result<Arc<[Column]>, LinkError> {
        self.columns_for(Purpose::Read, name)
    }

    fn columns_for(&self, purpose: Purpose, name: &str) -> Result<Arc<[Column]>, LinkError> {
        let known = self.widths.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some((columns, at)) = known
            && at.elapsed() < COLUMNS_KEPT
        {
            return Ok(columns);
        }
        let columns: Arc<[Column]> = self.pool(purpose).with(purpose, |link| link.columns(name))?.into();
        if !columns.is_empty() {
            let mut widths = self.widths.lock().unwrap_or_else(PoisonError::into_inner);
            if widths.len() >= COLUMNS_TABLES_MAX {
                widths.clear();
            }
            widths.insert(name.to_owned(), (Arc::clone(&columns), Instant::now()));
        }
        Ok(columns)
    }

    /// Columns of one of the fixed tables, which is made if it is missing.
    pub(crate) fn columns_or_create(&self, table: Table, name: &str) -> Result<Arc<[Column]>, LinkError> {
        let columns = self.columns_for(Purpose::Write, name)?;
        if !columns.is_empty() {
            return Ok(columns);
        }
        self.create(table, name)?;
        self.columns_for(Purpose::Write, name)
    }

    /// The port's error. A refusal that we cannot read is temporary like all that is unknown.
    pub(crate) fn error(&self, error: LinkError) -> AccountsError {
        let name = self.opener.name();
        match error {
            LinkError::Lost(what) | LinkError::Late(what) | LinkError::Refused(what) => {
                AccountsError::Unavailable { what: format!("{name}: {what}") }
            }
            LinkError::NoTable => AccountsError::Unavailable { what: format!("{name}: a table is missing") },
            LinkError::Duplicate => AccountsError::Unavailable { what: format!("{name}: a row was there already") },
            LinkError::TooLong => AccountsError::NotKept { what: "a value of this size or in these letters" },
        }
    }
}

/// Checks that `text` fits into `column`, before anything is written: databases differ in whether they cut or refuse.
pub(crate) fn check_width(columns: &[Column], column: &'static str, text: &str) -> Result<(), AccountsError> {
    if text.contains('\0') {
        return Err(AccountsError::NotKept { what: "a value with a zero byte" });
    }
    let known = columns.iter().find(|c| c.name == column);
    let length = if known.is_some_and(|c| c.counts_bytes) { text.len() } else { text.chars().count() };
    match known.and_then(|c| c.characters_max) {
        Some(bytes_max) if length > bytes_max => Err(AccountsError::TooLong { column, bytes_max }),
        _ => Ok(()),
    }
}

/// A text value of a row; NULL is empty. Fixed-width columns of some databases fill up with blanks.
pub(crate) fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::Text(text)) => text.trim_end_matches(' ').to_owned(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Null) | None => String::new(),
    }
}

/// A number of a row; also where the column is text. NULL and what is no number: `None`.
pub(crate) fn number(value: Option<&Value>) -> Option<i64> {
    match value {
        Some(Value::Number(number)) => Some(*number),
        Some(Value::Text(text)) => text.trim().parse().ok(),
        Some(Value::Bytes(bytes)) => std::str::from_utf8(bytes).ok()?.trim().parse().ok(),
        Some(Value::Null) | None => None,
    }
}
