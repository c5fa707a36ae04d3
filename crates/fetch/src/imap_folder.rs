//! Names of mailboxes on the wire: modified UTF-7 (RFC 3501 5.1.3) in quotes. Pure.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;

/// The name as an argument of SELECT. Control bytes cannot be in it: the configuration refuses them.
pub(crate) fn quoted(name: &str) -> String {
    let mut out = String::from("\"");
    let mut foreign: Vec<u16> = Vec::new();
    for c in name.chars() {
        if matches!(c, ' '..='~') {
            flush(&mut foreign, &mut out);
            match c {
                '&' => out.push_str("&-"),
                '"' | '\\' => out.extend(['\\', c]),
                _ => out.push(c),
            }
        } else {
            foreign.extend(c.encode_utf16(&mut [0u16; 2]).iter());
        }
    }
    flush(&mut foreign, &mut out);
    out.push('"');
    out
}

fn flush(foreign: &mut Vec<u16>, out: &mut String) {
    if foreign.is_empty() {
        return;
    }
    let bytes: Vec<u8> = foreign.drain(..).flat_map(u16::to_be_bytes).collect();
    let base64 = GeneralPurpose::new(&base64::alphabet::IMAP_MUTF7, NO_PAD);
    out.extend(["&", &base64.encode(bytes), "-"]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples() {
        assert_eq!(quoted("INBOX"), "\"INBOX\"");
        assert_eq!(quoted("a\"b\\c & d"), "\"a\\\"b\\\\c &- d\"");
        // RFC 3501 5.1.3.
        assert_eq!(quoted("~peter/mail/台北/日本語"), "\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\"");
    }
}
