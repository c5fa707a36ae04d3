//! Account records in table `vpopmail`, or in a table for each domain. Called through the port. An account's name is compared again after the database's
//! answer, because some databases take `A` for `a`.

use super::keeper::{Place, SqlKeeper, check_width, number, text};
use super::link::{Column, LinkError, Purpose, Value};
use super::tables::{Table, table_of_domain};
use postino_ports::accounts::{Accounts, AccountsError};
use postino_types::account::Record;
use std::path::Path;

/// The columns of a record, but for the clear password, which a site may not have.
const COLUMNS: &[&str] = &["pw_name", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell"];
const CLEAR: &str = "pw_clear_passwd";
/// Rows of one page, at most.
const PAGE_ROWS_MAX: usize = 10_000;

/// A domain's table with what is known of it.
struct Found {
    place: Place,
    columns: std::sync::Arc<[Column]>,
}

impl Found {
    fn has_clear(&self) -> bool {
        self.columns.iter().any(|c| c.name == CLEAR)
    }

    /// Names of a record's columns, in the order of [`values`].
    fn names(&self) -> Vec<&'static str> {
        COLUMNS.iter().copied().chain(self.has_clear().then_some(CLEAR)).collect()
    }
}

impl SqlKeeper {
    /// The table of a domain that must be there.
    fn accounts_of(&self, domain: &str) -> Result<Found, AccountsError> {
        let place = self.place(domain)?;
        let columns = self.columns(&place.name).map_err(|e| self.error(e))?;
        if columns.is_empty() {
            return Err(self.no_table(&place, domain));
        }
        Ok(Found { place, columns })
    }

    fn no_table(&self, place: &Place, domain: &str) -> AccountsError {
        match place.table {
            Table::AccountsOfDomain if !domain.is_empty() => AccountsError::NoDomain(domain.to_owned()),
            _ => self.error(LinkError::NoTable),
        }
    }

    fn accounts_error(&self, error: LinkError, place: &Place, domain: &str) -> AccountsError {
        match error {
            LinkError::NoTable => self.no_table(place, domain),
            other => self.error(other),
        }
    }

    /// `WHERE` for one domain: the text, which may be empty, and its value.
    fn in_domain(&self, table: Table, domain: &str) -> (String, Vec<Value>) {
        match table {
            Table::Accounts => (format!("{} = ?", self.dialect.quote("pw_domain")), vec![domain.into()]),
            _ => (String::new(), Vec::new()),
        }
    }

    fn find_by(&self, purpose: Purpose, domain: &str, name: &str) -> Result<Option<Record>, AccountsError> {
        let found = self.accounts_of(domain)?;
        let (condition, mut values) = self.in_domain(found.place.table, domain);
        let and = if condition.is_empty() { "" } else { " AND " };
        let what = self.list(&found.names());
        let (table, pw_name) = (self.dialect.quote(&found.place.name), self.dialect.quote("pw_name"));
        let sql = format!("SELECT {what} FROM {table} WHERE {condition}{and}{pw_name} = ?");
        values.push(name.into());
        let rows = self.rows(purpose, &sql, &values).map_err(|e| self.accounts_error(e, &found.place, domain))?;
        let records = rows.iter().map(|row| record_of(row, domain)).collect::<Result<Vec<_>, _>>()?;
        Ok(records.into_iter().find(|record| record.name == name))
    }

    fn list(&self, columns: &[&str]) -> String {
        columns.iter().map(|c| self.dialect.quote(c)).collect::<Vec<_>>().join(", ")
    }

    /// Another domain whose table has the same name, if this table has accounts of it: `a-b.example` and `a.b.example`.
    fn check_same_table(&self, place: &Place, domain: &str) -> Result<(), AccountsError> {
        let sql = self.dialect.select_first("pw_dir", &format!("FROM {}", self.dialect.quote(&place.name)), 1);
        let rows = self.rows(Purpose::Write, &sql, &[]).map_err(|e| self.error(e))?;
        let directory = text(rows.first().and_then(|row| row.first()));
        let is_other = |part: &str| part != domain && table_of_domain(self.dialect, part).as_deref() == Some(place.name.as_str());
        match Path::new(&directory).iter().filter_map(|part| part.to_str()).any(is_other) {
            true => Err(AccountsError::NotKept { what: "a domain whose table is another domain's" }),
            false => Ok(()),
        }
    }
}

impl Accounts for SqlKeeper {
    fn find(&self, domain: &str, name: &str) -> Result<Option<Record>, AccountsError> {
        self.find_by(Purpose::Read, domain, name)
    }

    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<Record>, AccountsError> {
        let found = self.accounts_of(domain)?;
        let (condition, mut values) = self.in_domain(found.place.table, domain);
        let mut conditions: Vec<String> = Vec::from_iter((!condition.is_empty()).then_some(condition));
        let by_name = self.dialect.by_bytes("pw_name");
        if let Some(after) = after {
            conditions.push(format!("{by_name} > ?"));
            values.push(after.into());
        }
        let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let rest = format!("FROM {}{filter} ORDER BY {by_name}", self.dialect.quote(&found.place.name));
        let sql = self.dialect.select_first(&self.list(&found.names()), &rest, count_max.min(PAGE_ROWS_MAX));
        let rows = self.rows(Purpose::Read, &sql, &values).map_err(|e| self.accounts_error(e, &found.place, domain))?;
        rows.iter().map(|row| record_of(row, domain)).collect()
    }

    fn count(&self, domain: &str) -> Result<u64, AccountsError> {
        let found = self.accounts_of(domain)?;
        let (condition, values) = self.in_domain(found.place.table, domain);
        let filter = if condition.is_empty() { String::new() } else { format!(" WHERE {condition}") };
        let sql = format!("SELECT COUNT(*) FROM {}{filter}", self.dialect.quote(&found.place.name));
        let rows = self.rows(Purpose::Read, &sql, &values).map_err(|e| self.accounts_error(e, &found.place, domain))?;
        let count = number(rows.first().and_then(|row| row.first()));
        count.and_then(|n| u64::try_from(n).ok()).ok_or_else(|| self.error(LinkError::Refused("no count".into())))
    }

    fn add_domain(&self, domain: &str) -> Result<(), AccountsError> {
        let place = self.place(domain)?;
        let columns = self.columns_or_create(place.table, &place.name).map_err(|e| self.error(e))?;
        match place.table {
            Table::AccountsOfDomain => self.check_same_table(&place, domain),
            _ => check_width(&columns, "pw_domain", domain),
        }
    }

    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError> {
        let place = self.place(domain)?;
        let table = self.dialect.quote(&place.name);
        let (condition, values) = self.in_domain(place.table, domain);
        if condition.is_empty() {
            self.check_same_table_if_any(&place, domain)?;
            self.change_if_any(&format!("DROP TABLE {table}"), &[])?;
            self.forget_columns(&place.name);
        } else {
            self.change_if_any(&format!("DELETE FROM {table} WHERE {condition}"), &values)?;
        }
        Ok(())
    }

    fn insert(&self, domain: &str, record: &Record) -> Result<(), AccountsError> {
        let place = self.place(domain)?;
        let columns = match place.table {
            Table::Accounts => self.columns_or_create(place.table, &place.name).map_err(|e| self.error(e))?,
            _ => self.accounts_of(domain)?.columns,
        };
        let found = Found { place, columns };
        let mut values = values(&found, record)?;
        let mut names = found.names();
        if found.place.table == Table::Accounts {
            check_width(&found.columns, "pw_domain", domain)?;
            names.push("pw_domain");
            values.push(domain.into());
        }
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({marks})", self.dialect.quote(&found.place.name), self.list(&names));
        match self.change(&sql, &values) {
            Ok(_) => Ok(()),
            Err(LinkError::Duplicate) => Err(AccountsError::Exists(record.name.clone())),
            Err(error) => Err(self.accounts_error(error, &found.place, domain)),
        }
    }

    fn update(&self, domain: &str, record: &Record) -> Result<(), AccountsError> {
        let found = self.accounts_of(domain)?;
        let mut values = values(&found, record)?;
        let names = found.names();
        let set: Vec<String> = names.iter().map(|name| format!("{} = ?", self.dialect.quote(name))).collect();
        let (condition, of_domain) = self.in_domain(found.place.table, domain);
        let and = if condition.is_empty() { "" } else { " AND " };
        let table = self.dialect.quote(&found.place.name);
        let sql = format!("UPDATE {table} SET {} WHERE {condition}{and}{} = ?", set.join(", "), self.dialect.quote("pw_name"));
        values.extend(of_domain);
        values.push(record.name.as_str().into());
        let met = self.change(&sql, &values).map_err(|e| self.accounts_error(e, &found.place, domain))?;
        // Some databases count only the rows that came out different.
        if met == 0 && self.find_by(Purpose::Write, domain, &record.name)?.is_none() {
            return Err(AccountsError::Missing(record.name.clone()));
        }
        Ok(())
    }

    fn remove(&self, domain: &str, name: &str) -> Result<(), AccountsError> {
        let found = self.accounts_of(domain)?;
        let (condition, mut values) = self.in_domain(found.place.table, domain);
        let and = if condition.is_empty() { "" } else { " AND " };
        let table = self.dialect.quote(&found.place.name);
        values.push(name.into());
        let sql = format!("DELETE FROM {table} WHERE {condition}{and}{} = ?", self.dialect.quote("pw_name"));
        match self.change(&sql, &values).map_err(|e| self.accounts_error(e, &found.place, domain))? {
            0 => Err(AccountsError::Missing(name.to_owned())),
            _ => Ok(()),
        }
    }
}

impl SqlKeeper {
    fn check_same_table_if_any(&self, place: &Place, domain: &str) -> Result<(), AccountsError> {
        let columns = self.columns(&place.name).map_err(|e| self.error(e))?;
        if columns.is_empty() { Ok(()) } else { self.check_same_table(place, domain) }
    }
}

/// A record as values in the order of [`Found::names`]; checked against the widths.
fn values(found: &Found, record: &Record) -> Result<Vec<Value>, AccountsError> {
    // The database holds text: a comment of other bytes is taken for Latin-1, as it was written where vpopmail was young.
    let gecos = match std::str::from_utf8(&record.gecos) {
        Ok(text) => text.to_owned(),
        Err(_) => record.gecos.iter().map(|&b| char::from(b)).collect(),
    };
    let texts: [(&'static str, &str); 5] = [
        ("pw_name", &record.name),
        ("pw_passwd", &record.password),
        ("pw_gecos", &gecos),
        ("pw_dir", &record.directory),
        ("pw_shell", &record.quota),
    ];
    for (column, text) in texts {
        check_width(&found.columns, column, text)?;
    }
    let [name, password, gecos, directory, quota] = texts.map(|(_, text)| Value::from(text));
    let flags = i32::from_ne_bytes(record.flags.to_ne_bytes()); // the column has a sign
    let kind = i32::from_ne_bytes(record.kind.to_ne_bytes());
    let mut values = vec![name, password, Value::Number(kind.into()), Value::Number(flags.into()), gecos, directory, quota];
    let clear = record.clear.as_deref().unwrap_or_default();
    if found.has_clear() {
        check_width(&found.columns, CLEAR, clear)?;
        if clear.ends_with(' ') {
            return Err(AccountsError::NotKept { what: "a clear password that ends with a blank" });
        }
        values.push(clear.into());
    }
    Ok(values)
}

/// A row as a record.
fn record_of(row: &[Value], domain: &str) -> Result<Record, AccountsError> {
    let name = text(row.first());
    let bits = |at: usize| match number(row.get(at)) {
        None => Some(0),
        Some(n) => u32::try_from(n).ok().or_else(|| i32::try_from(n).ok().map(|n| u32::from_ne_bytes(n.to_ne_bytes()))),
    };
    let damaged = || AccountsError::Damaged { what: format!("table vpopmail, account {name}@{domain}") };
    let (kind, flags) = (bits(2).ok_or_else(damaged)?, bits(3).ok_or_else(damaged)?);
    let gecos = match row.get(4) {
        Some(Value::Bytes(bytes)) => bytes.clone(),
        other => text(other).into_bytes(),
    };
    let clear = Some(text(row.get(7))).filter(|clear| !clear.is_empty());
    let (password, directory, quota) = (text(row.get(1)), text(row.get(5)), text(row.get(6)));
    Ok(Record { name, password, kind, flags, gecos, directory, quota, clear })
}
