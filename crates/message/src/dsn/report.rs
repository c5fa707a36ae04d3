//! The report of RFC 3464 in a multipart/report (RFC 6522): first the QSBMF text for people and list managers, then the status fields for
//! machines (RFC 6533's global form for internationalised mail), then the message or its header. Called by send, which streams the
//! original between head and tail; never holds the original, never chooses a boundary.

use super::{Kind, Notice, Reported, qsbmf};
use crate::date::{push_qmail_date, qmail_date};
use postino_types::{Address, EnhancedStatus, Time};
use std::net::IpAddr;

/// Longest line that is made here, without its end (RFC 5322 2.1.1 allows 998).
const LINE_BYTES_MAX: usize = 900;

/// What follows the status part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// Nothing.
    Nothing,
    /// The header only (`RET=HDRS`, or the message is large).
    Headers,
    /// The whole message.
    Full,
}

/// What the returned bytes hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bits {
    /// ASCII only.
    Seven,
    /// Bytes above 127 are there or cannot be ruled out.
    Eight,
}

/// Which family of types the report uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// RFC 3464: message/delivery-status, message/rfc822, text/rfc822-headers.
    Classic,
    /// RFC 6533: message/global-delivery-status, message/global, message/global-headers; the notice itself needs SMTPUTF8.
    Global,
}

/// A whole report.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What it says.
    pub notice: Notice<'a>,
    /// Our host name for Reporting-MTA.
    pub reporting_mta: &'a str,
    /// Message-ID without angle brackets.
    pub message_id: &'a str,
    /// Boundary: 1 to 70 letters and digits that nobody outside can guess.
    pub boundary: &'a str,
    /// ENVID, decoded.
    pub envid: Option<&'a [u8]>,
    /// When the original was accepted.
    pub arrived: Time,
    /// When we will give up (delay notices).
    pub will_retry_until: Option<Time>,
    /// Type family.
    pub family: Family,
    /// What is returned.
    pub returned: Returned,
    /// Bits of what is returned.
    pub bits: Bits,
}

impl Report<'_> {
    /// Everything before the returned message (or header): copy that after it, then [`Report::tail`].
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let text = self.text_part();
        let status = self.status_part();
        let mut out = Vec::with_capacity(1536 + text.len() + status.len());
        self.header(&mut out, !text.is_ascii() || !status.is_ascii());
        self.part(
            &mut out,
            if text.is_ascii() { "text/plain; charset=us-ascii" } else { "text/plain; charset=utf-8" },
            "Notification",
            is_eight(&text),
        );
        out.extend_from_slice(&text);
        let status_type = match self.family {
            Family::Classic => "message/delivery-status",
            Family::Global => "message/global-delivery-status",
        };
        self.part(&mut out, status_type, "Delivery report", is_eight(&status));
        out.extend_from_slice(&status);
        let returned_type = match (self.returned, self.family) {
            (Returned::Nothing, _) => return out,
            (Returned::Full, Family::Classic) => "message/rfc822",
            (Returned::Full, Family::Global) => "message/global",
            (Returned::Headers, Family::Classic) => "text/rfc822-headers",
            (Returned::Headers, Family::Global) => "message/global-headers",
        };
        let description = if self.returned == Returned::Full { "Undelivered message" } else { "Message header" };
        let description = if matches!(self.notice.kind, Kind::Success | Kind::Delay) { "Message header" } else { description };
        self.part(&mut out, returned_type, description, self.bits);
        out
    }

    /// The end: the closing boundary, on a line of its own whether or not the copied bytes ended with LF.
    #[must_use]
    pub fn tail(&self) -> Vec<u8> {
        format!("\n--{}--\n", self.boundary).into_bytes()
    }

    fn header(&self, out: &mut Vec<u8>, text_is_eight: bool) {
        qsbmf::header(out, &self.notice);
        line(out, &format!("Message-ID: <{}>", self.message_id));
        line(out, "Auto-Submitted: auto-replied");
        line(out, "MIME-Version: 1.0");
        let kind = match self.family {
            Family::Classic => "delivery-status",
            Family::Global => "global-delivery-status",
        };
        line(out, &format!("Content-Type: multipart/report; report-type={kind};"));
        line(out, &format!("\tboundary=\"{}\"", self.boundary));
        if text_is_eight || (self.returned != Returned::Nothing && self.bits == Bits::Eight) {
            line(out, "Content-Transfer-Encoding: 8bit");
        }
        line(out, "\nThis is a MIME-encapsulated message.");
    }

    fn part(&self, out: &mut Vec<u8>, content_type: &str, description: &str, bits: Bits) {
        line(out, &format!("\n--{}", self.boundary));
        line(out, &format!("Content-Description: {description}"));
        line(out, &format!("Content-Type: {content_type}"));
        if bits == Bits::Eight {
            line(out, "Content-Transfer-Encoding: 8bit");
        }
        out.push(b'\n');
    }

    fn text_part(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(1024);
        qsbmf::text(&mut raw, &self.notice);
        raw.extend_from_slice(match (self.returned, self.notice.kind) {
            (Returned::Nothing, _) => b"" as &[u8],
            (Returned::Full, Kind::DoubleBounce) => b"--- Below this line is the original bounce.\n",
            (Returned::Full, _) => b"--- Below this line is a copy of the message.\n",
            (Returned::Headers, _) => b"--- Below this line is a copy of the message's header.\n",
        });
        tidy(&raw)
    }

    fn status_part(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        status_field(&mut out, "Reporting-MTA", &format!("dns; {}", ascii(self.reporting_mta.as_bytes())));
        if let Some(envid) = self.envid {
            status_field(&mut out, "Original-Envelope-Id", &ascii(envid));
        }
        status_field(&mut out, "Arrival-Date", &qmail_date(self.arrived));
        for reported in self.notice.recipients {
            out.push(b'\n');
            self.recipient_fields(&mut out, reported);
        }
        out
    }

    fn recipient_fields(&self, out: &mut Vec<u8>, reported: &Reported<'_>) {
        if let Some(original) = reported.original {
            status_field(out, "Original-Recipient", &format!("{}; {}", ascii(original.kind.as_bytes()), self.typed(&original.address)));
        }
        status_field(out, "Final-Recipient", &self.final_recipient(reported.address));
        status_field(out, "Action", reported.action.word());
        status_field(out, "Status", &reported.status.to_string());
        let diagnosis = Diagnosis::of(&String::from_utf8_lossy(reported.text));
        if let Some(host) = diagnosis.remote {
            status_field(out, "Remote-MTA", &format!("dns; {host}"));
        }
        if !diagnosis.code.is_empty() {
            status_field(out, "Diagnostic-Code", &diagnosis.code);
        }
        if let Some(at) = reported.last_attempt {
            let mut date = String::new();
            push_qmail_date(&mut date, at);
            status_field(out, "Last-Attempt-Date", &date);
        }
        if let Some(until) = self.will_retry_until {
            status_field(out, "Will-Retry-Until", &qmail_date(until));
        }
    }

    fn final_recipient(&self, address: &Address) -> String {
        let utf8 = address.is_non_ascii() && std::str::from_utf8(address.as_bytes()).is_ok();
        let kind = if utf8 { "utf-8" } else { "rfc822" };
        format!("{kind}; {}", self.typed(&address.to_quoted(utf8)))
    }

    /// An address as the family may show it: as it is (global), or with RFC 6533 3's `\x{HEX}` for what is not ASCII.
    fn typed(&self, bytes: &[u8]) -> String {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return ascii(bytes);
        };
        let mut out = String::with_capacity(text.len());
        for c in text.chars().take(LINE_BYTES_MAX / 2) {
            match c {
                ' '..='~' => out.push(c),
                _ if c.is_ascii() || c.is_control() => out.push('?'),
                _ if self.family == Family::Global => out.push(c),
                _ => out.push_str(&format!("\\x{{{:X}}}", u32::from(c))),
            }
        }
        out
    }
}

/// What a report's text says about the far end.
struct Diagnosis {
    remote: Option<String>,
    code: String,
}

impl Diagnosis {
    /// qmail-remote's reports hold the reply after `Remote host said: ` and begin with the host's address.
    fn of(text: &str) -> Self {
        const SAID: &str = "Remote host said: ";
        let reply = text.find(SAID).and_then(|at| text.get(at + SAID.len()..));
        let code = match reply {
            Some(reply) => format!("smtp; {}", one_line(reply.split("\nGiving up on").next().unwrap_or(reply))),
            None if text.trim().is_empty() => String::new(),
            None => format!("x-postino; {}", one_line(text)),
        };
        let words = text.split_ascii_whitespace().take(6);
        let host = words.map(|w| w.trim_matches(|c: char| matches!(c, '[' | ']' | '.' | ',' | ':' | '(' | ')')));
        let remote = reply.and_then(|_| host.filter_map(|w| w.parse::<IpAddr>().ok()).next()).map(|ip| format!("[{ip}]"));
        Self { remote, code }
    }
}

/// The status in a report's text that ends with `(#x.y.z)`, or that a remote host's reply begins with (RFC 2034 4).
#[must_use]
pub fn status_in(text: &str) -> Option<EnhancedStatus> {
    let tagged = text.rfind("(#").and_then(|at| text.get(at + 2..)).and_then(|rest| rest.split(')').next());
    tagged.and_then(postino_types::status::parse)
}

fn is_eight(bytes: &[u8]) -> Bits {
    if bytes.is_ascii() { Bits::Seven } else { Bits::Eight }
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

fn status_field(out: &mut Vec<u8>, name: &str, value: &str) {
    line(out, &format!("{name}: {}", postino_types::printable::cut(value, LINE_BYTES_MAX)));
}

/// Printable ASCII; anything else as `?`.
fn ascii(bytes: &[u8]) -> String {
    postino_types::printable::printable(bytes.get(..bytes.len().min(LINE_BYTES_MAX)).unwrap_or(bytes))
}

/// A report on one line of printable ASCII.
fn one_line(text: &str) -> String {
    ascii(text.trim_end().split('\n').map(str::trim_end).collect::<Vec<_>>().join(" ").as_bytes())
}

/// UTF-8 text without control bytes and without lines beyond the limit.
fn tidy(raw: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(raw);
    let mut out = String::with_capacity(text.len());
    let mut line_bytes = 0;
    for c in text.chars() {
        if c == '\n' {
            line_bytes = 0;
        } else {
            if line_bytes + c.len_utf8() > LINE_BYTES_MAX {
                out.push('\n');
                line_bytes = 0;
            }
            line_bytes += c.len_utf8();
        }
        out.push(if c.is_control() && !matches!(c, '\n' | '\t') { '?' } else { c });
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests;
