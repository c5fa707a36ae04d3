//! qmail-send's bounce message format: header, a first paragraph that begins `Hi. This is the`, one paragraph a recipient, a break line that
//! begins with `-`, the whole original. Called by send for `bounceformat` `qsbmf`, and by the report for its first part; adds no MIME.

use super::{Kind, Notice, Reported};
use crate::date::push_qmail_date;
use postino_types::Address;

/// Everything that stands before the copy of the original, its `Return-Path` line included. The caller copies the message after it, whole.
#[must_use]
pub fn opening(notice: &Notice<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    header(&mut out, notice);
    out.push(b'\n');
    text(&mut out, notice);
    out.extend_from_slice(match notice.kind {
        Kind::DoubleBounce => b"--- Below this line is the original bounce.\n\n",
        _ => b"--- Below this line is a copy of the message.\n\n",
    });
    out.extend(crate::delivered_to::return_path(notice.sender, false));
    out
}

/// Date, From, To and Subject.
pub(super) fn header(out: &mut Vec<u8>, notice: &Notice<'_>) {
    let mut date = String::from("Date: ");
    push_qmail_date(&mut date, notice.now);
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\nFrom: ");
    match Address::from_parts(notice.bouncefrom.as_bytes(), notice.bouncehost.as_bytes()) {
        Ok(from) => push_one_line(out, &from.to_quoted(false)),
        Err(_) => out.extend_from_slice(b"MAILER-DAEMON"),
    }
    out.extend_from_slice(b"\nTo: ");
    push_one_line(out, &notice.to.to_quoted(notice.to.is_non_ascii() && std::str::from_utf8(notice.to.as_bytes()).is_ok()));
    out.extend_from_slice(match notice.kind {
        Kind::Failure | Kind::DoubleBounce => b"\nSubject: failure notice\n",
        Kind::Delay => b"\nSubject: delay notice\n",
        Kind::Success => b"\nSubject: delivery notice\n",
    });
}

/// The first paragraph and the recipients' paragraphs.
pub(super) fn text(out: &mut Vec<u8>, notice: &Notice<'_>) {
    let (opening, rest): (&str, &str) = match notice.kind {
        Kind::Failure => (
            "Hi. This is the qmail-send program at ",
            "I'm afraid I wasn't able to deliver your message to the following addresses.\n\
             This is a permanent error; I've given up. Sorry it didn't work out.\n\n",
        ),
        Kind::DoubleBounce => {
            ("Hi. This is the qmail-send program at ", "I tried to deliver a bounce message to this address, but the bounce bounced!\n\n")
        }
        // These two are no bounces: a QSBMF parser must not take them for one, so they do not begin with `Hi. This is the`.
        Kind::Delay => (
            "This is the mail system at ",
            "Your message has not yet been delivered to the following addresses.\n\
             I will keep trying; you need not send it again.\n\n",
        ),
        Kind::Success => ("This is the mail system at ", "Your message was delivered to the following addresses.\n\n"),
    };
    out.extend_from_slice(opening.as_bytes());
    out.extend_from_slice(notice.bouncehost.as_bytes());
    out.extend_from_slice(b".\n");
    out.extend_from_slice(rest.as_bytes());
    for reported in notice.recipients {
        paragraph(out, reported);
    }
}

/// `<recipient>:`, the report, an empty line. No empty line inside but one that a report may end with: of two LF in a row the second becomes `/`, so that paragraphs stay apart.
fn paragraph(out: &mut Vec<u8>, reported: &Reported<'_>) {
    let start = out.len();
    out.push(b'<');
    push_one_line(out, reported.address.as_bytes());
    out.extend_from_slice(b">:\n");
    out.extend_from_slice(reported.text);
    if out.last() != Some(&b'\n') {
        out.push(b'\n');
    }
    // As qmail-send does: from the end to the start, the last LF left alone.
    let mut at = out.len().saturating_sub(2);
    while at > start {
        let pair = out.get(at) == Some(&b'\n') && out.get(at - 1) == Some(&b'\n');
        if let Some(second) = out.get_mut(at).filter(|_| pair) {
            *second = b'/';
        }
        at -= 1;
    }
    out.push(b'\n');
}

/// CR too, which qmail keeps: on its way out by SMTP a bare CR becomes a line end, and what follows it a field.
fn push_one_line(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().map(|&b| if matches!(b, b'\n' | b'\r') { b'_' } else { b }));
}

#[cfg(test)]
mod tests;
