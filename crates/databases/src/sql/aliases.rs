//! Alias lines in table `valias`. Called through the port. The table has no key: lines come in the order in which the database holds them, which is
//! that in which they were added where the database can say so (rowid, ctid).

use super::keeper::{SqlKeeper, check_width, text};
use super::link::Value;
use super::tables::Table;
use postino_ports::accounts::{AccountsError, Aliases};

/// Names of one page, at most.
const PAGE_NAMES_MAX: usize = 10_000;
/// Longest line, bytes (vpopmail's bound).
const LINE_BYTES_MAX: usize = 160;

impl SqlKeeper {
    fn valias(&self) -> String {
        self.dialect.quote(Table::Aliases.name())
    }

    fn in_added_order(&self) -> String {
        self.dialect.insertion_order().map(|column| format!(" ORDER BY {column}")).unwrap_or_default()
    }
}

impl Aliases for SqlKeeper {
    fn lines(&self, domain: &str, alias: &str) -> Result<Vec<String>, AccountsError> {
        let sql = format!(
            "SELECT alias, valias_line FROM {} WHERE {} = ? AND {} = ?{}",
            self.valias(),
            self.dialect.quote("alias"),
            self.dialect.quote("domain"),
            self.in_added_order()
        );
        let rows = self.rows_if_any(&sql, &[alias.into(), domain.into()])?;
        Ok(rows.iter().filter(|row| text(row.first()) == alias).map(|row| text(row.get(1))).collect())
    }

    fn page(&self, domain: &str, after: Option<&str>, count_max: usize) -> Result<Vec<(String, String)>, AccountsError> {
        let by_name = self.dialect.by_bytes("alias");
        let (table, of_domain) = (self.valias(), self.dialect.quote("domain"));
        let (more, mut values) = match after {
            Some(after) => (format!(" AND {by_name} > ?"), vec![Value::from(domain), after.into()]),
            None => (String::new(), vec![domain.into()]),
        };
        let rest = format!("FROM {table} WHERE {of_domain} = ?{more} GROUP BY {by_name} ORDER BY {by_name}");
        let sql = self.dialect.select_first(&by_name, &rest, count_max.min(PAGE_NAMES_MAX));
        let names = self.rows_if_any(&sql, &values)?;
        let Some(last) = names.last().map(|row| text(row.first())) else { return Ok(Vec::new()) };
        let sql = format!("SELECT alias, valias_line FROM {table} WHERE {of_domain} = ?{more} AND {by_name} <= ?{}", self.in_added_order());
        values.push(last.as_str().into());
        let rows = self.rows_if_any(&sql, &values)?;
        let mut pairs: Vec<(String, String)> = rows.iter().map(|row| (text(row.first()), text(row.get(1)))).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0)); // stable: the lines of a name keep their order
        Ok(pairs)
    }

    fn add_line(&self, domain: &str, alias: &str, line: &str) -> Result<(), AccountsError> {
        let table = Table::Aliases;
        let columns = self.columns_or_create(table, table.name()).map_err(|e| self.error(e))?;
        check_width(&columns, "alias", alias)?;
        check_width(&columns, "domain", domain)?;
        check_width(&columns, "valias_line", line)?;
        if line.len() > LINE_BYTES_MAX {
            return Err(AccountsError::TooLong { column: "valias_line", bytes_max: LINE_BYTES_MAX });
        }
        let sql = format!("INSERT INTO {} (alias, {}, valias_line) VALUES (?, ?, ?)", self.valias(), self.dialect.quote("domain"));
        self.change_or_create(table, &sql, &[alias.into(), domain.into(), line.into()]).map_err(|e| self.error(e))?;
        Ok(())
    }

    fn remove(&self, domain: &str, alias: &str, line: Option<&str>) -> Result<bool, AccountsError> {
        let mut sql =
            format!("DELETE FROM {} WHERE {} = ? AND {} = ?", self.valias(), self.dialect.quote("alias"), self.dialect.quote("domain"));
        let mut values = vec![Value::from(alias), domain.into()];
        if let Some(line) = line {
            sql.push_str(&format!(" AND {} = ?", self.dialect.quote("valias_line")));
            values.push(line.into());
        }
        Ok(self.change_if_any(&sql, &values)? > 0)
    }

    fn remove_domain(&self, domain: &str) -> Result<(), AccountsError> {
        let sql = format!("DELETE FROM {} WHERE {} = ?", self.valias(), self.dialect.quote("domain"));
        self.change_if_any(&sql, &[domain.into()])?;
        Ok(())
    }
}
