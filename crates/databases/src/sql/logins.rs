//! Last logins in table `lastauth`. Called through the port. Where the column is too narrow for an IPv6 address (18 bytes in old tables), `::` stands for it: the
//! time counts for those who look for unused accounts.

use super::keeper::{SqlKeeper, check_width, number, text};
use super::link::Value;
use super::tables::Table;
use postino_ports::accounts::{AccountsError, LastLogin, Logins};

/// Stands for an address that does not fit.
const SOME_ADDRESS: &str = "::";

impl SqlKeeper {
    fn lastauth(&self) -> (String, String, String, String, String) {
        let quote = |name| self.dialect.quote(name);
        (
            quote(Table::Logins.name()),
            quote(self.dialect.lastauth_user()),
            quote(self.dialect.lastauth_domain()),
            quote("remote_ip"),
            quote("timestamp"),
        )
    }
}

impl Logins for SqlKeeper {
    fn last(&self, domain: &str, name: &str) -> Result<Option<LastLogin>, AccountsError> {
        let (table, user, of_domain, ip, at) = self.lastauth();
        let sql = format!("SELECT {user}, {ip}, {at} FROM {table} WHERE {user} = ? AND {of_domain} = ?");
        let rows = self.rows_if_any(&sql, &[name.into(), domain.into()])?;
        let row = rows.iter().find(|row| text(row.first()) == name);
        Ok(row.map(|row| LastLogin { address: text(row.get(1)), at: number(row.get(2)).unwrap_or(0) }))
    }

    fn note(&self, domain: &str, name: &str, login: &LastLogin) -> Result<(), AccountsError> {
        let table = Table::Logins;
        let columns = self.columns_or_create(table, table.name()).map_err(|e| self.error(e))?;
        check_width(&columns, self.dialect.lastauth_user(), name)?;
        check_width(&columns, self.dialect.lastauth_domain(), domain)?;
        let address = match check_width(&columns, "remote_ip", &login.address) {
            Err(AccountsError::TooLong { .. }) => SOME_ADDRESS,
            other => other.map(|()| login.address.as_str())?,
        };
        let (quoted, user, of_domain, ip, at) = self.lastauth();
        let values: [Value; 4] = [address.into(), login.at.into(), name.into(), domain.into()];
        let update = format!("UPDATE {quoted} SET {ip} = ?, {at} = ? WHERE {user} = ? AND {of_domain} = ?");
        let insert = format!("INSERT INTO {quoted} ({ip}, {at}, {user}, {of_domain}) VALUES (?, ?, ?, ?)");
        self.replace(table, (&update, &values), (&insert, &values)).map_err(|e| self.error(e))?;
        Ok(())
    }

    fn forget(&self, domain: &str, name: Option<&str>) -> Result<(), AccountsError> {
        let (table, user, of_domain, ..) = self.lastauth();
        let (more, values) = match name {
            Some(name) => (format!(" AND {user} = ?"), vec![Value::from(domain), name.into()]),
            None => (String::new(), vec![domain.into()]),
        };
        self.change_if_any(&format!("DELETE FROM {table} WHERE {of_domain} = ?{more}"), &values)?;
        Ok(())
    }
}
