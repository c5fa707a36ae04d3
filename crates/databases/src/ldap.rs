//! An LDAP directory as keeper of accounts and aliases: vpopmail's own entries (`uid=NAME,ou=DOMAIN,BASE`, class `qmailUser`), or a site's existing
//! directory that is only read. Called by whoever opens the configured directory. It keeps no logins, relays or limits: those stay with another
//! keeper. It never cuts a value, and never takes "cannot tell" for "no such user".

mod accounts;
mod aliases;
mod connection;
mod entry;
mod names;
mod settings;

pub use settings::{Authentication, Bind, Existing, Layout, LdapSettings, Names, SettingsError, Tls};

use connection::Connections;
use postino_ports::accounts::{Accounts, AccountsError, Aliases};
use std::sync::Arc;

/// Accounts and aliases in an LDAP directory.
#[derive(Debug)]
pub struct Ldap {
    settings: LdapSettings,
    connections: Connections,
    snapshot: accounts::Snapshot,
}

impl Ldap {
    /// Takes the settings; connects on first use only.
    pub fn new(settings: LdapSettings) -> Result<Self, AccountsError> {
        let connections = Connections::new(&settings)?;
        Ok(Self { settings, connections, snapshot: accounts::Snapshot::default() })
    }

    /// As keepers: aliases only in vpopmail's layout.
    #[must_use]
    pub fn keepers(self) -> (Arc<dyn Accounts>, Option<Arc<dyn Aliases>>) {
        let keeps_aliases = matches!(self.settings.layout, Layout::Vpopmail);
        let shared = Arc::new(self);
        let aliases = keeps_aliases.then(|| -> Arc<dyn Aliases> { Arc::<Self>::clone(&shared) });
        (shared, aliases)
    }

    /// Connects, binds and looks at the base: what `postino check` asks.
    pub fn check(&self) -> Result<(), AccountsError> {
        let base = &self.settings.base;
        self.connections.read(|c| c.exists(base)).and_then(|there| {
            if there { Ok(()) } else { Err(AccountsError::Unavailable { what: format!("{}: no entry {base}", self.settings.url) }) }
        })
    }

    /// Refuses a change where the site said "read only".
    fn writable(&self) -> Result<(), AccountsError> {
        match self.settings.layout {
            Layout::Vpopmail if !self.settings.read_only => Ok(()),
            _ => Err(AccountsError::NotKept { what: "a change (the LDAP directory is read only)" }),
        }
    }
}
