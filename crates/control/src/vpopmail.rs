//! What vpopmail's `configure` decided when it was compiled, as settings: `[vpopmail]` in server.toml, each under the option's own name. Read by vpopmail's
//! programs and by the server. Holds values only.

use std::path::PathBuf;
use std::time::Duration;

/// How vpopmail's programs hash new passwords.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PasswordHash {
    /// `$1$`, as vpopmail's own programs write it: every old reader and every column takes it.
    #[default]
    Md5Crypt,
    /// `$6$`: any crypt(3) of this century, more than old columns hold.
    Sha512Crypt,
    /// `$y$`: libxcrypt.
    Yescrypt,
}

/// What vchkpw tells the system's log. Passwords are in none of it, whatever the original wrote at its levels `p` and `v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LoginLog {
    /// `n`: only its own trouble.
    Nothing,
    /// `e`, `p`: failed logins.
    #[default]
    Failures,
    /// `y`, `v`: all logins.
    All,
}

/// What a client hears about a recipient whose mailbox is known to be full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OverQuota {
    /// 552 5.2.2.
    #[default]
    Reject,
    /// 452 4.2.2.
    Defer,
    /// 250: the delivery bounces, as vpopmail's does.
    Bounce,
}

/// The settings.
#[derive(Debug, Clone)]
pub struct Vpopmail {
    /// `roaming-users`: a POP3 or IMAP login opens relaying for the client's address.
    pub roaming_users: bool,
    /// `relay-clear-minutes`: how long it stays open.
    pub relay_clear: Duration,
    /// `tcpserver-file`: the static rules that opened addresses are added to; `None`: `etc/tcp.smtp` of vpopmail's home. The compiled file has `.cdb` after it.
    pub tcpserver_file: Option<PathBuf>,
    /// `defaultquota`: quota of a new account whose domain has no default; empty or `NOQUOTA`: none.
    pub default_quota: String,
    /// `clear-passwd`: vpopmail's programs store the clear password too.
    pub clear_passwords: bool,
    /// `learn-passwords`: the first login of an account without a password sets it.
    pub learn_passwords: bool,
    /// `ip-alias-domains`: vipmap works, and the address that a client came to may choose the domain.
    pub ip_alias_domains: bool,
    /// `logging`.
    pub logging: LoginLog,
    /// `password-hash`.
    pub password_hash: PasswordHash,
    /// `over-quota`.
    pub over_quota: OverQuota,
}

impl Default for Vpopmail {
    fn default() -> Self {
        Self {
            roaming_users: false,
            relay_clear: Duration::from_secs(180 * 60),
            tcpserver_file: None,
            default_quota: "NOQUOTA".into(),
            clear_passwords: true,
            learn_passwords: false,
            ip_alias_domains: false,
            logging: LoginLog::default(),
            password_hash: PasswordHash::default(),
            over_quota: OverQuota::default(),
        }
    }
}
