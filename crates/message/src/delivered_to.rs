//! The lines that a delivery puts in front of a message: Return-Path, Delivered-To and the From_ line (qmail-command(8): RPLINE, DTLINE,
//! UFLINE). Called by local; never looks at a message.

use crate::date::asctime;
use postino_types::{Address, ReversePath, Time};

/// `Return-Path: <sender>` + LF; the sender quoted as RFC 5321 4.1.2 asks, CR and LF in it shown as `_`.
#[must_use]
pub fn return_path(sender: &ReversePath, utf8: bool) -> Vec<u8> {
    let mut out = b"Return-Path: <".to_vec();
    out.extend(one_line(sender.to_quoted(utf8)));
    out.extend_from_slice(b">\n");
    out
}

/// `Delivered-To: local@host` + LF, unquoted as qmail-local writes it, CR and LF in it shown as `_`.
#[must_use]
pub fn delivered_to(recipient: &Address) -> Vec<u8> {
    let mut out = b"Delivered-To: ".to_vec();
    out.extend(one_line(recipient.as_bytes().to_vec()));
    out.push(b'\n');
    out
}

/// `From sender date` + LF: space, tab and LF in the sender are shown as `-`, the null sender as `MAILER-DAEMON`.
#[must_use]
pub fn from_line(sender: &ReversePath, now: Time) -> Vec<u8> {
    let mut out = b"From ".to_vec();
    match sender.as_bytes() {
        b"" => out.extend_from_slice(b"MAILER-DAEMON"),
        bytes => out.extend(bytes.iter().map(|&b| if matches!(b, b' ' | b'\t' | b'\n') { b'-' } else { b })),
    }
    out.push(b' ');
    out.extend_from_slice(asctime(now).as_bytes());
    out.push(b'\n');
    out
}

/// CR too, which qmail keeps: on its way out by SMTP a bare CR becomes a line end, and a local sender's CR a field of its own.
fn one_line(mut bytes: Vec<u8>) -> Vec<u8> {
    for b in &mut bytes {
        if matches!(*b, b'\n' | b'\r') {
            *b = b'_';
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(bytes: &[u8]) -> Address {
        Address::from_bytes(bytes).unwrap()
    }

    #[test]
    fn lines_as_qmail_local_writes_them() {
        let sender = ReversePath::Address(address(b"s p@x.org"));
        assert_eq!(return_path(&sender, false), b"Return-Path: <\"s p\"@x.org>\n");
        assert_eq!(return_path(&ReversePath::Null, false), b"Return-Path: <>\n");
        assert_eq!(return_path(&ReversePath::DoubleBounce, false), b"Return-Path: <#@[]>\n");
        assert_eq!(delivered_to(&address(b"joe-a-B.c@sub.example.org")), b"Delivered-To: joe-a-B.c@sub.example.org\n");
        assert_eq!(delivered_to(&address(b"a\nb@x")), b"Delivered-To: a_b@x\n");
        let at = Time::from_secs(1_795_486_507);
        assert_eq!(from_line(&sender, at), b"From s-p@x.org Tue Nov 24 02:15:07 2026\n");
        assert_eq!(from_line(&ReversePath::Null, at), b"From MAILER-DAEMON Tue Nov 24 02:15:07 2026\n");
    }

    #[test]
    fn an_address_never_makes_a_second_line() {
        for hostile in [&b"a\nBcc: b@x"[..], b"a\rBcc: b@x", b"a\r\nBcc: b@x"] {
            let lines = [return_path(&ReversePath::Address(address(hostile)), false), delivered_to(&address(hostile))];
            for line in lines {
                let ends = line.iter().filter(|&&b| matches!(b, b'\n' | b'\r')).count();
                assert_eq!(ends, 1, "{:?}", String::from_utf8_lossy(&line));
            }
        }
    }
}
