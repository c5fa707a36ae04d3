//! Received lines: the one of the SMTP server (RFC 5321 4.4 in qmail-smtpd's shape) and the one of qmail-queue. Called by smtpd, send and
//! the injectors; never trusts a name from outside: bytes that are not plainly safe are shown as `?`.

use crate::date::push_qmail_date;
use postino_types::{Address, Time};
use std::fmt::Write as _;

/// Longest part of a Received line that comes from outside, in bytes; keeps each line below RFC 5322's 998.
const PART_BYTES_MAX: usize = 256;

/// What the SMTP server says of one message's way in.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// Client's name by reverse lookup, or `unknown`.
    pub remote_host: &'a str,
    /// HELO/EHLO argument; `None` when there was none. Left out when equal to `remote_host`.
    pub helo: Option<&'a [u8]>,
    /// RFC 1413 answer, if one was asked for (TCPREMOTEINFO).
    pub info: Option<&'a [u8]>,
    /// Client address.
    pub remote_ip: &'a str,
    /// Our name (TCPLOCALHOST, else `me`).
    pub local: &'a str,
    /// Protocol word of RFC 3848 and RFC 6531: `SMTP`, `ESMTP`, `ESMTPS`, `ESMTPA`, `ESMTPSA`, `UTF8SMTPS` …
    pub with: &'a str,
    /// TLS version and cipher, e.g. `TLS1.3 TLS13_AES_256_GCM_SHA384`; `None` without TLS (RFC 8314 4.3).
    pub tls: Option<&'a str>,
    /// Our id for the message or session.
    pub id: Option<&'a str>,
    /// The recipient, only when there is exactly one (RFC 5321 7.6: others must not see blind copies).
    pub recipient: Option<&'a Address>,
    /// When it was received.
    pub time: Time,
}

impl Received<'_> {
    /// The lines, ended by LF.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut out = String::with_capacity(220);
        out.push_str("Received: from ");
        push_safe(&mut out, self.remote_host.as_bytes());
        if let Some(helo) = self.helo.filter(|h| !h.eq_ignore_ascii_case(self.remote_host.as_bytes())) {
            out.push_str(" (HELO ");
            push_safe(&mut out, helo);
            out.push(')');
        }
        out.push_str(" (");
        if let Some(info) = self.info {
            push_safe(&mut out, info);
            out.push('@');
        }
        push_safe(&mut out, self.remote_ip.as_bytes());
        out.push_str(")\n  by ");
        push_safe(&mut out, self.local.as_bytes());
        out.push_str(" with ");
        push_safe(&mut out, self.with.as_bytes());
        self.push_extensions(&mut out);
        out.push_str("; ");
        push_qmail_date(&mut out, self.time);
        out.push('\n');
        out.into_bytes()
    }

    fn push_extensions(&self, out: &mut String) {
        if let Some(tls) = self.tls {
            out.push_str(" (");
            // Our own words, but a blank inside is meant.
            out.extend(tls.bytes().take(PART_BYTES_MAX).map(|b| if b == b' ' || b == b'_' { char::from(b) } else { safe(b) }));
            out.push(')');
        }
        if let Some(id) = self.id {
            out.push_str(" id ");
            push_safe(out, id.as_bytes());
        }
        if let Some(recipient) = self.recipient {
            out.push_str(" for <");
            push_safe(out, recipient.as_bytes());
            out.push('>');
        }
    }
}

/// What is said of a message that we fetched from another server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedFrom<'a> {
    /// The other server.
    pub host: &'a str,
    /// `POP3`, `POP3S`, `IMAP`, `IMAPS`.
    pub protocol: &'a str,
    /// Our login there.
    pub user: &'a str,
    /// Our name.
    pub local: &'a str,
    /// Our id for the message: account and unique id, so that it is known again.
    pub id: &'a str,
    /// When it was received.
    pub time: Time,
}

impl FetchedFrom<'_> {
    /// `Received: from HOST (POP3 account USER)`, `  by LOCAL with POP3 id ID; DATE`, each ended by LF.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut out = String::with_capacity(200);
        out.push_str("Received: from ");
        push_safe(&mut out, self.host.as_bytes());
        out.push_str(" (");
        push_safe(&mut out, self.protocol.as_bytes());
        out.push_str(" account ");
        push_safe(&mut out, self.user.as_bytes());
        out.push_str(")\n  by ");
        push_safe(&mut out, self.local.as_bytes());
        out.push_str(" with ");
        push_safe(&mut out, self.protocol.as_bytes());
        out.push_str(" id ");
        push_safe(&mut out, self.id.as_bytes());
        out.push_str("; ");
        push_qmail_date(&mut out, self.time);
        out.push('\n');
        out.into_bytes()
    }
}

/// qmail-smtpd's `safeput`: letters, digits and `.@%+/=:-[]` pass, every other byte is shown as `?`.
#[must_use]
pub fn safe_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().min(PART_BYTES_MAX));
    push_safe(&mut out, bytes);
    out
}

fn push_safe(out: &mut String, bytes: &[u8]) {
    out.extend(bytes.iter().take(PART_BYTES_MAX).map(|&b| safe(b)));
}

fn safe(b: u8) -> char {
    if b.is_ascii_alphanumeric() || b".@%+/=:-[]".contains(&b) { char::from(b) } else { '?' }
}

/// Who called the injector, in qmail-queue's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvokedBy {
    /// `invoked by uid N`.
    Uid(u32),
    /// `invoked by alias`.
    Alias,
    /// `invoked from network`: the SMTP server.
    Network,
    /// `invoked for bounce`: the queue manager.
    Bounce,
}

/// qmail-queue's line, `Received: (qmail PID invoked by uid N); DATE` + LF.
#[must_use]
pub fn qmail_received(pid: u32, by: InvokedBy, time: Time) -> Vec<u8> {
    let mut out = String::with_capacity(80);
    // Writing to a String cannot fail.
    let _ = match by {
        InvokedBy::Uid(uid) => write!(out, "Received: (qmail {pid} invoked by uid {uid}); "),
        InvokedBy::Alias => write!(out, "Received: (qmail {pid} invoked by alias); "),
        InvokedBy::Network => write!(out, "Received: (qmail {pid} invoked from network); "),
        InvokedBy::Bounce => write!(out, "Received: (qmail {pid} invoked for bounce); "),
    };
    push_qmail_date(&mut out, time);
    out.push('\n');
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Time = Time::from_secs(1_795_486_507);

    fn plain<'a>() -> Received<'a> {
        Received {
            remote_host: "mx.example.org",
            helo: Some(b"MX.example.ORG"),
            info: None,
            remote_ip: "192.0.2.7",
            local: "here.test",
            with: "SMTP",
            tls: None,
            id: None,
            recipient: None,
            time: AT,
        }
    }

    fn text(received: &Received<'_>) -> String {
        String::from_utf8(received.build()).unwrap()
    }

    #[test]
    fn plain_smtp_is_qmails_line() {
        assert_eq!(text(&plain()), "Received: from mx.example.org (192.0.2.7)\n  by here.test with SMTP; 24 Nov 2026 02:15:07 -0000\n");
        let other = Received { helo: Some(b"he (llo\n"), info: Some(b"joe"), ..plain() };
        assert!(text(&other).starts_with("Received: from mx.example.org (HELO he??llo?) (joe@192.0.2.7)\n  by "));
    }

    #[test]
    fn extended_form() {
        let to = Address::from_bytes(b"j<\n>oe@here.test").unwrap();
        let full =
            Received { with: "ESMTPS", tls: Some("TLS1.3 TLS13_AES_256_GCM_SHA384"), id: Some("17"), recipient: Some(&to), ..plain() };
        assert!(text(&full).ends_with(
            "\n  by here.test with ESMTPS (TLS1.3 TLS13_AES_256_GCM_SHA384) id 17 for <j???oe@here.test>; 24 Nov 2026 02:15:07 -0000\n"
        ));
    }

    #[test]
    fn fetched_mail() {
        let from = FetchedFrom { host: "pop.isp.test", protocol: "POP3S", user: "j\no", local: "here.test", id: "fetch-a1", time: AT };
        let wanted = "Received: from pop.isp.test (POP3S account j?o)\n  by here.test with POP3S id fetch-a1; 24 Nov 2026 02:15:07 -0000\n";
        assert_eq!(String::from_utf8(from.build()).unwrap(), wanted);
    }

    #[test]
    fn outside_parts_are_capped() {
        let long = vec![b'a'; 5000];
        let built = Received { helo: Some(&long), info: Some(&long), ..plain() }.build();
        assert!(built.split(|&b| b == b'\n').all(|line| line.len() <= 998));
    }

    #[test]
    fn qmail_queue_lines() {
        let line = |by| String::from_utf8(qmail_received(901, by, AT)).unwrap();
        assert_eq!(line(InvokedBy::Uid(1001)), "Received: (qmail 901 invoked by uid 1001); 24 Nov 2026 02:15:07 -0000\n");
        assert_eq!(line(InvokedBy::Bounce), "Received: (qmail 901 invoked for bounce); 24 Nov 2026 02:15:07 -0000\n");
        assert_eq!(line(InvokedBy::Network), "Received: (qmail 901 invoked from network); 24 Nov 2026 02:15:07 -0000\n");
        assert_eq!(line(InvokedBy::Alias), "Received: (qmail 901 invoked by alias); 24 Nov 2026 02:15:07 -0000\n");
    }
}
