//! PostgreSQL. Called by the pool. Statements are prepared once a connection; the server is told the time-out too, so that it does not go on with what
//! nobody waits for.

use crate::connection_file::PostgresqlServer;
use crate::own_runtime::OwnRuntime;
use crate::settings::{Limits, PostgresqlSettings};
use crate::sql::dialect::Dialect;
use crate::sql::link::{Column, Link, LinkError, Opener, Purpose, Value};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashMap;
use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Error, NoTls, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Statements kept ready on a connection.
const STATEMENTS_KEPT: usize = 64;

/// Opens connections to one server, or to two.
#[derive(Debug)]
pub(crate) struct PostgresqlOpener {
    read: PostgresqlServer,
    write: Option<PostgresqlServer>,
    limits: Limits,
}

impl PostgresqlOpener {
    pub(crate) fn new(settings: &PostgresqlSettings) -> Self {
        Self { read: settings.read.clone(), write: settings.write.clone(), limits: settings.limits.clone() }
    }

    fn server(&self, purpose: Purpose) -> &PostgresqlServer {
        match (purpose, &self.write) {
            (Purpose::Write, Some(write)) => write,
            _ => &self.read,
        }
    }
}

impl Opener for PostgresqlOpener {
    fn open(&self, purpose: Purpose) -> Result<Box<dyn Link>, LinkError> {
        let server = self.server(purpose);
        let mut config: Config = server.line.parse().map_err(|error: Error| LinkError::Refused(text(&error)))?;
        config.connect_timeout(self.limits.connect);
        if config.get_application_name().is_none() {
            config.application_name("postino");
        }
        let runtime = OwnRuntime::new()?;
        let connecting = async {
            // Each arm has a connection of another type, so each spawns its own.
            match &server.authorities {
                None => {
                    let (client, connection) = config.connect(NoTls).await.map_err(|error| failure(&error))?;
                    runtime.spawn(async { drop(connection.await) });
                    Ok(client)
                }
                Some(authorities) => {
                    let tls = MakeRustlsConnect::new(trusting(authorities)?);
                    let (client, connection) = config.connect(tls).await.map_err(|error| failure(&error))?;
                    runtime.spawn(async { drop(connection.await) });
                    Ok(client)
                }
            }
        };
        let client = runtime.run(self.limits.connect, connecting)?.map_err(lost)?;
        // A commit that the server reports before it is on the disk is not good enough here.
        let prepare = format!(
            "SET statement_timeout = {}; SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
            self.limits.query.as_millis()
        );
        runtime.run(self.limits.connect, client.batch_execute(&prepare))?.map_err(|error| lost(failure(&error)))?;
        Ok(Box::new(PostgresqlLink { client, runtime, query: self.limits.query, statements: HashMap::new() }))
    }

    fn dialect(&self) -> Dialect {
        Dialect::Postgresql
    }

    fn name(&self) -> String {
        format!("postgresql at {}", self.read.host)
    }

    fn is_replicated(&self) -> bool {
        self.write.is_some()
    }
}

/// A connection that trusts these authorities alone.
fn trusting(authorities: &Path) -> Result<rustls::ClientConfig, LinkError> {
    let wrong = |error: &dyn std::fmt::Display| LinkError::Refused(format!("{}: {error}", authorities.display()));
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(authorities).map_err(|e| wrong(&e))? {
        roots.add(certificate.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))?;
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| wrong(&e))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

struct PostgresqlLink {
    // Before the runtime: dropped first.
    client: Client,
    runtime: OwnRuntime,
    query: Duration,
    statements: HashMap<String, Statement>,
}

impl PostgresqlLink {
    fn statement(&mut self, sql: &str) -> Result<Statement, LinkError> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let prepared = self.runtime.run(self.query, self.client.prepare(&numbered(sql)))?.map_err(|error| failure(&error))?;
        if self.statements.len() >= STATEMENTS_KEPT {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), prepared.clone());
        Ok(prepared)
    }
}

impl Link for PostgresqlLink {
    fn rows(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Vec<Value>>, LinkError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = self.runtime.run(self.query, self.client.query(&statement, &values))?.map_err(|error| failure(&error))?;
        let read = |row: &tokio_postgres::Row| (0..row.len()).map(|at| row.try_get::<_, Value>(at)).collect::<Result<Vec<_>, _>>();
        rows.iter().map(read).collect::<Result<_, _>>().map_err(|error| failure(&error))
    }

    fn change(&mut self, sql: &str, values: &[Value]) -> Result<u64, LinkError> {
        let statement = self.statement(sql)?;
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.runtime.run(self.query, self.client.execute(&statement, &values))?.map_err(|error| failure(&error))
    }

    fn columns(&mut self, table: &str) -> Result<Vec<Column>, LinkError> {
        const COLUMNS: &str = "SELECT attname::text, CASE WHEN atttypid IN (1042, 1043) AND atttypmod > 4 THEN atttypmod - 4 END FROM pg_attribute \
                               WHERE attrelid = to_regclass(quote_ident(?::text)) AND attnum > 0 AND NOT attisdropped";
        let rows = self.rows(COLUMNS, &[table.into()])?;
        Ok(rows.iter().map(|row| Column::of(row.first(), row.get(1))).collect())
    }

    fn ping(&mut self) -> Result<(), LinkError> {
        // A query to the point: a closed connection is only noticed by one who runs it.
        self.runtime.run(self.query, self.client.batch_execute(""))?.map_err(|error| failure(&error))
    }
}

/// `$1`, `$2` … for `?`. No statement of ours has a `?` inside quotes.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 8);
    for (n, part) in sql.split('?').enumerate() {
        if n > 0 {
            out.push_str(&format!("${n}"));
        }
        out.push_str(part);
    }
    out
}

type Wrong = Box<dyn StdError + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Wrong> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Number(number) => match *kind {
                Type::INT2 => i16::try_from(*number)?.to_sql(kind, out),
                Type::INT4 => i32::try_from(*number)?.to_sql(kind, out),
                Type::INT8 => number.to_sql(kind, out),
                _ => number.to_string().to_sql(&Type::TEXT, out),
            },
            Self::Text(text) => text.to_sql(&Type::TEXT, out),
            Self::Bytes(bytes) => bytes.as_slice().to_sql(&Type::BYTEA, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Wrong> {
        Ok(match *kind {
            Type::INT2 => Self::Number(i16::from_sql(kind, raw)?.into()),
            Type::INT4 => Self::Number(i32::from_sql(kind, raw)?.into()),
            Type::INT8 => Self::Number(i64::from_sql(kind, raw)?),
            _ => Self::of_bytes(raw),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Wrong> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The error's words with what lies under it; the driver's own `Display` says only "db error".
fn text(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(db), _) => db.message().to_owned(),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

fn failure(error: &Error) -> LinkError {
    let text = text(error);
    let Some(state) = error.code() else {
        let is_value = error.source().is_some_and(|source| source.is::<std::num::TryFromIntError>());
        return if is_value { LinkError::TooLong } else { LinkError::Lost(text) };
    };
    match state.clone() {
        SqlState::UNDEFINED_TABLE => LinkError::NoTable,
        SqlState::UNIQUE_VIOLATION => LinkError::Duplicate,
        SqlState::STRING_DATA_RIGHT_TRUNCATION
        | SqlState::NUMERIC_VALUE_OUT_OF_RANGE
        | SqlState::UNTRANSLATABLE_CHARACTER
        | SqlState::CHARACTER_NOT_IN_REPERTOIRE => LinkError::TooLong,
        SqlState::QUERY_CANCELED => LinkError::Late(text),
        SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::CANNOT_CONNECT_NOW
        | SqlState::TOO_MANY_CONNECTIONS
        // The master became a replica.
        | SqlState::READ_ONLY_SQL_TRANSACTION
        // A prepared statement whose table was altered.
        | SqlState::FEATURE_NOT_SUPPORTED => LinkError::Lost(text),
        _ => LinkError::Refused(text),
    }
}

/// A refusal while connecting leaves no link.
fn lost(error: LinkError) -> LinkError {
    match error {
        LinkError::Refused(text) => LinkError::Lost(text),
        other => other,
    }
}
