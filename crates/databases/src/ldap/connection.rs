//! Connections to the LDAP server: bounded in number, opened when wanted, kept while they work, each answer waited for no longer than the
//! time-out. Called by the keepers here. It never logs a password and never retries a change whose fate is unknown.

use super::settings::{Bind, LdapSettings, Tls};
use ldap3::controls::{Control, ControlType, PagedResults};
use ldap3::{LdapConn, LdapConnSettings, LdapError, LdapResult, Mod, Scope, SearchEntry};
use postino_ports::accounts::AccountsError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// LDAP result codes (RFC 4511 4.1.9) that mean something to the keepers.
pub(super) mod code {
    /// A value is there already.
    pub(crate) const VALUE_EXISTS: u32 = 20;
    /// No such attribute or value.
    pub(crate) const NO_ATTRIBUTE: u32 = 16;
    /// A value breaks the schema's bounds.
    pub(crate) const CONSTRAINT: u32 = 19;
    /// A value is none of its kind.
    pub(crate) const SYNTAX: u32 = 21;
    /// No such entry.
    pub(crate) const NO_OBJECT: u32 = 32;
    /// The entry has no password, or the server takes none.
    pub(crate) const INAPPROPRIATE: u32 = 48;
    /// Wrong password.
    pub(crate) const CREDENTIALS: u32 = 49;
    /// The entry would break its class.
    pub(crate) const CLASS: u32 = 65;
    /// The entry is there already.
    pub(crate) const ENTRY_EXISTS: u32 = 68;
    /// Not below this one while it has children.
    pub(crate) const NOT_LEAF: u32 = 66;
}

/// Entries asked for at once when many are read.
const PAGE_ENTRIES: i32 = 500;
/// A change goes over a new connection when the kept one lay longer than this: it may have died, and a change is never tried twice.
const FRESH: Duration = Duration::from_secs(1);
/// How long a failure to connect stands for the questions that follow.
const FAILURE_STANDS: Duration = Duration::from_secs(1);
/// Most that wait for a place; more are told at once.
const WAITING_MAX: usize = 128;
/// Longest text of the server that goes into an error.
const TEXT_BYTES_MAX: usize = 200;
/// The system's authorities, in the places where distributions put them.
const BUNDLES: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Why an operation gave nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is gone; whether the operation happened is unknown.
    Lost(String),
    /// No answer in time: the same.
    TimedOut,
    /// The server said no.
    Refused { code: u32, text: String },
}

impl From<LdapError> for Fault {
    fn from(error: LdapError) -> Self {
        match error {
            LdapError::LdapResult { result } => Self::refused(&result),
            LdapError::Timeout { .. } => Self::TimedOut,
            other => Self::Lost(clipped(&other.to_string())),
        }
    }
}

impl Fault {
    fn refused(result: &LdapResult) -> Self {
        Self::Refused { code: result.rc, text: clipped(&result.to_string()) }
    }
}

fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT_BYTES_MAX).collect()
}

/// One connection, bound.
pub(super) struct Connection {
    ldap: LdapConn,
    timeout: Duration,
    used: Instant,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// One entry; `None`: there is none of that DN.
    pub(super) fn entry(&mut self, dn: &str, filter: &str, attributes: &[&str]) -> Result<Option<SearchEntry>, Fault> {
        let found = self.ldap.with_timeout(self.timeout).search(dn, Scope::Base, filter, attributes)?;
        match found.1.rc {
            0 => Ok(found.0.into_iter().find(|e| !e.is_ref() && !e.is_intermediate()).map(SearchEntry::construct)),
            code::NO_OBJECT => Ok(None),
            _ => Err(Fault::refused(&found.1)),
        }
    }

    /// Is there an entry of this DN?
    pub(super) fn exists(&mut self, dn: &str) -> Result<bool, Fault> {
        Ok(self.entry(dn, "(objectClass=*)", &["1.1"])?.is_some())
    }

    /// Every entry that fits, page by page (RFC 2696). No such base: none.
    pub(super) fn each(&mut self, question: &Question<'_>, mut see: impl FnMut(SearchEntry)) -> Result<(), Fault> {
        let mut cookie = Vec::new();
        loop {
            let control = PagedResults { size: PAGE_ENTRIES, cookie };
            let found = self.ldap.with_timeout(self.timeout).with_controls(vec![control.into()]).search(
                question.base,
                question.scope,
                question.filter,
                question.attributes,
            )?;
            match found.1.rc {
                0 => {}
                code::NO_OBJECT => return Ok(()),
                _ => return Err(Fault::refused(&found.1)),
            }
            found.0.into_iter().filter(|e| !e.is_ref() && !e.is_intermediate()).map(SearchEntry::construct).for_each(&mut see);
            let next = found.1.ctrls.iter().find_map(|Control(kind, raw)| match kind {
                Some(ControlType::PagedResults) => Some(raw.parse::<PagedResults>().cookie),
                _ => None,
            });
            match next {
                Some(next) if !next.is_empty() => cookie = next,
                _ => return Ok(()),
            }
        }
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, dn: &str, attributes: Vec<(Vec<u8>, HashSet<Vec<u8>>)>) -> Result<(), Fault> {
        done(&self.ldap.with_timeout(self.timeout).add(dn, attributes)?)
    }

    /// Changes an entry, in one step.
    pub(super) fn modify(&mut self, dn: &str, changes: Vec<Mod<Vec<u8>>>) -> Result<(), Fault> {
        done(&self.ldap.with_timeout(self.timeout).modify(dn, changes)?)
    }

    /// Removes an entry.
    pub(super) fn delete(&mut self, dn: &str) -> Result<(), Fault> {
        done(&self.ldap.with_timeout(self.timeout).delete(dn)?)
    }

    fn is_fresh(&self) -> bool {
        self.used.elapsed() < FRESH
    }

    fn bind(&mut self, bind: &Bind) -> Result<(), Fault> {
        let ldap = self.ldap.with_timeout(self.timeout);
        match bind {
            Bind::Anonymous => Ok(()),
            Bind::Simple { dn, password } => done(&ldap.simple_bind(dn, password)?),
            Bind::External => done(&ldap.sasl_external_bind()?),
        }
    }
}

fn done(result: &LdapResult) -> Result<(), Fault> {
    if result.rc == 0 { Ok(()) } else { Err(Fault::refused(result)) }
}

/// A search for many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    pub(super) filter: &'a str,
    pub(super) attributes: &'a [&'a str],
}

/// All connections of a keeper.
pub(super) struct Connections {
    url: String,
    bind: Bind,
    timeout: Duration,
    how: LdapConnSettings,
    places: Mutex<Places>,
    freed: Condvar,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({})", self.url)
    }
}

struct Places {
    idle: Vec<Connection>,
    free: usize,
    waiting: usize,
    /// When it failed last, and how: questions of the next moment fail at once instead of waiting one by one.
    failed: Option<(Instant, String)>,
}

impl Connections {
    pub(super) fn new(settings: &LdapSettings) -> Result<Self, AccountsError> {
        let mut how = LdapConnSettings::new().set_conn_timeout(settings.timeout).set_starttls(settings.tls == Tls::StartTls);
        if settings.tls != Tls::None || settings.url.starts_with("ldaps:") {
            how = how.set_config(Arc::new(tls(settings.ca_file.as_deref())?));
        }
        Ok(Self {
            url: settings.url.clone(),
            bind: settings.bind.clone(),
            timeout: settings.timeout,
            how,
            places: Mutex::new(Places { idle: Vec::new(), free: settings.connections_max.max(1), waiting: 0, failed: None }),
            freed: Condvar::new(),
        })
    }

    /// Runs a question. A kept connection that turns out to be dead is replaced once.
    pub(super) fn read<T>(&self, question: impl Fn(&mut Connection) -> Result<T, Fault>) -> Result<T, AccountsError> {
        self.run(&question).map_err(|fault| self.trouble(&fault))
    }

    fn run<T>(&self, question: &impl Fn(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let place = self.place()?;
        if let Some(kept) = place.kept() {
            match place.with(kept, question) {
                Err(Fault::Lost(_)) => {}
                result => return result,
            }
        }
        place.with(self.connect()?, question)
    }

    /// Runs a change, once. What the server refuses comes back as its code.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Connection) -> Result<T, Fault>) -> Result<Result<T, u32>, AccountsError> {
        let run = || {
            let place = self.place()?;
            let connection = place.kept().filter(Connection::is_fresh).map_or_else(|| self.connect(), Ok)?;
            place.with(connection, change)
        };
        split(run()).map_err(|fault| self.trouble(&fault))
    }

    /// Binds as somebody, on a connection that nobody uses afterwards.
    pub(super) fn may_bind(&self, dn: &str, password: &str) -> Result<Result<(), u32>, AccountsError> {
        let run = || {
            let _place = self.place()?;
            let mut connection = self.open()?;
            let result = connection.ldap.with_timeout(self.timeout).simple_bind(dn, password)?;
            let _ = connection.ldap.unbind();
            done(&result)
        };
        split(run()).map_err(|fault| self.trouble(&fault))
    }

    fn connect(&self) -> Result<Connection, Fault> {
        let mut connection = self.open()?;
        connection.bind(&self.bind).map_err(|fault| match fault {
            Fault::Refused { text, .. } => Fault::Lost(format!("our own bind: {text}")),
            other => other,
        })?;
        Ok(connection)
    }

    fn open(&self) -> Result<Connection, Fault> {
        let ldap = LdapConn::with_settings(self.how.clone(), &self.url).inspect_err(|error| {
            self.note_failure(Some(clipped(&error.to_string())));
        })?;
        self.note_failure(None);
        Ok(Connection { ldap, timeout: self.timeout, used: Instant::now() })
    }

    /// Waits for one of the places, no longer than the time-out.
    fn place(&self) -> Result<Place<'_>, Fault> {
        let until = Instant::now() + self.timeout;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        while places.free == 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || places.waiting >= WAITING_MAX {
                return Err(Fault::Lost("all connections are busy".to_owned()));
            }
            places.waiting += 1;
            places = self.freed.wait_timeout(places, left).unwrap_or_else(PoisonError::into_inner).0;
            places.waiting = places.waiting.saturating_sub(1);
        }
        if let Some((at, text)) = &places.failed
            && at.elapsed() < FAILURE_STANDS
        {
            return Err(Fault::Lost(text.clone()));
        }
        places.free -= 1;
        Ok(Place { of: self })
    }

    fn note_failure(&self, failed: Option<String>) {
        let failed = failed.map(|text| (Instant::now(), text));
        self.places.lock().unwrap_or_else(PoisonError::into_inner).failed = failed;
    }

    fn trouble(&self, fault: &Fault) -> AccountsError {
        let what = match fault {
            Fault::Lost(text) => format!("LDAP {}: {text}", self.url),
            Fault::TimedOut => format!("LDAP {}: no answer within {} s", self.url, self.timeout.as_secs()),
            Fault::Refused { text, .. } => format!("LDAP {}: {text}", self.url),
        };
        AccountsError::Unavailable { what }
    }

    /// The server's refusal `code` as an error of the keeper; by default temporary.
    pub(super) fn refusal(&self, code: u32) -> AccountsError {
        match code {
            code::SYNTAX | code::CONSTRAINT | code::CLASS => AccountsError::NotKept { what: "a value that the LDAP schema refuses" },
            code => AccountsError::Unavailable { what: format!("LDAP {}: result code {code}", self.url) },
        }
    }
}

fn split<T>(result: Result<T, Fault>) -> Result<Result<T, u32>, Fault> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Refused { code, .. }) if !is_temporary(code) => Ok(Err(code)),
        Err(fault) => Err(fault),
    }
}

/// Refusals that say nothing about the entry (limits, busy, rights of ours) keep their text for the log.
fn is_temporary(code: u32) -> bool {
    use code::{CLASS, CONSTRAINT, CREDENTIALS, ENTRY_EXISTS, INAPPROPRIATE, NO_ATTRIBUTE, NO_OBJECT, NOT_LEAF, SYNTAX, VALUE_EXISTS};
    ![CLASS, CONSTRAINT, CREDENTIALS, ENTRY_EXISTS, INAPPROPRIATE, NO_ATTRIBUTE, NO_OBJECT, NOT_LEAF, SYNTAX, VALUE_EXISTS].contains(&code)
}

/// A place among the connections, given back when it goes.
struct Place<'a> {
    of: &'a Connections,
}

impl Place<'_> {
    fn kept(&self) -> Option<Connection> {
        self.of.places.lock().unwrap_or_else(PoisonError::into_inner).idle.pop()
    }

    /// Uses a connection and keeps it if it still works. The client's parser panics at bytes that are no LDAP: that ends the connection only.
    fn with<T>(&self, mut connection: Connection, f: impl FnOnce(&mut Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut connection)))
            .unwrap_or_else(|_| Err(Fault::Lost("the server's answer is no LDAP".to_owned())));
        match &result {
            Ok(_) | Err(Fault::Refused { .. }) => {
                connection.used = Instant::now();
                self.of.places.lock().unwrap_or_else(PoisonError::into_inner).idle.push(connection);
            }
            Err(Fault::TimedOut) => self.of.note_failure(Some("no answer in time".to_owned())),
            Err(Fault::Lost(_)) => {}
        }
        result
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.places.lock().unwrap_or_else(PoisonError::into_inner).free += 1;
        self.of.freed.notify_one();
    }
}

fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, AccountsError> {
    let unavailable = |what: String| AccountsError::Unavailable { what };
    let mut roots = rustls::RootCertStore::empty();
    let bundle = ca_file.map(Path::to_owned).or_else(|| BUNDLES.iter().map(Into::into).find(|path: &std::path::PathBuf| path.is_file()));
    if let Some(path) = &bundle {
        let read = CertificateDer::pem_file_iter(path).map_err(|e| unavailable(format!("{}: {e}", path.display())))?;
        for certificate in read.flatten() {
            // Bundles hold certificates that can be no roots: those are left out.
            let _ = roots.add(certificate);
        }
    }
    if roots.is_empty() {
        return Err(unavailable("LDAP: no certificate authorities to trust".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unavailable(format!("LDAP: TLS: {e}")))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
