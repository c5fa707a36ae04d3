//! What a program of vpopmail's works on: the configuration, who keeps the accounts, and the name that it was called by. Made by `postino-compat` and
//! `postino vpopmail`; never changes anything.

use crate::complaint::Complaint;
use postino_control::Config;
use postino_control::vpopmail::PasswordHash;
use postino_directory::admin::{Admin, ClearPassword, Hashing};
use postino_directory::password::NewHash;
use postino_ports::accounts::{Aliases, Keepers};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

/// The version of vpopmail that `-v` tells.
pub(crate) const VERSION: &str = "version: 5.4.33\n";

/// The surroundings of one run.
#[derive(Debug)]
pub struct World {
    /// The configuration; vpopmail's tree is `config.vpopmail_home`.
    pub config: Config,
    /// Who keeps accounts, aliases, logins, relays and limits; `None`: files, through the administration.
    pub keepers: Option<Keepers>,
    called: OsString,
}

impl World {
    /// For a home whose accounts are in files.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn open(name: &str, home: &Path) -> Result<Self, String> {
        let config = postino_control::load_for_accounts(home).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            format!("the configuration in {} cannot be used: {}", home.join("control").display(), lines.join("; "))
        })?;
        Ok(Self::new(name, config, None))
    }

    /// With everything chosen by the caller.
    #[must_use]
    pub fn new(name: &str, config: Config, keepers: Option<Keepers>) -> Self {
        let first = std::env::args_os().next().unwrap_or_default();
        let called = if Path::new(&first).file_name() == Some(OsStr::new(name)) { first } else { OsString::from(name) };
        Self { config, keepers, called }
    }

    /// The program as it was called, with its path: complaints about options begin with it.
    pub(crate) fn called(&self) -> &Path {
        Path::new(&self.called)
    }

    /// Root, or whoever owns vpopmail's tree.
    pub(crate) fn may_administer(&self) -> bool {
        let caller = rustix::process::geteuid();
        let tree = std::fs::metadata(&self.config.vpopmail_home);
        caller.is_root() || tree.is_ok_and(|tree| tree.uid() == caller.as_raw())
    }

    /// Who keeps what; without a word of the caller's, vpopmail's files.
    pub(crate) fn keepers(&self) -> Result<Keepers, String> {
        Ok(self.keepers.clone().unwrap_or_else(|| postino_directory::keepers::file_keepers(&self.config)))
    }

    /// Who keeps the aliases: rows of a database where it has them, else the `.qmail-NAME` files.
    pub(crate) fn aliases(&self) -> Arc<dyn Aliases> {
        let kept = self.keepers.as_ref().and_then(|keepers| keepers.aliases.clone());
        kept.unwrap_or_else(|| postino_directory::keepers::file_aliases(&self.config))
    }

    /// How new passwords are hashed.
    pub(crate) fn new_hash(&self) -> NewHash {
        match self.config.vpopmail.password_hash {
            PasswordHash::Md5Crypt => NewHash::Md5Crypt,
            PasswordHash::Sha512Crypt => NewHash::default(),
            PasswordHash::Yescrypt => NewHash::Yescrypt,
        }
    }

    /// The same administration over whoever keeps the accounts.
    pub(crate) fn over_keepers(&self, admin: Admin) -> Admin {
        match &self.keepers {
            Some(keepers) => admin.with_keepers(keepers.clone()),
            None => admin,
        }
    }

    /// The administration, with vpopmail's habits.
    pub(crate) fn admin(&self) -> Result<Admin, Complaint> {
        let settings = &self.config.vpopmail;
        let hash = self.new_hash();
        let clear = if settings.clear_passwords { ClearPassword::Store } else { ClearPassword::LeaveOut };
        Ok(self.over_keepers(Admin::for_config(&self.config)?).with_new_hash(hash).with_clear_passwords(clear).with_hashing(Hashing::Begin))
    }
}
