//! The keys of `[vpopmail]` in `control/server.toml`: vpopmail's configure options under their own names.

use super::{Home, Kind, Reload, Setting};
use crate::vpopmail::{LoginLog, OverQuota, PasswordHash};
use std::time::Duration;

const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, home: Home::Toml, kind, default, unit: "", reload: Reload::Hup, help, editable: true }
}

/// By name.
pub(super) static SETTINGS: &[Setting] = &[
    key(
        "vpopmail.clear-passwd",
        Kind::Flag(|c, v| c.vpopmail.clear_passwords = v),
        "true",
        "vpopmail's programs store the clear password beside the hash, as vpopmail 5.4 does; APOP and CRAM-MD5 need it.",
    ),
    key(
        "vpopmail.defaultquota",
        Kind::Line(|c, v| c.vpopmail.default_quota = v),
        "NOQUOTA",
        "Quota of new accounts where the domain has no default of its own, for instance 5000000S,1000C.",
    ),
    key(
        "vpopmail.ip-alias-domains",
        Kind::Flag(|c, v| c.vpopmail.ip_alias_domains = v),
        "false",
        "vipmap works, and a login without a domain belongs to the domain of the address that the client came to.",
    ),
    key(
        "vpopmail.learn-passwords",
        Kind::Flag(|c, v| c.vpopmail.learn_passwords = v),
        "false",
        "An account without a password takes that of its first login.",
    ),
    key(
        "vpopmail.logging",
        Kind::Choice(&["n", "e", "y", "p", "v"], |c, v| {
            c.vpopmail.logging = match v {
                "n" => LoginLog::Nothing,
                "y" | "v" => LoginLog::All,
                _ => LoginLog::Failures,
            }
        }),
        "e",
        "What vchkpw tells the system's log: n nothing, e failed logins, y all logins; p and v are as e and y, because no password is logged.",
    ),
    key(
        "vpopmail.over-quota",
        Kind::Choice(&["reject", "defer", "bounce"], |c, v| {
            c.vpopmail.over_quota = match v {
                "defer" => OverQuota::Defer,
                "bounce" => OverQuota::Bounce,
                _ => OverQuota::Reject,
            }
        }),
        "reject",
        "What postino serve answers at RCPT when the mailbox is known to be full: 552, 452, or nothing, so that the delivery bounces as vpopmail's does.",
    ),
    key(
        "vpopmail.password-hash",
        Kind::Choice(&["md5-crypt", "sha512-crypt", "yescrypt"], |c, v| {
            c.vpopmail.password_hash = match v {
                "sha512-crypt" => PasswordHash::Sha512Crypt,
                "yescrypt" => PasswordHash::Yescrypt,
                _ => PasswordHash::Md5Crypt,
            }
        }),
        "md5-crypt",
        "How vpopmail's programs hash new passwords; md5-crypt is what vpopmail wrote, and all that columns of old databases hold.",
    ),
    Setting {
        unit: "minutes",
        ..key(
            "vpopmail.relay-clear-minutes",
            Kind::Number { min: 1, max: 525_600, set: |c, v| c.vpopmail.relay_clear = Duration::from_secs(v.saturating_mul(60)) },
            "180",
            "How long relaying stays open for an address after a login (roaming-users).",
        )
    },
    key(
        "vpopmail.roaming-users",
        Kind::Flag(|c, v| c.vpopmail.roaming_users = v),
        "false",
        "A POP3 or IMAP login opens relaying for the client's address.",
    ),
    key(
        "vpopmail.tcpserver-file",
        Kind::Path(|c, v| c.vpopmail.tcpserver_file = Some(v)),
        "",
        "The static rules by client address that roaming adds to; etc/tcp.smtp of vpopmail's home when not set. The compiled file is beside it, with .cdb after its name.",
    ),
];
