//! The settings that live in files of their own, as qmail-control(5) has them, and the few files of the same kind that Postino adds.

use super::{Home, Kind, Reload, RowProblems, Setting};
use crate::classic::list;
use crate::links::LinkTable;
use crate::masquerade::Masquerade;
use crate::rbl;
use crate::resolved::BounceFormat;
use postino_sasl::Offered;
use postino_types::printable::printable;
use std::time::Duration;

const fn file(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, home: Home::File, kind, default, unit: "", reload: Reload::Hup, help, editable: true }
}

const fn number(
    name: &'static str,
    bounds: (u64, u64, fn(&mut crate::Config, u64)),
    default: (&'static str, &'static str),
    help: &'static str,
) -> Setting {
    let kind = Kind::Number { min: bounds.0, max: bounds.1, set: bounds.2 };
    Setting { unit: default.1, ..file(name, kind, default.0, help) }
}

/// One name after the other, so that a bad one comes with its line.
fn authmechs(bytes: &[u8]) -> Result<Offered, RowProblems> {
    let lines: Vec<(usize, String)> = list(bytes).map(|(line, text)| (line, printable(text))).collect();
    let bad = |(line, text): &(usize, String)| {
        Offered::from_words([text.as_str()]).err().map(|name| (*line, format!("unknown mechanism {name}")))
    };
    Offered::from_words(lines.iter().map(|(_, text)| text.as_str())).map_err(|_| lines.iter().filter_map(bad).collect())
}

fn clamp_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

const SECONDS_MAX: u64 = 10 * 365 * 86400;

/// Sorted by name, `me` first.
pub(super) static SETTINGS: &[Setting] = &[
    file("me", Kind::Line(|c, v| c.me = v), "", "Name of this host; must be there. Many other names default to it."),
    file(
        "authmechs",
        Kind::Rows(|c, bytes| {
            c.authmechs = authmechs(bytes)?;
            Ok(())
        }),
        "",
        "SASL mechanisms besides PLAIN and LOGIN: SCRAM-SHA-256, SCRAM-SHA-256-PLUS, SCRAM-SHA-1, SCRAM-SHA-1-PLUS, CRAM-MD5, for accounts whose clear password is stored; -NAME takes one away.",
    ),
    file(
        "badmailfrom",
        Kind::Hosts(|c| &mut c.badmailfrom),
        "",
        "Envelope senders that are refused: user@host, or @host for all of a host.",
    ),
    file(
        "bounceformat",
        Kind::Choice(&["both", "qsbmf"], |c, v| c.bounceformat = if v == "qsbmf" { BounceFormat::Qsbmf } else { BounceFormat::Both }),
        "both",
        "Shape of bounces: both = RFC 3464 report whose text part is QSBMF; qsbmf = plain, as qmail-send writes it.",
    ),
    file("bouncefrom", Kind::Line(|c, v| c.bouncefrom = v), "MAILER-DAEMON", "Box in the From of bounces."),
    file(
        "bouncehost",
        Kind::LineOrMe(|c, v| c.bouncehost = v),
        "me",
        "Host in the From of bounces, and the name that the bounce text gives.",
    ),
    number(
        "concurrencylocal",
        (0, 10_000, |c, v| c.concurrency_local = clamp_usize(v)),
        ("10", "deliveries"),
        "Local deliveries at once; 0 holds local mail. `postino serve` makes those into virtual mailboxes besides (`limits.mailbox_deliveries`).",
    ),
    number(
        "concurrencyremote",
        (0, 10_000, |c, v| c.concurrency_remote = clamp_usize(v)),
        ("20", "deliveries"),
        "Remote deliveries at once; 0 holds remote mail.",
    ),
    number(
        "databytes",
        (0, u64::MAX, |c, v| c.databytes = v),
        ("0", "bytes"),
        "Largest message taken by SMTP; 0 = limits.message_bytes_max alone.",
    ),
    file(
        "defaultdelivery",
        Kind::Text(|c, v| c.defaultdelivery = v),
        "./Maildir/",
        "Delivery instructions used where a .qmail file is missing or empty.",
    ),
    file("defaultdomain", Kind::LineOrMe(|c, v| c.defaultdomain = v), "me", "Added to host names without a dot by qmail-inject."),
    file("defaulthost", Kind::LineOrMe(|c, v| c.defaulthost = v), "me", "Added to addresses without a host by qmail-inject."),
    file("doublebouncehost", Kind::LineOrMe(|c, v| c.doublebouncehost = v), "me", "Host that double bounces go to."),
    file("doublebounceto", Kind::Line(|c, v| c.doublebounceto = v), "postmaster", "Box that double bounces go to."),
    file("envnoathost", Kind::LineOrMe(|c, v| c.envnoathost = v), "me", "Host given to envelope recipients without @."),
    file("helohost", Kind::LineOrMe(|c, v| c.helohost = v), "me", "Name given in HELO and EHLO to other servers."),
    file("idhost", Kind::LineOrMe(|c, v| c.idhost = v), "me", "Right side of Message-ID made by qmail-inject."),
    file(
        "links",
        Kind::Rows(|c, bytes| {
            c.links = LinkTable::parse(bytes)?;
            Ok(())
        }),
        "",
        "Mail held until a link is up: name, destinations, server[:port] or -, then manual, hours, etrn=, atrn=, turn=, lifetime=, connections=.",
    ),
    file(
        "localiphost",
        Kind::LineOrMe(|c, v| c.localiphost = v),
        "me",
        "Replaces a recipient host that is one of this host's addresses in brackets.",
    ),
    file("locals", Kind::Hosts(|c| &mut c.locals), "me", "Hosts whose mail is delivered to users and aliases of this machine."),
    Setting {
        reload: Reload::Live,
        ..file(
            "morercpthosts",
            Kind::CdbSource,
            "",
            "Continues rcpthosts for very many hosts; only morercpthosts.cdb (made by qmail-newmrh) is read.",
        )
    },
    file(
        "masquerade",
        Kind::Rows(|c, bytes| {
            c.masquerade = Masquerade::parse(bytes)?;
            Ok(())
        }),
        "",
        "Addresses that stand for ours outside: user@host:address, @host:@host, @.suffix:…, !key: an exception, +recipients: in To and Cc too. Remote mail only.",
    ),
    file("percenthack", Kind::Hosts(|c| &mut c.percenthack), "", "Hosts for which user%host@here is rewritten to user@host."),
    file("plusdomain", Kind::LineOrMe(|c, v| c.plusdomain = v), "me", "Replaces a + at the end of a host name in qmail-inject."),
    file("qmqpservers", Kind::Words(|c, v| c.qmqpservers = v), "", "Addresses of QMQP servers for qmail-qmqpc."),
    number(
        "queuelifetime",
        (0, SECONDS_MAX, |c, v| c.queue_lifetime_s = i64::try_from(v).unwrap_or(i64::MAX)),
        ("604800", "seconds"),
        "Time after which a temporary failure becomes permanent.",
    ),
    file(
        "rbl",
        Kind::Rows(|c, bytes| rbl::parse(bytes).map(|lists| c.rbl = lists.into()).map_err(|e| vec![(e.line, e.reason)])),
        "",
        "Block lists in the DNS, one a line: its name, then 451, 553, score=N, allow, sender, helo, txt, untested or answers such as 127.0.0.2, then a colon and a text.",
    ),
    file(
        "rcpthosts",
        Kind::Hosts(|c| c.rcpthosts.get_or_insert_default()),
        "",
        "Hosts for which strangers may send mail here; .suffix for all hosts under it. Missing: what locals and virtualdomains name.",
    ),
    file("smtpgreeting", Kind::LineOrMe(|c, v| c.smtpgreeting = v), "me", "Text of the SMTP greeting; begins with the host name."),
    file(
        "smtproutes",
        Kind::Routes,
        "",
        "Artificial routes: host:relay, .suffix:relay, :relay, each with an optional :port; without a relay by MX.",
    ),
    Setting {
        editable: false,
        ..file(
            "smtproutes.auth",
            Kind::RouteLogins,
            "",
            "Logins at smarthosts: relay[:port] user password. Used over TLS only; keep it unreadable for others.",
        )
    },
    Setting {
        reload: Reload::Live,
        ..file(
            "tcp.pop3",
            Kind::Rules(|c| &mut c.tcprules_pop3),
            "",
            "Rules by client address for POP3: 192.0.2.:deny and so on. Without this file tcp.pop3.cdb is read.",
        )
    },
    Setting {
        reload: Reload::Live,
        ..file(
            "tcp.smtp",
            Kind::Rules(|c| &mut c.tcprules),
            "",
            "Rules by client address: 127.:allow,RELAYCLIENT=\"\" and so on. Without this file tcp.smtp.cdb is read.",
        )
    },
    number(
        "timeoutconnect",
        (1, 86400, |c, v| c.timeout_connect = Duration::from_secs(v)),
        ("60", "seconds"),
        "Wait for a TCP connection to another server.",
    ),
    number(
        "timeoutremote",
        (1, 86400, |c, v| c.timeout_remote = Duration::from_secs(v)),
        ("1200", "seconds"),
        "Wait for each answer of another server.",
    ),
    number(
        "timeoutsmtpd",
        (1, 86400, |c, v| c.timeout_smtpd = Duration::from_secs(v)),
        ("1200", "seconds"),
        "Wait for each new piece of data from an SMTP client.",
    ),
    file(
        "virtualdomains",
        Kind::Pairs(|c| &mut c.virtualdomains),
        "",
        "Virtual users and domains: user@host:prefix, host:prefix, .suffix:prefix, :prefix; an empty prefix means remote.",
    ),
    Setting {
        reload: Reload::Restart,
        ..file(
            "vpopmail-home",
            Kind::Path(|c, v| c.vpopmail_home = v),
            "",
            "Where vpopmail's domains/ and etc/ lie; when missing the home itself, or /home/vpopmail where /var/qmail has no domains/.",
        )
    },
];
