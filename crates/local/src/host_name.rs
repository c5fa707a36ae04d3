//! This host's name as it stands in Maildir file names.

use std::sync::OnceLock;

/// Longest host part of a file name, bytes.
const HOST_BYTES_MAX: usize = 64;

/// The host name for file names, read once: `/` and `:` written as octal escapes (Maildir's rule), other odd bytes as `_`, at most 64 bytes.
#[must_use]
pub(crate) fn clean() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| clean_name(rustix::system::uname().nodename().to_bytes()))
}

fn clean_name(raw: &[u8]) -> String {
    let mut out = String::new();
    for &b in raw {
        let piece = match b {
            b'/' => "\\057".to_owned(),
            b':' => "\\072".to_owned(),
            33..=126 if b != b',' => char::from(b).to_string(),
            _ => "_".to_owned(), // a comma would begin a field such as S=
        };
        if out.len() + piece.len() > HOST_BYTES_MAX {
            break;
        }
        out.push_str(&piece);
    }
    if out.is_empty() { "localhost".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_never_breaks_a_file_name() {
        assert_eq!(clean_name(b"mx.example.org"), "mx.example.org");
        assert_eq!(clean_name(b"a/b:c,d\n\xff"), "a\\057b\\072c_d__");
        assert_eq!(clean_name(b""), "localhost");
        assert_eq!(clean_name(&[b'x'; 200]).len(), 64);
    }
}
