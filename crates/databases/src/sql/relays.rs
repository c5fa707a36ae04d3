//! Opened relays in table `relay`. Called through the port. A row's time may be text (old tables of MySQL): numbers are compared all the same.

use super::keeper::{SqlKeeper, check_width, number, text};
use super::link::Value;
use super::tables::Table;
use postino_ports::accounts::{AccountsError, Relays};
use std::net::IpAddr;

impl SqlKeeper {
    fn relay(&self) -> (String, String, String) {
        (self.dialect.quote(Table::Relays.name()), self.dialect.quote("ip_addr"), self.dialect.quote("timestamp"))
    }
}

impl Relays for SqlKeeper {
    fn open(&self, address: IpAddr, at: i64) -> Result<bool, AccountsError> {
        let table = Table::Relays;
        let columns = self.columns_or_create(table, table.name()).map_err(|e| self.error(e))?;
        let address = address.to_canonical().to_string();
        check_width(&columns, "ip_addr", &address)?;
        let (quoted, ip, time) = self.relay();
        let values: [Value; 2] = [at.into(), address.as_str().into()];
        let update = format!("UPDATE {quoted} SET {time} = ? WHERE {ip} = ?");
        let insert = format!("INSERT INTO {quoted} ({time}, {ip}) VALUES (?, ?)");
        self.replace(table, (&update, &values), (&insert, &values)).map_err(|e| self.error(e))
    }

    fn list(&self) -> Result<Vec<(IpAddr, i64)>, AccountsError> {
        let (table, ip, time) = self.relay();
        let rows = self.rows_if_any(&format!("SELECT {ip}, {time} FROM {table}"), &[])?;
        // A row that is no address was not written by us: it opens nothing.
        let mut list: Vec<(IpAddr, i64)> =
            rows.iter().filter_map(|row| Some((text(row.first()).parse().ok()?, number(row.get(1)).unwrap_or(0)))).collect();
        list.sort_unstable();
        Ok(list)
    }

    fn clear(&self, until: i64) -> Result<u64, AccountsError> {
        let (table, _, time) = self.relay();
        self.change_if_any(&format!("DELETE FROM {table} WHERE {time} <= ?"), &[until.into()])
    }

    fn close(&self, address: IpAddr) -> Result<bool, AccountsError> {
        let (table, ip, _) = self.relay();
        let address = address.to_canonical().to_string();
        Ok(self.change_if_any(&format!("DELETE FROM {table} WHERE {ip} = ?"), &[address.as_str().into()])? > 0)
    }
}
