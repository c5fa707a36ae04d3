//! The statements for Oracle and Informix, whose products are not here, as text: what a keeper says to a database that has no tables yet and then answers
//! every question with nothing.

use super::dialect::Dialect;
use super::keeper::SqlKeeper;
use super::link::{Column, Link, LinkError, Opener, Purpose, Value};
use crate::settings::{Layout, Limits};
use postino_ports::accounts::{Accounts as _, Aliases as _, DomainData as _, LastLogin, Logins as _, Relays as _};
use postino_types::account::{DomainLimits, Record};
use std::sync::{Arc, Mutex};

/// Notes what it is told.
#[derive(Debug, Clone)]
struct Noting {
    dialect: Dialect,
    said: Arc<Mutex<Vec<String>>>,
    made: Arc<Mutex<Vec<String>>>,
}

impl Opener for Noting {
    fn open(&self, _: Purpose) -> Result<Box<dyn Link>, LinkError> {
        Ok(Box::new(self.clone()))
    }
    fn dialect(&self) -> Dialect {
        self.dialect
    }
    fn name(&self) -> String {
        "noting".into()
    }
}

impl Noting {
    fn note(&self, sql: &str) {
        let mut said = self.said.lock().unwrap();
        if !said.iter().any(|known| known == sql) {
            said.push(sql.to_owned());
        }
    }
}

impl Link for Noting {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError> {
        assert_eq!(sql.matches('?').count(), values.len());
        self.note(sql);
        Ok(if sql.contains("COUNT") {
            vec![vec![Value::Number(0)]]
        } else if sql.contains("GROUP BY") {
            vec![vec!["z".into()]]
        } else {
            vec![]
        })
    }
    fn change(&mut self, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        assert_eq!(sql.matches('?').count(), values.len());
        self.note(sql);
        if sql.starts_with("CREATE TABLE") {
            self.made.lock().unwrap().push(sql.to_owned());
        }
        // Nothing is there to be changed, so rows are added.
        Ok(u64::from(!sql.starts_with("UPDATE")))
    }
    fn columns(&mut self, table: &str) -> Result<Vec<Column>, LinkError> {
        let quoted = format!("CREATE TABLE {} ", self.dialect.quote(table));
        let is_made = self.made.lock().unwrap().iter().any(|sql| sql.starts_with(&quoted));
        let column = |name: &str| Column { name: name.into(), characters_max: None, counts_bytes: false };
        Ok(if is_made { vec![column("pw_name"), column("pw_clear_passwd")] } else { vec![] })
    }
    fn ping(&mut self) -> Result<(), LinkError> {
        Ok(())
    }
}

fn said(dialect: Dialect) -> String {
    let noting = Noting { dialect, said: Arc::default(), made: Arc::default() };
    let keeper = SqlKeeper::new(Arc::new(noting.clone()), Layout::OneTable, Limits::default());
    let record = Record {
        name: "ann".into(),
        password: "x".into(),
        kind: 1,
        flags: 0,
        gecos: b"Ann".to_vec(),
        directory: "/d".into(),
        quota: "NOQUOTA".into(),
        clear: None,
    };
    let (domain, address) = ("one.example", "192.0.2.1".parse().unwrap());
    keeper.insert(domain, &record).unwrap();
    keeper.find(domain, "ann").unwrap();
    let _ = keeper.update(domain, &record);
    postino_ports::accounts::Accounts::page(&keeper, domain, Some("a"), 100).unwrap();
    keeper.count(domain).unwrap();
    keeper.add_line(domain, "info", "&ann@one.example").unwrap();
    keeper.lines(domain, "info").unwrap();
    postino_ports::accounts::Aliases::page(&keeper, domain, Some("a"), 100).unwrap();
    keeper.note(domain, "ann", &LastLogin { address: "192.0.2.1".into(), at: 1 }).unwrap();
    keeper.open(address, 1).unwrap();
    keeper.clear(1).unwrap();
    keeper.set_domain_of(address, Some(domain)).unwrap();
    keeper.set_limits(domain, Some(&DomainLimits::default())).unwrap();
    keeper.set_hash_state(domain, Some(&postino_types::account::HashState::default())).unwrap();
    postino_ports::accounts::Accounts::remove_domain(&keeper, domain).unwrap();
    let tables = SqlKeeper::new(Arc::new(noting.clone()), Layout::TableForEachDomain, Limits::default());
    for domain in ["one.example", "1st.example"] {
        tables.add_domain(domain).unwrap();
        tables.find(domain, "ann").unwrap();
    }
    let said = noting.said.lock().unwrap();
    said.iter().map(|sql| format!("{sql};\n")).collect()
}

fn compare(dialect: Dialect, expected: &str, file: &str) {
    let said = said(dialect);
    if said != expected {
        let path = std::env::temp_dir().join(file);
        std::fs::write(&path, &said).unwrap();
        panic!("other statements than tests/{file}: see {}", path.display());
    }
}

#[test]
fn oracle() {
    compare(Dialect::Oracle, include_str!("../../tests/oracle.sql"), "oracle.sql");
}

#[test]
fn informix() {
    compare(Dialect::Informix, include_str!("../../tests/informix.sql"), "informix.sql");
}
