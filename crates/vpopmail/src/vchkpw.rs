//! vchkpw PROGRAM…: the checkpassword interface for virtual accounts. Name and password come on descriptor 3; after a right login the program runs as
//! the domain's user in the account's directory, and (roaming users) the client's address may send mail for a while. Run by qmail-popup, an IMAP or an
//! SMTP server. Prints nothing: descriptors 0 and 1 are the client. No password goes into the log, at no level.

mod proof;
pub(crate) mod service;

use crate::domains::{self, Domain};
use crate::{World, roaming, syslog};
use nix::unistd::{Gid, Uid, chdir, setgid, setgroups, setuid};
use postino_control::vpopmail::LoginLog;
use postino_directory::names::{is_user_byte, split_login};
use postino_directory::password::hash_password;
use postino_ports::accounts::{AccountsError, Keepers, LastLogin};
use postino_types::account::{FLAG_NO_RELAY, Record};
use postino_types::exit;
use proof::Said;
use service::{Ends, Kind, Service};
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// vpopmail's exit codes.
mod code {
    /// Called without a program.
    pub(super) const MISUSE: i32 = 2;
    /// The service is closed to the account.
    pub(super) const DENIED: i32 = 1;
    /// Unknown, or not with this password.
    pub(super) const WRONG: i32 = 3;
    pub(super) const NO_SETGID: i32 = 4;
    pub(super) const NO_SETUID: i32 = 5;
    pub(super) const NO_DIRECTORY: i32 = 6;
    /// Descriptor 3 cannot be read.
    pub(super) const NOTHING_SAID: i32 = 11;
    pub(super) const EMPTY_USER: i32 = 12;
    pub(super) const EMPTY_PASSWORD: i32 = 13;
    pub(super) const NOT_CREATED: i32 = 14;
    /// The account has no password.
    pub(super) const NO_PASSWORD: i32 = 15;
    pub(super) const BAD_CHARACTERS: i32 = 20;
}

/// The program; returns an exit code when nothing was run.
pub(crate) fn run(world: &World, args: &[OsString]) -> i32 {
    let Some((program, arguments)) = args.split_first() else { return code::MISUSE };
    let ends = Ends::look();
    let service = Service::find(ends.port, args, ends.client);
    let door = Door { world, ends, service };
    match door.admit() {
        Ok(account) => {
            let mut command = Command::new(program);
            command.args(arguments).env("USER", &account.user).env("HOME", &account.record.directory);
            command.env("SHELL", "NOLOGIN").env("VPOPUSER", &account.login);
            // It returns only when it failed.
            let _ = command.exec();
            exit::SOFT
        }
        Err(code) => code,
    }
}

/// One login.
struct Door<'a> {
    world: &'a World,
    ends: Ends,
    service: Service,
}

/// Who has been let in.
struct Account {
    /// As typed, lower case.
    login: String,
    user: String,
    record: Record,
}

impl Door<'_> {
    fn admit(&self) -> Result<Account, i32> {
        let said = Said::read().map_err(|_| code::NOTHING_SAID)?;
        let login = String::from_utf8(said.name.to_ascii_lowercase()).map_err(|_| code::BAD_CHARACTERS)?;
        if login.is_empty() {
            self.failed(format_args!("null user name given :{}", self.ends.client_text()));
            return Err(code::EMPTY_USER);
        }
        if said.secret.is_empty() {
            self.failed(format_args!("null password given {login}:{}", self.ends.client_text()));
            return Err(code::EMPTY_PASSWORD);
        }
        let keepers = self.world.keepers().map_err(|error| self.trouble(&error))?;
        let (user, host) = self.split(&login, &keepers)?;
        let who = format!("{user}@{host}:{}", self.ends.client_text());
        let (domain, record) = self.find(&keepers, &user, &host, (&said, &who))?;
        let flags = self.check(&keepers, &domain, &record, (&said, &who))?;
        self.note(&keepers, &domain, &record, flags);
        if self.service.kind != Kind::Smtp {
            enter(&domain, &record).inspect_err(|code| self.failed(format_args!("cannot enter the account, {code} {who}")))?;
        }
        Ok(Account { login, user, record })
    }

    /// User and domain of a login name. Without a domain: the one that the server above names, that of the address the client came to, the
    /// site's.
    fn split(&self, login: &str, keepers: &Keepers) -> Result<(String, String), i32> {
        let (user, host) = split_login(login.as_bytes());
        let host = match host {
            Some(host) => host,
            None => self.default_domain(keepers)?.to_ascii_lowercase().into_bytes(),
        };
        let is_domain_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        if !user.iter().copied().all(is_user_byte) || !host.iter().all(is_domain_byte) {
            self.failed(format_args!("invalid user/domain characters {login}:{}", self.ends.client_text()));
            return Err(code::BAD_CHARACTERS);
        }
        let text = |bytes| String::from_utf8(bytes).map_err(|_| code::BAD_CHARACTERS);
        Ok((text(user)?, text(host)?))
    }

    fn default_domain(&self, keepers: &Keepers) -> Result<String, i32> {
        if let Some(named) = std::env::var_os("VPOPMAIL_DOMAIN").filter(|named| !named.is_empty()) {
            return Ok(named.to_string_lossy().into_owned());
        }
        let local = self.ends.local.filter(|_| self.world.config.vpopmail.ip_alias_domains);
        if let Some(local) = local
            && let Some(domain) = keepers.domains.domain_of(local).map_err(|error| self.trouble(&error))?
        {
            return Ok(domain);
        }
        let file = std::fs::read(self.world.config.vpopmail_home.join("etc/defaultdomain")).unwrap_or_default();
        Ok(String::from_utf8_lossy(postino_control::classic::line(&file)).into_owned())
    }

    fn find(&self, keepers: &Keepers, user: &str, host: &str, (said, who): (&Said, &str)) -> Result<(Domain, Record), i32> {
        let domain = domains::find(&self.world.config, host).map_err(|error| self.trouble(&error))?;
        let found = match &domain {
            Some(domain) if !user.is_empty() => match keepers.accounts.find(&domain.name, user) {
                Ok(found) => found,
                Err(AccountsError::NoDomain(_)) => None,
                Err(error) => return Err(self.trouble(&error)),
            },
            _ => None,
        };
        match (domain, found) {
            (Some(domain), Some(record)) => Ok((domain, record)),
            _ => {
                proof::work_for_nobody(said, self.world.config.vpopmail.password_hash);
                self.failed(format_args!("vpopmail user not found {who}"));
                Err(code::WRONG)
            }
        }
    }

    /// Password, then the services that are open to the account; its flags.
    fn check(&self, keepers: &Keepers, domain: &Domain, record: &Record, (said, who): (&Said, &str)) -> Result<u32, i32> {
        let how = if !record.password.is_empty() {
            proof::prove(record, said, self.service.kind).ok_or_else(|| {
                self.failed(format_args!("password fail {who}"));
                code::WRONG
            })?
        } else if self.world.config.vpopmail.learn_passwords {
            self.learn(keepers, domain, record, said)?;
            "PLAIN"
        } else {
            self.failed(format_args!("account has no password {who}"));
            return Err(code::NO_PASSWORD);
        };
        let flags = self.flags(keepers, domain, record)?;
        if flags & self.service.closing_flag() != 0 {
            self.failed(format_args!("{} access denied {who}", self.service.word()));
            return Err(code::DENIED);
        }
        if self.world.config.vpopmail.logging == LoginLog::All {
            self.tell(format_args!("({how}) login success {who}"));
        }
        Ok(flags)
    }

    fn flags(&self, keepers: &Keepers, domain: &Domain, record: &Record) -> Result<u32, i32> {
        let own = keepers.domains.limits(&domain.name).map_err(|error| self.trouble(&error))?;
        let limits = match own {
            Some(limits) => Some(limits),
            // The site's defaults.
            None => keepers.domains.limits("").map_err(|error| self.trouble(&error))?,
        };
        Ok(record.effective_flags(&limits.unwrap_or_default()))
    }

    /// The first password that is tried becomes the account's.
    fn learn(&self, keepers: &Keepers, domain: &Domain, record: &Record, said: &Said) -> Result<(), i32> {
        let clear = String::from_utf8(said.secret.clone()).map_err(|_| code::WRONG)?;
        if clear.len() > 128 || clear.bytes().any(|b| b.is_ascii_control()) {
            return Err(code::WRONG);
        }
        let hash = hash_password(clear.as_bytes(), self.world.new_hash()).map_err(|error| self.trouble(&error))?;
        let clear = self.world.config.vpopmail.clear_passwords.then_some(clear);
        let learnt = Record { password: hash, clear, ..record.clone() };
        keepers.accounts.update(&domain.name, &learnt).map_err(|error| self.trouble(&error))
    }

    /// Last login and relaying. Neither may keep the owner out.
    fn note(&self, keepers: &Keepers, domain: &Domain, record: &Record, flags: u32) {
        let now = roaming::now();
        let login = LastLogin { address: self.ends.client_text(), at: now };
        if let Err(error) = keepers.logins.note(&domain.name, &record.name, &login) {
            self.failed(format_args!("last login not written: {error}"));
        }
        let opens = self.world.config.vpopmail.roaming_users && self.service.kind != Kind::Smtp && flags & FLAG_NO_RELAY == 0;
        if let Some(client) = self.ends.client.filter(|_| opens)
            && let Err(error) = roaming::of(self.world).open(client, now)
        {
            self.failed(format_args!("relay not opened for {client}: {error}"));
        }
    }

    fn tell(&self, text: std::fmt::Arguments<'_>) {
        syslog::tell(&format!("{}: {text}", self.service.log_name));
    }

    fn failed(&self, text: std::fmt::Arguments<'_>) {
        if self.world.config.vpopmail.logging != LoginLog::Nothing {
            self.tell(text);
        }
    }

    /// Cannot tell is not "no": temporary.
    fn trouble(&self, error: &dyn std::fmt::Display) -> i32 {
        self.tell(format_args!("temporary failure: {error}"));
        exit::SOFT
    }
}

/// Becomes the domain's user in the account's directory, which is made when it is gone.
fn enter(domain: &Domain, record: &Record) -> Result<(), i32> {
    let (uid, gid) = (Uid::from_raw(domain.uid), Gid::from_raw(domain.gid));
    if uid.is_root() {
        return Err(code::NO_SETUID);
    }
    if Uid::effective().is_root() {
        setgroups(&[gid]).map_err(|_| code::NO_SETGID)?;
    }
    setgid(gid).map_err(|_| code::NO_SETGID)?;
    setuid(uid).map_err(|_| code::NO_SETUID)?;
    let directory = Path::new(&record.directory);
    if !directory.is_absolute() {
        return Err(code::NO_DIRECTORY);
    }
    if chdir(directory).is_ok() {
        return Ok(());
    }
    let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
    let parts = ["cur", "new", "tmp"].map(|part| directory.join("Maildir").join(part));
    parts.iter().try_for_each(|part| make(part)).map_err(|_| code::NOT_CREATED)?;
    chdir(directory).map_err(|_| code::NO_DIRECTORY)
}
