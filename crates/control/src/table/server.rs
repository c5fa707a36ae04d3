//! The settings that qmail never had: the keys of `control/server.toml`.

use super::{Home, Kind, Reload, Setting};
use crate::resolved::{Config, ListenerKind, Log, Sandbox};
use std::time::Duration;

const fn key(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, home: Home::Toml, kind, default, unit: "", reload: Reload::Hup, help, editable: true }
}

const fn restart(setting: Setting) -> Setting {
    Setting { reload: Reload::Restart, ..setting }
}

type Bounds = (u64, u64);

const fn number(
    name: &'static str,
    bounds: Bounds,
    set: fn(&mut Config, u64),
    default: (&'static str, &'static str),
    help: &'static str,
) -> Setting {
    Setting { unit: default.1, ..key(name, Kind::Number { min: bounds.0, max: bounds.1, set }, default.0, help) }
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn small(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn score(n: u64) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

const ANY: Bounds = (1, 1 << 40);
const COUNT: Bounds = (1, 1_000_000);
const SECONDS: Bounds = (1, 10 * 365 * 86400);

macro_rules! listen {
    ($name:literal, $kind:ident, $default:literal, $help:literal) => {
        restart(key(
            $name,
            Kind::Sockets(ListenerKind::$kind.port(), |c, v| {
                c.server.listeners.insert(ListenerKind::$kind, v);
            }),
            $default,
            $help,
        ))
    };
}

/// By section.
pub(super) static SETTINGS: &[Setting] = &[
    number("minuid", (1, u32::MAX as u64), |c, v| c.server.minuid = small(v), ("1", ""), "Smallest uid that may receive local mail."),
    key(
        "plaintext_login_from_loopback",
        Kind::Flag(|c, v| c.server.plaintext_login_from_loopback = v),
        "true",
        "POP3 and IMAP take a password before TLS from loopback addresses. Never SMTP.",
    ),
    key(
        "recipient_delimiters",
        Kind::Line(|c, v| c.server.recipient_delimiters = v),
        "-",
        "Characters that part user from extension in addresses of virtual accounts.",
    ),
    restart(key(
        "queue_program",
        Kind::Line(|c, v| c.server.queue_program = v),
        "",
        "Program that messages from the network, forwards and bounces go through on their way into the queue, as with QMAILQUEUE (which goes before it). A `bin/qmail-queue` that is not Postino's is used without being named.",
    )),
    restart(number(
        "queue_program_timeout_s",
        (1, 86_400),
        |c, v| c.server.queue_program_timeout = Duration::from_secs(v),
        ("300", "seconds"),
        "A queue program that takes longer is stopped, and the client is told to try again.",
    )),
    number(
        "retry_interval_s",
        SECONDS,
        |c, v| c.server.retry_interval_s = i64::try_from(v).ok(),
        ("", "seconds"),
        "Retry at this interval instead of on the quadratic schedule.",
    ),
    restart(key(
        "sandbox",
        Kind::Choice(&["off", "best", "required"], |c, v| {
            c.server.sandbox = match v {
                "off" => Sandbox::Off,
                "required" => Sandbox::Required,
                _ => Sandbox::Best,
            };
        }),
        "best",
        "Landlock and seccomp: off, as much as the kernel has, or refuse to start without.",
    )),
    number(
        "stop_grace_s",
        (0, 3600),
        |c, v| c.server.stop_grace = Duration::from_secs(v),
        ("30", "seconds"),
        "How long a stop waits for running deliveries.",
    ),
    restart(key("user", Kind::Line(|c, v| c.server.user = v), "postino", "User that the worker runs as when started as root.")),
    restart(key(
        "access.pop3",
        Kind::Line(|c, v| c.server.access.pop3 = (!v.is_empty()).then(|| v.into())),
        "",
        "File with the rules by client address for POP3 instead of control/tcp.pop3; compiled by tcprules when its name ends with .cdb.",
    )),
    restart(key(
        "access.smtp",
        Kind::Line(|c, v| c.server.access.smtp = (!v.is_empty()).then(|| v.into())),
        "",
        "File with the rules by client address for SMTP instead of control/tcp.smtp, for instance /etc/tcp.smtp.cdb; compiled by tcprules when its name ends with .cdb.",
    )),
    listen!("listen.http", Http, "127.0.0.1:2080", "Metrics and health."),
    listen!("listen.odmr", Odmr, "", "Customers take held mail by ATRN (RFC 2645); off unless set, port 366."),
    listen!("listen.pop3", Pop3, "0.0.0.0:110, [::]:110", "POP3."),
    listen!("listen.pop3s", Pop3s, "0.0.0.0:995, [::]:995", "POP3 over TLS."),
    listen!("listen.smtp", Smtp, "0.0.0.0:25, [::]:25", "SMTP from other servers."),
    listen!("listen.submission", Submission, "0.0.0.0:587, [::]:587", "Submission by users, STARTTLS."),
    listen!("listen.submissions", Submissions, "0.0.0.0:465, [::]:465", "Submission by users over TLS (RFC 8314)."),
    number(
        "limits.body_memory_bytes",
        (1 << 20, 1 << 40),
        |c, v| c.server.limits.body_memory_bytes = v,
        ("67108864", "bytes"),
        "Memory for bodies being received, all sessions together; beyond it 452.",
    ),
    number(
        "limits.bounce_bytes_max",
        (0, 1 << 40),
        |c, v| c.server.limits.bounce_bytes_max = v,
        ("51200", "bytes"),
        "Bounces of larger messages return the header only (bounceformat both).",
    ),
    number("limits.commands_max", COUNT, |c, v| c.server.limits.commands_max = small(v), ("10000", ""), "Commands in a session."),
    number(
        "limits.connections_max",
        COUNT,
        |c, v| c.server.limits.connections_max = size(v),
        ("2000", ""),
        "Connections at once, all services.",
    ),
    number(
        "limits.connections_per_address",
        (0, 1_000_000),
        |c, v| c.server.limits.connections_per_address = size(v),
        ("50", ""),
        "Connections at once from one address; 0 = no limit.",
    ),
    number(
        "limits.disk_reserve_bytes",
        (0, 1 << 40),
        |c, v| c.server.limits.disk_reserve_bytes = v,
        ("16777216", "bytes"),
        "Free space kept on the queue's disk; below it mail is refused with 452.",
    ),
    number("limits.errors_max", COUNT, |c, v| c.server.limits.errors_max = small(v), ("20", ""), "Bad commands before 421."),
    number(
        "limits.failed_logins_per_minute",
        (0, 1_000_000),
        |c, v| c.server.limits.failed_logins_per_minute = small(v),
        ("10", ""),
        "Failed logins a minute from one address before it must wait; 0 = no limit.",
    ),
    number(
        "limits.hops_max",
        (10, 1000),
        |c, v| c.server.limits.hops_max = size(v),
        ("100", ""),
        "Received and Delivered-To lines before 554.",
    ),
    number(
        "limits.idle_before_login_s",
        SECONDS,
        |c, v| c.server.limits.idle_before_login = Duration::from_secs(v),
        ("300", "seconds"),
        "Idle time before a login or MAIL.",
    ),
    restart(number(
        "limits.in_flight_max",
        COUNT,
        |c, v| c.server.limits.in_flight_max = size(v),
        ("1000", "messages"),
        "Messages in delivery at once.",
    )),
    restart(number(
        "limits.inline_body_bytes",
        (0, 1 << 20),
        |c, v| c.server.limits.inline_body_bytes = size(v),
        ("65536", "bytes"),
        "Bodies up to this size lie in the queue's data base itself.",
    )),
    number(
        "limits.line_bytes_max",
        (512, 1 << 16),
        |c, v| c.server.limits.line_bytes_max = size(v),
        ("4096", "bytes"),
        "Longest SMTP command line (RFC 5321 4.5.3.1.4).",
    ),
    restart(number(
        "limits.mailbox_deliveries",
        (1, 512),
        |c, v| c.server.limits.mailbox_deliveries = size(v),
        ("32", ""),
        "Deliveries into virtual mailboxes at once, in the server itself; concurrencylocal counts those that are made as a user.",
    )),
    number(
        "limits.message_bytes_max",
        ANY,
        |c, v| c.server.limits.message_bytes_max = v,
        ("52428800", "bytes"),
        "Largest message, by SMTP, QMTP, QMQP and qmail-queue; databytes, when set and smaller, wins.",
    ),
    number(
        "limits.pop3_idle_s",
        SECONDS,
        |c, v| c.server.limits.pop3_idle = Duration::from_secs(v),
        ("600", "seconds"),
        "Idle time of a POP3 session; RFC 1939 wants 600 at least.",
    ),
    number(
        "limits.recipients_max",
        COUNT,
        |c, v| c.server.limits.recipients_max = size(v),
        ("1000", ""),
        "Recipients of a message; RFC 5321 wants 100 at least.",
    ),
    number("limits.session_s", SECONDS, |c, v| c.server.limits.session = Duration::from_secs(v), ("7200", "seconds"), "Longest session."),
    number(
        "limits.unknown_recipients_max",
        COUNT,
        |c, v| c.server.limits.unknown_recipients_max = small(v),
        ("20", ""),
        "Unknown recipients before 421.",
    ),
    Setting {
        editable: false,
        ..key(
            "fetch",
            Kind::Accounts,
            "",
            "Accounts on other servers whose mail is brought here by POP3 or IMAP: [[fetch]] tables, see docs/fetch.md.",
        )
    },
    restart(key(
        "log.format",
        Kind::Choice(&["auto", "json", "qmail"], |c, v| {
            c.server.log = match v {
                "json" => Log::Json,
                "qmail" => Log::Qmail,
                _ => Log::Auto,
            };
        }),
        "auto",
        "auto = readable lines, coloured on a terminal; json = JSON lines; qmail = qmail-send's lines.",
    )),
    number(
        "programs.file_bytes",
        ANY,
        |c, v| c.server.programs.file_bytes = v,
        ("1073741824", "bytes"),
        "Largest file that a program run from .qmail may write.",
    ),
    number(
        "programs.memory_bytes",
        ANY,
        |c, v| c.server.programs.memory_bytes = v,
        ("1073741824", "bytes"),
        "Memory of a program run from .qmail.",
    ),
    number(
        "programs.processes",
        COUNT,
        |c, v| c.server.programs.processes = v,
        ("256", ""),
        "Processes of the user while a program runs from .qmail.",
    ),
    number(
        "programs.timeout_s",
        SECONDS,
        |c, v| c.server.programs.timeout = Duration::from_secs(v),
        ("3600", "seconds"),
        "How long a program run from .qmail may take.",
    ),
    number(
        "rbl.defer_score",
        (0, 1000),
        |c, v| c.server.rbl.defer_score = score(v),
        ("0", ""),
        "Sum of scores of the lists in control/rbl from which a client is refused with 451; 0 = never.",
    ),
    key(
        "rbl.except",
        Kind::Words(|c, v| c.server.rbl.except = v),
        "",
        "Recipients that listed clients may write to: addresses, or local parts at any host (postmaster, abuse).",
    ),
    key("rbl.only_log", Kind::Flag(|c, v| c.server.rbl.only_log = v), "false", "Tell listings in the log and refuse nobody."),
    number(
        "rbl.refuse_score",
        (1, 1000),
        |c, v| c.server.rbl.refuse_score = score(v),
        ("10", ""),
        "Sum of scores of the lists in control/rbl from which a client is refused with 553.",
    ),
    key(
        "rbl.text",
        Kind::Line(|c, v| c.server.rbl.text = v),
        "sorry, %WHAT% is listed by %LIST%",
        "Text for refused clients where neither control/rbl nor the list has one; %IP% is the client's address.",
    ),
    number(
        "rbl.timeout_s",
        (1, 60),
        |c, v| c.server.rbl.timeout = Duration::from_secs(v),
        ("5", "seconds"),
        "How long a client may wait for the lists; one that has not answered by then counts as not naming it.",
    ),
    key(
        "remote.allow_loopback",
        Kind::Flag(|c, v| c.server.remote.allow_loopback = v),
        "false",
        "Deliver to MX and address records that point at loopback; for tests only.",
    ),
    restart(key(
        "remote.dns_servers",
        Kind::Sockets(53, |c, v| c.server.remote.dns_servers = v),
        "",
        "DNS servers instead of those in /etc/resolv.conf.",
    )),
    number(
        "remote.idle_s",
        (0, 3600),
        |c, v| c.server.remote.idle = Duration::from_secs(v),
        ("5", "seconds"),
        "How long an idle connection is kept for the next message while more mail for that place is under way; a hundredth of it when there is none.",
    ),
    number(
        "remote.messages_per_connection",
        COUNT,
        |c, v| c.server.remote.messages_per_connection = size(v),
        ("100", ""),
        "Messages over one connection.",
    ),
    key(
        "remote.own_addresses",
        Kind::Ips(|c, v| c.server.remote.own_addresses = v),
        "",
        "Addresses that are this host besides those of its interfaces (NAT).",
    ),
    number(
        "remote.per_destination",
        COUNT,
        |c, v| c.server.remote.per_destination = size(v),
        ("20", ""),
        "Connections at once to one destination; never more than three quarters of concurrencyremote.",
    ),
    number(
        "remote.port",
        (1, 65535),
        |c, v| c.server.remote.port = u16::try_from(v).unwrap_or(25),
        ("25", ""),
        "Port of MX hosts; another one for tests only.",
    ),
    number("remote.recipients_max", COUNT, |c, v| c.server.remote.recipients_max = size(v), ("100", ""), "Recipients in one transaction."),
    key("remote.starttls", Kind::Flag(|c, v| c.server.remote.starttls = v), "true", "Use STARTTLS when the other server offers it."),
    Setting {
        editable: false,
        ..key(
            "tls",
            Kind::Identities,
            "",
            "Certificates: [[tls]] tables with host, certificate and key (PEM files, relative to the home). Empty: a self-made one.",
        )
    },
];
