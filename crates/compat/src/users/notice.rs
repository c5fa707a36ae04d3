//! A message at a glance: Subject and the body's first words. Called by qbiff and maildirwatch; what it gives is safe on a terminal.

use postino_message::header;
use std::io::Read;

/// Enough for a header and a few lines.
const GLANCE_BYTES: u64 = 64 * 1024;

/// What is shown of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) return_path: Option<String>,
    pub(super) delivered_to: Option<String>,
}

/// Looks at the message's beginning.
pub(super) fn glance(message: &mut impl Read) -> std::io::Result<Glance> {
    let mut bytes = Vec::new();
    message.take(GLANCE_BYTES).read_to_end(&mut bytes)?;
    let value = |name: &str| {
        let field = header::fields(&bytes).find(|field| field.is(name));
        field.map(|field| String::from_utf8_lossy(&field.unfolded()).trim().to_owned())
    };
    let body = bytes.windows(2).position(|seen| seen == b"\n\n").map_or(bytes.len(), |at| at + 2);
    let body = if bytes.starts_with(b"\n") { 1 } else { body };
    let body = String::from_utf8_lossy(bytes.get(body..).unwrap_or_default());
    let words: Vec<&str> = body.split_whitespace().take(40).collect();
    Ok(Glance {
        subject: safe(&value("Subject").unwrap_or_default()),
        text: safe(&words.join(" ")),
        return_path: value("Return-Path").map(|path| safe(path.trim_start_matches('<').trim_end_matches('>'))),
        delivered_to: value("Delivered-To").map(|to| safe(&to)),
    })
}

/// One line's worth of printable ASCII.
pub(super) fn safe(text: &str) -> String {
    const COLUMNS: usize = 76;
    text.chars().take(COLUMNS).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_stay_out() {
        let message = "Return-Path: <a@b>\nDelivered-To: c@d\nSubject: x\x1b[2J\n  y\n\nbody\tof\n\nit\x07";
        let seen = glance(&mut message.as_bytes()).unwrap();
        assert_eq!((seen.subject.as_str(), seen.text.as_str()), ("x_[2J  y", "body of it_"));
        assert_eq!((seen.return_path.as_deref(), seen.delivered_to.as_deref()), (Some("a@b"), Some("c@d")));
        assert_eq!(glance(&mut "\nonly body".as_bytes()).unwrap().text, "only body");
    }
}
