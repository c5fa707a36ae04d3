//! vpopmail's files as the keepers of accounts, aliases, logins, relays and limits. Called by the administration, by vpopmail's programs and by
//! copies between keepers. A domain's directory is what users/cdb says, never computed. Never makes or removes a mailbox.

mod account_text;
mod accounts;
mod aliases;
mod domain_data;
mod logins;
mod place;
mod relays;

pub(crate) use domain_data::{hash_state_in, put_hash_state};
pub use place::{DomainPlace, Places};
pub use relays::OpenSmtp;
pub(crate) use relays::{ROWS_MAX as RELAY_ROWS_MAX, rule as relay_rule};

use crate::admin::AdminError;
use postino_control::Config;
use postino_ports::accounts::{AccountsError, Aliases, Keepers};
use std::path::Path;
use std::sync::Arc;

/// Everything in files. `aliases` is `None`, as that field says for files; who edits `.qmail-NAME` files asks for [`file_aliases`].
#[must_use]
pub fn file_keepers(config: &Config) -> Keepers {
    keepers_at(&config.home, &config.vpopmail_home)
}

/// The same with explicit paths.
pub(crate) fn keepers_at(home: &Path, vpopmail_home: &Path) -> Keepers {
    let places = Places::at(home, vpopmail_home);
    let accounts = Arc::new(accounts::FileAccounts::new(places.clone()));
    Keepers {
        accounts: accounts.clone(),
        aliases: None,
        logins: Arc::new(logins::FileLogins::new(accounts)),
        relays: Arc::new(OpenSmtp::new(vpopmail_home)),
        domains: Arc::new(domain_data::FileDomainData::new(places)),
    }
}

/// The `.qmail-NAME` files of the domains.
#[must_use]
pub fn file_aliases(config: &Config) -> Arc<dyn Aliases> {
    Arc::new(aliases::FileAliases::new(Places::new(config)))
}

/// Trouble with a file.
fn io(path: &Path) -> impl FnOnce(std::io::Error) -> AccountsError {
    move |error| AccountsError::Unavailable { what: format!("{}: {error}", path.display()) }
}

fn damaged(path: &Path) -> AccountsError {
    AccountsError::Damaged { what: path.display().to_string() }
}

/// A file that may be missing.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, AccountsError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if crate::files::is_absent(&error) => Ok(None),
        Err(error) => Err(io(path)(error)),
    }
}

impl From<AdminError> for AccountsError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NoDomain(domain) => Self::NoDomain(domain),
            AdminError::DamagedRecord(path) => damaged(&path),
            other => Self::Unavailable { what: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests;
