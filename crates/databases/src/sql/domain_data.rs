//! Limits, addresses and hashing of domains in tables `limits`, `ip_alias_map` and `dir_control`. Called through the port.

use super::keeper::{SqlKeeper, check_width, number, text};
use super::link::Value;
use super::tables::{HASHING_COLUMNS, LIMITS_COLUMNS, Table};
use postino_ports::accounts::{AccountsError, DomainData};
use postino_types::account::{self, DomainLimits, HashState, Permissions};
use std::net::IpAddr;

/// The columns of `limits` that stand for a flag of every account, in the table's order.
const FLAGS: [u32; 10] = [
    account::FLAG_NO_POP,
    account::FLAG_NO_IMAP,
    account::FLAG_NO_DIALUP,
    account::FLAG_NO_PASSWORD_CHANGE,
    account::FLAG_NO_WEBMAIL,
    account::FLAG_NO_RELAY,
    account::FLAG_NO_SMTP,
    account::FLAG_NO_SPAM_CHECK,
    account::FLAG_DELETE_SPAM,
    account::FLAG_NO_MAILDROP,
];

impl SqlKeeper {
    /// A row with `columns`, found by `key_column`: changed or added.
    fn put(&self, table: Table, key: (&'static str, &str), columns: &[&str], values: Vec<Value>) -> Result<(), AccountsError> {
        let existing = self.columns_or_create(table, table.name()).map_err(|e| self.error(e))?;
        check_width(&existing, key.0, key.1)?;
        let quoted = self.dialect.quote(table.name());
        let set: Vec<String> = columns.iter().map(|c| format!("{} = ?", self.dialect.quote(c))).collect();
        let names: Vec<String> = columns.iter().copied().chain([key.0]).map(|c| self.dialect.quote(c)).collect();
        let update = format!("UPDATE {quoted} SET {} WHERE {} = ?", set.join(", "), self.dialect.quote(key.0));
        let marks = vec!["?"; names.len()].join(", ");
        let insert = format!("INSERT INTO {quoted} ({}) VALUES ({marks})", names.join(", "));
        let mut values = values;
        values.push(key.1.into());
        self.replace(table, (&update, &values), (&insert, &values)).map_err(|e| self.error(e))?;
        Ok(())
    }

    fn delete(&self, table: Table, column: &str, key: &str) -> Result<(), AccountsError> {
        let sql = format!("DELETE FROM {} WHERE {} = ?", self.dialect.quote(table.name()), self.dialect.quote(column));
        self.change_if_any(&sql, &[key.into()])?;
        Ok(())
    }

    fn hashing_key<'a>(&'a self, domain: &'a str) -> &'a str {
        if domain.is_empty() { &self.limits.domains_key } else { domain }
    }
}

impl DomainData for SqlKeeper {
    fn limits(&self, domain: &str) -> Result<Option<DomainLimits>, AccountsError> {
        let columns: Vec<String> = LIMITS_COLUMNS.iter().map(|(column, ..)| self.dialect.quote(column)).collect();
        let of_domain = self.dialect.quote("domain");
        let sql = format!("SELECT {} FROM {} WHERE {of_domain} = ?", columns.join(", "), self.dialect.quote(Table::Limits.name()));
        let rows = self.rows_if_any(&sql, &[domain.into()])?;
        Ok(rows.first().map(|row| limits_of(row)))
    }

    fn set_limits(&self, domain: &str, limits: Option<&DomainLimits>) -> Result<(), AccountsError> {
        let Some(limits) = limits else { return self.delete(Table::Limits, "domain", domain) };
        let columns: Vec<&str> = LIMITS_COLUMNS.iter().map(|(column, ..)| *column).collect();
        self.put(Table::Limits, ("domain", domain), &columns, limits_values(limits))
    }

    fn domain_of(&self, address: IpAddr) -> Result<Option<String>, AccountsError> {
        let (table, ip, of_domain) =
            (self.dialect.quote(Table::Addresses.name()), self.dialect.quote("ip_addr"), self.dialect.quote("domain"));
        let address = address.to_canonical().to_string();
        let rows = self.rows_if_any(&format!("SELECT {of_domain} FROM {table} WHERE {ip} = ?"), &[address.as_str().into()])?;
        Ok(rows.first().map(|row| text(row.first())).filter(|domain| !domain.is_empty()))
    }

    fn addresses(&self) -> Result<Vec<(IpAddr, String)>, AccountsError> {
        let (table, ip, of_domain) =
            (self.dialect.quote(Table::Addresses.name()), self.dialect.quote("ip_addr"), self.dialect.quote("domain"));
        let rows = self.rows_if_any(&format!("SELECT {ip}, {of_domain} FROM {table}"), &[])?;
        let mut list: Vec<(IpAddr, String)> =
            rows.iter().filter_map(|row| Some((text(row.first()).parse().ok()?, text(row.get(1))))).collect();
        list.sort_unstable();
        Ok(list)
    }

    fn set_domain_of(&self, address: IpAddr, domain: Option<&str>) -> Result<(), AccountsError> {
        let address = address.to_canonical().to_string();
        let Some(domain) = domain else { return self.delete(Table::Addresses, "ip_addr", &address) };
        let table = Table::Addresses;
        let columns = self.columns_or_create(table, table.name()).map_err(|e| self.error(e))?;
        check_width(&columns, "domain", domain)?;
        self.put(table, ("ip_addr", &address), &["domain"], vec![domain.into()])
    }

    fn hash_state(&self, domain: &str) -> Result<Option<HashState>, AccountsError> {
        let columns: Vec<String> = HASHING_COLUMNS.iter().chain(&["the_dir"]).map(|column| self.dialect.quote(column)).collect();
        let (table, of_domain) = (self.dialect.quote(Table::Hashing.name()), self.dialect.quote("domain"));
        let sql = format!("SELECT {} FROM {table} WHERE {of_domain} = ?", columns.join(", "));
        let rows = self.rows_if_any(&sql, &[self.hashing_key(domain).into()])?;
        Ok(rows.first().map(|row| hash_state_of(row)))
    }

    fn set_hash_state(&self, domain: &str, state: Option<&HashState>) -> Result<(), AccountsError> {
        let key = self.hashing_key(domain).to_owned();
        let Some(state) = state else { return self.delete(Table::Hashing, "domain", &key) };
        let table = Table::Hashing;
        let existing = self.columns_or_create(table, table.name()).map_err(|e| self.error(e))?;
        check_width(&existing, "the_dir", &state.directory)?;
        let first = [state.current_users, state.level_current, state.level_max];
        let levels = [state.level_start, state.level_end, state.level_mod, state.level_index];
        let numbers = first.into_iter().chain(levels.into_iter().flatten()).map(|n| Value::Number(n.into()));
        let values = numbers.chain([state.directory.as_str().into()]).collect();
        let columns: Vec<&str> = HASHING_COLUMNS.iter().copied().chain(["the_dir"]).collect();
        self.put(table, ("domain", &key), &columns, values)
    }
}

/// A number that is not negative; what does not fit is the nearest.
fn unsigned<T: TryFrom<i64>>(value: Option<&Value>) -> Option<T> {
    number(value).and_then(|n| T::try_from(n).ok())
}

fn limits_of(row: &[Value]) -> DomainLimits {
    let maximum = |at: usize| number(row.get(at)).unwrap_or(-1);
    let amount = |at: usize| unsigned(row.get(at)).unwrap_or(0);
    let permission = |at: usize| unsigned(row.get(at)).unwrap_or(0);
    let flags =
        FLAGS.iter().enumerate().filter(|(at, _)| number(row.get(9 + at)).unwrap_or(0) != 0).fold(0, |flags, (_, flag)| flags | flag);
    DomainLimits {
        accounts_max: maximum(0),
        aliases_max: maximum(1),
        forwards_max: maximum(2),
        autoresponders_max: maximum(3),
        mailing_lists_max: maximum(4),
        quota_mb: amount(5),
        messages_max: amount(6),
        default_quota_bytes: amount(7),
        default_messages_max: amount(8),
        flags,
        permissions: Permissions {
            account: permission(19),
            alias: permission(20),
            forward: permission(21),
            autoresponder: permission(22),
            mailing_list: unsigned(row.get(23)).unwrap_or(0),
            quota: permission(24),
            default_quota: permission(25),
        },
    }
}

fn limits_values(limits: &DomainLimits) -> Vec<Value> {
    let big = |n: u64| Value::Number(i64::try_from(n).unwrap_or(i64::MAX));
    let maxima = [limits.accounts_max, limits.aliases_max, limits.forwards_max, limits.autoresponders_max, limits.mailing_lists_max];
    let amounts = [limits.quota_mb, limits.messages_max, limits.default_quota_bytes, limits.default_messages_max];
    let may = limits.permissions;
    let permissions: [u16; 7] = [
        may.account.into(),
        may.alias.into(),
        may.forward.into(),
        may.autoresponder.into(),
        may.mailing_list,
        may.quota.into(),
        may.default_quota.into(),
    ];
    let maxima = maxima.into_iter().map(Value::Number);
    let flags = FLAGS.iter().map(|flag| Value::Number((limits.flags & flag != 0).into()));
    maxima.chain(amounts.into_iter().map(big)).chain(flags).chain(permissions.into_iter().map(|p| Value::Number(p.into()))).collect()
}

fn hash_state_of(row: &[Value]) -> HashState {
    let count = |at: usize| unsigned(row.get(at)).unwrap_or(0);
    let three = |at: usize| [count(at), count(at + 1), count(at + 2)];
    HashState {
        current_users: count(0),
        level_current: count(1),
        level_max: count(2),
        level_start: three(3),
        level_end: three(6),
        level_mod: three(9),
        level_index: three(12),
        directory: text(row.get(15)),
    }
}
