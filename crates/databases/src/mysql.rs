//! MySQL and MariaDB. Called by the pool. The session is strict: a value that does not fit is refused, never cut.

use crate::connection_file::MysqlServer;
use crate::own_runtime::OwnRuntime;
use crate::settings::{Limits, MysqlSettings};
use crate::sql::dialect::Dialect;
use crate::sql::link::{Column, Link, LinkError, Opener, Purpose, Value};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Params, Row, SslOpts};
use std::path::PathBuf;
use std::time::Duration;

/// Statements kept ready on a connection.
const STATEMENTS_KEPT: usize = 64;
/// Where Debian's server listens: `localhost` means this socket, as in the C library.
const USUAL_SOCKET: &str = "/run/mysqld/mysqld.sock";
/// The usual port.
const USUAL_PORT: u16 = 3306;

/// Opens connections to one server, or to two.
#[derive(Debug)]
pub(crate) struct MysqlOpener {
    read: MysqlServer,
    write: Option<MysqlServer>,
    authorities: Option<PathBuf>,
    limits: Limits,
}

impl MysqlOpener {
    pub(crate) fn new(settings: &MysqlSettings) -> Self {
        let (read, write) = (settings.read.clone(), settings.write.clone());
        Self { read, write, authorities: settings.authorities.clone(), limits: settings.limits.clone() }
    }

    fn options(&self, purpose: Purpose) -> Opts {
        let server = match (purpose, &self.write) {
            (Purpose::Write, Some(write)) => write,
            _ => &self.read,
        };
        let mut options = OptsBuilder::default()
            .user(Some(&server.user))
            .pass(Some(&server.password))
            .db_name(Some(&server.database))
            .prefer_socket(false)
            .client_found_rows(true)
            .stmt_cache_size(STATEMENTS_KEPT)
            .setup(vec!["SET SESSION sql_mode = 'STRICT_ALL_TABLES'"]);
        let is_local = server.host.is_empty() || server.host == "localhost";
        if server.host.starts_with('/') {
            options = options.socket(Some(&server.host));
        } else if is_local && server.port == 0 && std::fs::metadata(USUAL_SOCKET).is_ok() {
            options = options.socket(Some(USUAL_SOCKET));
        } else {
            let host = if is_local { "127.0.0.1" } else { &server.host };
            options = options.ip_or_hostname(host).tcp_port(if server.port == 0 { USUAL_PORT } else { server.port });
            if let Some(authorities) = &self.authorities {
                let tls = SslOpts::default().with_root_certs(vec![authorities.clone().into()]).with_disable_built_in_roots(true);
                options = options.ssl_opts(Some(tls));
            }
        }
        options.into()
    }
}

impl Opener for MysqlOpener {
    fn open(&self, purpose: Purpose) -> Result<Box<dyn Link>, LinkError> {
        let runtime = OwnRuntime::new()?;
        let connection = runtime.run(self.limits.connect, Conn::new(self.options(purpose)))?;
        let connection = connection.map_err(|error| LinkError::Lost(error.to_string()))?;
        Ok(Box::new(MysqlLink { connection, runtime, query: self.limits.query }))
    }

    fn dialect(&self) -> Dialect {
        Dialect::Mysql
    }

    fn name(&self) -> String {
        format!("mysql at {}", self.read.host)
    }

    fn is_replicated(&self) -> bool {
        self.write.is_some()
    }
}

struct MysqlLink {
    // Before the runtime: dropped first.
    connection: Conn,
    runtime: OwnRuntime,
    query: Duration,
}

impl Link for MysqlLink {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError> {
        let asking = self.connection.exec::<Row, _, _>(sql, parameters(values));
        let rows = self.runtime.run(self.query, asking)?.map_err(|error| failure(&error))?;
        Ok(rows.into_iter().map(|row| row.unwrap().into_iter().map(value_of).collect()).collect())
    }

    fn change(&mut self, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        let Self { connection, runtime, query } = self;
        let changing = async {
            connection.exec_drop(sql, parameters(values)).await?;
            Ok(connection.affected_rows())
        };
        runtime.run(*query, changing)?.map_err(|error: Error| failure(&error))
    }

    fn columns(&mut self, table: &str) -> Result<Vec<Column>, LinkError> {
        const COLUMNS: &str = "SELECT column_name, character_maximum_length FROM information_schema.columns \
                               WHERE table_schema = DATABASE() AND table_name = ?";
        let rows = self.rows(COLUMNS, &[table.into()])?;
        Ok(rows.iter().map(|row| Column::of(row.first(), row.get(1))).collect())
    }

    fn ping(&mut self) -> Result<(), LinkError> {
        self.runtime.run(self.query, self.connection.ping())?.map_err(|error| failure(&error))
    }
}

fn parameters(values: &[Value]) -> Params {
    if values.is_empty() {
        return Params::Empty;
    }
    let value = |value: &Value| match value {
        Value::Null => mysql_async::Value::NULL,
        Value::Number(number) => mysql_async::Value::Int(*number),
        Value::Text(text) => mysql_async::Value::Bytes(text.clone().into_bytes()),
        Value::Bytes(bytes) => mysql_async::Value::Bytes(bytes.clone()),
    };
    Params::Positional(values.iter().map(value).collect())
}

fn value_of(value: mysql_async::Value) -> Value {
    match value {
        mysql_async::Value::Bytes(bytes) => Value::of_bytes(&bytes),
        mysql_async::Value::Int(number) => Value::Number(number),
        mysql_async::Value::UInt(number) => Value::Number(i64::try_from(number).unwrap_or(i64::MAX)),
        // Types that no table of ours has.
        _ => Value::Null,
    }
}

/// Numbers of the server's errors: its manual's "Server Error Message Reference".
fn failure(error: &Error) -> LinkError {
    let Error::Server(server) = error else { return LinkError::Lost(error.to_string()) };
    match server.code {
        1146 | 1051 => LinkError::NoTable,
        1062 => LinkError::Duplicate,
        // Too long, out of range, letters that the column's character set lacks, cut.
        1406 | 1264 | 1366 | 1265 | 3854 => LinkError::TooLong,
        // Too many connections, shutting down, killed, read-only (the master became a replica).
        1040 | 1053 | 1927 | 1203 | 1290 | 1836 => LinkError::Lost(server.message.clone()),
        // Stopped for taking too long: MySQL, MariaDB.
        3024 | 1969 => LinkError::Late(server.message.clone()),
        _ => LinkError::Refused(server.message.clone()),
    }
}
