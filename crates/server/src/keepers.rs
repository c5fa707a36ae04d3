//! Opens whoever keeps the accounts, as `[directory]` says. Called when the server is composed, by the command line and by `check`. Only what this program was
//! built with can be opened; what is not kept in the store is kept in vpopmail's files.

use postino_control::Config;
use postino_control::directory::Store;
use postino_databases::{Layout, Limits, SqliteSettings};
use postino_directory::keepers::{OpenSmtp, file_keepers};
use postino_ports::accounts::{AccountsError, DomainData, Keepers, Relays};
use postino_types::account::{DomainLimits, HashState};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

/// What the keepers are wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Mail and logins: a replica may answer.
    Serving,
    /// Changes, which must see what was changed a moment ago: the master answers.
    Changing,
}

/// The keepers that the configuration names; `None`: vpopmail's files, which the directory reads by itself.
pub(crate) fn configured(config: &Config, purpose: Purpose) -> anyhow::Result<Option<Keepers>> {
    match config.directory.store {
        Store::Files => Ok(None),
        store => open(config, store, purpose).map(Some),
    }
}

/// The servers for questions and for changes.
#[cfg(any(feature = "postgresql", feature = "mysql", feature = "odbc"))]
fn servers<S>(read: S, write: Option<S>, purpose: Purpose) -> (S, Option<S>) {
    match (write, purpose) {
        (Some(master), Purpose::Changing) => (master, None),
        (write, _) => (read, write),
    }
}

/// The keepers of a store, as copies need them: files too.
pub(crate) fn open(config: &Config, store: Store, purpose: Purpose) -> anyhow::Result<Keepers> {
    let mut keepers = match store {
        Store::Files => {
            let files = file_keepers(config);
            return Ok(Keepers { aliases: Some(postino_directory::keepers::file_aliases(config)), ..files });
        }
        Store::Sqlite => {
            let path = config.directory.connection_file(store, &config.vpopmail_home);
            postino_databases::sqlite(&SqliteSettings { path, layout: layout(config), limits: limits(config) })
        }
        Store::Postgresql => postgresql(config, purpose)?,
        Store::Mysql => mysql(config, purpose)?,
        Store::Ldap => ldap(config)?,
        Store::Odbc => odbc(config, purpose)?,
    };
    let (settings, files) = (&config.directory, file_keepers(config));
    if !settings.aliases {
        keepers.aliases = None;
    }
    if !settings.logins {
        keepers.logins = files.logins;
    }
    if !settings.relays {
        keepers.relays = files.relays;
    }
    keepers.domains = match settings.limits {
        true => Arc::new(SiteDefaults { kept: keepers.domains, files: files.domains }),
        false => files.domains,
    };
    Ok(keepers)
}

/// The administration over whoever keeps the accounts.
pub(crate) fn admin(config: &Config) -> anyhow::Result<postino_directory::admin::Admin> {
    let admin = postino_directory::admin::Admin::for_config(config)?;
    Ok(match configured(config, Purpose::Changing)? {
        Some(keepers) => admin.with_keepers(keepers),
        None => admin,
    })
}

/// Who keeps the addresses that logins have opened: the store where `[directory]` says so, else vpopmail's file.
pub(crate) fn relays(config: &Config) -> anyhow::Result<Arc<dyn Relays>> {
    Ok(match configured(config, Purpose::Changing)? {
        Some(keepers) => keepers.relays,
        None => Arc::new(OpenSmtp::new(&config.vpopmail_home)),
    })
}

fn layout(config: &Config) -> Layout {
    if config.directory.many_tables { Layout::TableForEachDomain } else { Layout::OneTable }
}

fn limits(config: &Config) -> Limits {
    let settings = &config.directory;
    let uid = std::fs::metadata(&config.vpopmail_home).map_or(89, |home| home.uid());
    Limits {
        connect: settings.connect_timeout,
        query: settings.query_timeout,
        connections_max: settings.connections_max,
        domains_key: format!("dom_{uid}"),
    }
}

#[cfg(any(feature = "postgresql", feature = "mysql", feature = "ldap", feature = "odbc"))]
fn connection_file(config: &Config, store: Store) -> anyhow::Result<String> {
    use anyhow::Context as _;
    let path = config.directory.connection_file(store, &config.vpopmail_home);
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(feature = "postgresql")]
fn postgresql(config: &Config, purpose: Purpose) -> anyhow::Result<Keepers> {
    use anyhow::Context as _;
    use postino_databases::connection_file::{PostgresqlServer, lines};
    let text = connection_file(config, Store::Postgresql)?;
    let parsed =
        lines(&text).and_then(|(read, write)| Ok((PostgresqlServer::parse(read)?, write.map(PostgresqlServer::parse).transpose()?)));
    let (read, write) = parsed.map_err(anyhow::Error::msg).context("vpopmail.pgsql")?;
    let (read, write) = servers(read, write, purpose);
    Ok(postino_databases::postgresql(&postino_databases::PostgresqlSettings {
        read,
        write,
        layout: layout(config),
        limits: limits(config),
    }))
}

#[cfg(not(feature = "postgresql"))]
fn postgresql(_: &Config, _: Purpose) -> anyhow::Result<Keepers> {
    anyhow::bail!("this postino was built without the feature \"postgresql\"")
}

#[cfg(feature = "mysql")]
fn mysql(config: &Config, purpose: Purpose) -> anyhow::Result<Keepers> {
    use anyhow::Context as _;
    use postino_databases::connection_file::{MysqlServer, lines};
    let text = connection_file(config, Store::Mysql)?;
    let parsed = lines(&text).and_then(|(read, write)| Ok((MysqlServer::parse(read)?, write.map(MysqlServer::parse).transpose()?)));
    let (read, write) = parsed.map_err(anyhow::Error::msg).context("vpopmail.mysql")?;
    let (read, write) = servers(read, write, purpose);
    let authorities = config.directory.tls_authorities.clone();
    let (layout, limits) = (layout(config), limits(config));
    Ok(postino_databases::mysql(&postino_databases::MysqlSettings { read, write, authorities, layout, limits }))
}

#[cfg(not(feature = "mysql"))]
fn mysql(_: &Config, _: Purpose) -> anyhow::Result<Keepers> {
    anyhow::bail!("this postino was built without the feature \"mysql\"")
}

#[cfg(feature = "odbc")]
fn odbc(config: &Config, purpose: Purpose) -> anyhow::Result<Keepers> {
    use anyhow::Context as _;
    use postino_control::directory::OdbcDialect;
    use postino_databases::Dialect;
    use postino_databases::connection_file::{OdbcServer, lines};
    let text = connection_file(config, Store::Odbc)?;
    let parsed = lines(&text).and_then(|(read, write)| Ok((OdbcServer::parse(read)?, write.map(OdbcServer::parse).transpose()?)));
    let (read, write) = parsed.map_err(anyhow::Error::msg).context("vpopmail.odbc")?;
    let (read, write) = servers(read, write, purpose);
    let dialect = match config.directory.odbc_dialect {
        OdbcDialect::Oracle => Dialect::Oracle,
        OdbcDialect::Informix => Dialect::Informix,
        OdbcDialect::Postgresql => Dialect::Postgresql,
        OdbcDialect::Mysql => Dialect::Mysql,
        OdbcDialect::Sqlite => Dialect::Sqlite,
    };
    Ok(postino_databases::odbc(&postino_databases::OdbcSettings { read, write, dialect, layout: layout(config), limits: limits(config) }))
}

#[cfg(not(feature = "odbc"))]
fn odbc(_: &Config, _: Purpose) -> anyhow::Result<Keepers> {
    anyhow::bail!("this postino was built without the feature \"odbc\"")
}

/// Accounts and aliases; an LDAP directory keeps nothing else.
#[cfg(feature = "ldap")]
fn ldap(config: &Config) -> anyhow::Result<Keepers> {
    use postino_databases::ldap::{Ldap, LdapSettings};
    let settings = LdapSettings::from_vpopmail(&connection_file(config, Store::Ldap)?)?;
    let (accounts, aliases) = Ldap::new(settings)?.keepers();
    Ok(Keepers { accounts, aliases, ..file_keepers(config) })
}

#[cfg(not(feature = "ldap"))]
fn ldap(_: &Config) -> anyhow::Result<Keepers> {
    anyhow::bail!("this postino was built without the feature \"ldap\"")
}

/// Limits in the store, but the site's defaults (an empty domain) in `etc/vlimits.default`, where vpopmail has them with every store.
#[derive(Debug)]
struct SiteDefaults {
    kept: Arc<dyn DomainData>,
    files: Arc<dyn DomainData>,
}

impl DomainData for SiteDefaults {
    fn limits(&self, domain: &str) -> Result<Option<DomainLimits>, AccountsError> {
        if domain.is_empty() { self.files.limits(domain) } else { self.kept.limits(domain) }
    }
    fn set_limits(&self, domain: &str, limits: Option<&DomainLimits>) -> Result<(), AccountsError> {
        if domain.is_empty() { self.files.set_limits(domain, limits) } else { self.kept.set_limits(domain, limits) }
    }
    fn domain_of(&self, address: IpAddr) -> Result<Option<String>, AccountsError> {
        self.kept.domain_of(address)
    }
    fn addresses(&self) -> Result<Vec<(IpAddr, String)>, AccountsError> {
        self.kept.addresses()
    }
    fn set_domain_of(&self, address: IpAddr, domain: Option<&str>) -> Result<(), AccountsError> {
        self.kept.set_domain_of(address, domain)
    }
    fn hash_state(&self, domain: &str) -> Result<Option<HashState>, AccountsError> {
        self.kept.hash_state(domain)
    }
    fn set_hash_state(&self, domain: &str, state: Option<&HashState>) -> Result<(), AccountsError> {
        self.kept.set_hash_state(domain, state)
    }
}

/// What keeps the store from answering; `None`: it answers.
pub(crate) fn trouble(config: &Config) -> Option<String> {
    let asked = match configured(config, Purpose::Serving) {
        Ok(None) => return None,
        // The domain need not exist; a store that answers says so.
        Ok(Some(keepers)) => keepers.accounts.find("postino-check.invalid", "nobody"),
        Err(error) => return Some(format!("server.toml: [directory]: {error:#}")),
    };
    match asked {
        Ok(_) | Err(AccountsError::NoDomain(_)) => None,
        Err(error) => Some(format!("server.toml: [directory]: {error} (a missing table is made by the first `postino domain add`)")),
    }
}
