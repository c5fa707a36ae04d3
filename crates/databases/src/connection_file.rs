//! vpopmail's connection files as they are: `vpopmail.mysql` (`host|port|user|password|database`), `vpopmail.pgsql` (a libpq line) and ours for
//! ODBC, `vpopmail.odbc` (a connection string). The first line
//! is for questions; a second, where there is one, for changes. Pure; called by the server. Nothing here prints a password.

use std::fmt;
use std::path::PathBuf;

/// The lines of a connection file: that for questions, and that for changes if there is one. Comments and empty lines do not count.
pub fn lines(text: &str) -> Result<(&str, Option<&str>), String> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(first) = lines.next() else { return Err("no line says where the database is".into()) };
    let second = lines.next();
    if lines.next().is_some() {
        return Err("more than two lines: one for questions, one for changes".into());
    }
    Ok((first, second))
}

/// A line of `vpopmail.mysql`.
#[derive(Clone, PartialEq, Eq)]
pub struct MysqlServer {
    /// Host; with a leading `/` a socket; empty or `localhost`: the usual socket if it is there.
    pub host: String,
    /// Port; 0: the usual one.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password.
    pub password: String,
    /// Database.
    pub database: String,
}

impl fmt::Debug for MysqlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }
}

impl MysqlServer {
    /// Reads `host|port|user|password|database`.
    pub fn parse(line: &str) -> Result<Self, String> {
        let fields: Vec<&str> = line.split('|').collect();
        let [host, port, user, password, database] = fields.as_slice() else {
            return Err(format!("{} fields; wanted host|port|user|password|database", fields.len()));
        };
        let port = if port.is_empty() { Ok(0) } else { port.parse() };
        let port = port.map_err(|_| "the port is no number".to_owned())?;
        let text = |field: &&str| (*field).to_owned();
        Ok(Self { host: text(host), port, user: text(user), password: text(password), database: text(database) })
    }
}

/// A line of `vpopmail.pgsql`: what the driver takes, and what TLS needs.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresqlServer {
    /// The line without `sslrootcert`.
    pub line: String,
    /// `sslrootcert`: authorities (PEM) that the server's certificate must come from.
    pub authorities: Option<PathBuf>,
    /// `host`, for the log.
    pub host: String,
}

impl fmt::Debug for PostgresqlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresqlServer({}, ..)", self.host)
    }
}

impl PostgresqlServer {
    /// Reads `host=… user=… password=… dbname=…`. TLS is used where `sslrootcert` names the authorities, and then the certificate and its
    /// name are checked; `sslmode=require` without it is refused, because that would be a lock without a key.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (mut kept, mut authorities, mut host, mut mode) = (Vec::new(), None, String::new(), String::new());
        for (key, value) in pairs(line)? {
            match key.as_str() {
                "sslrootcert" => authorities = Some(PathBuf::from(value)),
                "sslmode" => mode = value,
                _ => {
                    if key == "host" || (key == "hostaddr" && host.is_empty()) {
                        host.clone_from(&value);
                    }
                    kept.push(format!("{key}='{}'", value.replace('\\', "\\\\").replace('\'', "\\'")));
                }
            }
        }
        match (mode.as_str(), &authorities) {
            ("require" | "verify-ca" | "verify-full", None) => {
                return Err(format!("sslmode={mode} wants sslrootcert, a file with the authorities"));
            }
            ("disable", _) => authorities = None,
            ("" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full", _) => {}
            _ => return Err(format!("sslmode={mode} is not known")),
        }
        kept.push(format!("sslmode='{}'", if authorities.is_some() { "require" } else { "disable" }));
        Ok(Self { line: kept.join(" "), authorities, host })
    }
}

/// A line of `vpopmail.odbc`: an ODBC connection string.
#[derive(Clone, PartialEq, Eq)]
pub struct OdbcServer {
    /// The string as the driver manager takes it.
    pub line: String,
    /// What names the database, for the log.
    pub name: String,
    /// The password, so that no message shows it; may be empty.
    pub password: String,
}

impl fmt::Debug for OdbcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OdbcServer({}, ..)", self.name)
    }
}

impl OdbcServer {
    /// Reads `DSN=…;UID=…;PWD=…` or `Driver={…};…`. A value in braces may hold `;`, and `}}` for `}`.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (mut name, mut password) = (String::new(), String::new());
        let mut rest = line.trim();
        while !rest.is_empty() {
            let Some((key, after)) = rest.split_once('=') else { return Err("wanted KEY=value;KEY=value".into()) };
            let (value, left) = odbc_value(after)?;
            match key.trim().to_ascii_lowercase().as_str() {
                "dsn" => name.clone_from(&value),
                "driver" if name.is_empty() => name.clone_from(&value),
                "pwd" | "password" => password = value,
                _ => {}
            }
            rest = left;
        }
        if name.is_empty() {
            return Err("neither DSN nor Driver says where the database is".into());
        }
        Ok(Self { line: line.trim().to_owned(), name, password })
    }
}

/// A value of a connection string, and what follows its semicolon.
fn odbc_value(text: &str) -> Result<(String, &str), String> {
    let Some(mut inner) = text.strip_prefix('{') else {
        let (value, left) = text.split_once(';').unwrap_or((text, ""));
        return Ok((value.trim().to_owned(), left.trim_start()));
    };
    let mut value = String::new();
    loop {
        let Some((part, left)) = inner.split_once('}') else { return Err("a brace is not closed".into()) };
        value.push_str(part);
        if let Some(more) = left.strip_prefix('}') {
            value.push('}');
            inner = more;
            continue;
        }
        return match left.trim_start() {
            "" => Ok((value, "")),
            left => left.strip_prefix(';').map(|left| (value, left.trim_start())).ok_or_else(|| "wanted ; after }".into()),
        };
    }
}

/// `key = value` pairs of a libpq line; a value may stand in quotes, with backslashes before quotes and backslashes.
fn pairs(line: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let Some((key, after)) = rest.split_once('=') else { return Err("wanted key=value".into()) };
        let after = after.trim_start();
        let (quoted, mut chars) = match after.strip_prefix('\'') {
            Some(inner) => (true, inner.char_indices()),
            None => (false, after.char_indices()),
        };
        let mut value = String::new();
        let mut closed = !quoted;
        while let Some((_, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                c if c.is_whitespace() && !quoted => break,
                c => value.push(c),
            }
        }
        if !closed {
            return Err("a quote is not closed".into());
        }
        pairs.push((key.trim().to_owned(), value));
        rest = chars.as_str().trim_start();
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_files_of_vpopmail() {
        let text = "# read settings\nreplica|0|vpopmail|se#cret|vpopmail\n\n# update settings\n/run/m.sock|3307|v|p w|mail\n";
        let (read, write) = lines(text).unwrap();
        let (read, write) = (MysqlServer::parse(read).unwrap(), MysqlServer::parse(write.unwrap()).unwrap());
        assert_eq!((read.host.as_str(), read.port, read.password.as_str()), ("replica", 0, "se#cret"));
        assert_eq!((write.host.as_str(), write.port, write.database.as_str()), ("/run/m.sock", 3307, "mail"));
        assert!(!format!("{read:?}").contains("cret"));
        assert!(MysqlServer::parse("a|b").is_err() && lines("# nothing\n").is_err());
    }

    #[test]
    fn reads_lines_of_libpq() {
        let server = PostgresqlServer::parse("host=db.example user = 'vpop mail' password='a\\'b\\\\' dbname=v").unwrap();
        assert_eq!(server.line, "host='db.example' user='vpop mail' password='a\\'b\\\\' dbname='v' sslmode='disable'");
        assert!(!format!("{server:?}").contains("a'b"));
        let server = PostgresqlServer::parse("host=x sslmode=verify-full sslrootcert=/etc/ca.pem").unwrap();
        assert_eq!((server.authorities, server.line.as_str()), (Some("/etc/ca.pem".into()), "host='x' sslmode='require'"));
        for bad in ["host", "password='x", "host=x sslmode=require", "sslmode=maybe"] {
            assert!(PostgresqlServer::parse(bad).is_err(), "{bad}");
        }
    }
    #[test]
    fn reads_connection_strings() {
        let server = OdbcServer::parse("Driver={Oracle 19};DBQ=//db/mail; UID=vpopmail;PWD={a;b}}c};").unwrap();
        assert_eq!((server.name.as_str(), server.password.as_str()), ("Oracle 19", "a;b}c"));
        assert!(!format!("{server:?}").contains("a;b"));
        assert_eq!(OdbcServer::parse("Driver=x;dsn=mail;Pwd=secret").map(|s| (s.name, s.password)), Ok(("mail".into(), "secret".into())));
        for bad in ["", "mail", "UID=x", "DSN=x;PWD={a", "DSN={x}y;"] {
            assert!(OdbcServer::parse(bad).is_err(), "{bad}");
        }
    }
}
